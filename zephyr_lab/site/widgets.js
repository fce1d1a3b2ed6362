// Front-end-only widgets (anywidget) in a static page: what JupyterLab's widget manager does for them, without one.
// A page has elements of class `zephyr-widget`, each with a JSON script that holds the state that the notebook has stored.
// What a widget would tell its kernel stays in the page.
(function () {
  const here = document.currentScript.src.replace(/widgets\.js.*$/, "");
  const cases = window.zephyrCases || {};

  function modelOf(state) {
    const listeners = {};
    return {
      get: (name) => state[name],
      set(name, value) {
        state[name] = value;
        for (const event of ["change:" + name, "change"]) (listeners[event] || []).forEach((tell) => tell());
      },
      save_changes() {},
      send() {},
      on: (event, tell) => (listeners[event] ||= []).push(tell),
      off: (event, tell) => (listeners[event] = (listeners[event] || []).filter((one) => tell && one !== tell)),
    };
  }

  const modules = new Map();
  function load(source) {
    // A page opened from a folder may import no other file, but what it has made itself.
    if (!modules.has(source)) {
      modules.set(source, import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))));
    }
    return modules.get(source);
  }

  const styles = new Set();
  function style(source) {
    if (!source || styles.has(source)) return;
    styles.add(source);
    const node = document.createElement("style");
    node.textContent = source;
    document.head.append(node);
  }

  // The runs of all schedules of a case: a script, for a page opened from a folder may load nothing else.
  const loading = new Map();
  // What the runs of a case have in common is in the file once: each list in them is one of places in `parts`.
  function whole({ parts, runs }) {
    const known = (value) => (Array.isArray(value) ? value.map((place) => parts[place]) : value);
    return runs.map((run) => Object.fromEntries(Object.entries(run).map(([key, value]) => [key, known(value)])));
  }
  function schedules(name) {
    if (!loading.has(name)) {
      loading.set(name, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = `${here}schedules/${name}.js`;
        script.onload = () => done(whole(window.zephyrSchedules[name]));
        script.onerror = () => failed(new Error(`no schedules of ${name}`));
        document.head.append(script);
      }));
    }
    return loading.get(name);
  }

  // Only to a stepper of the very same case: one whose steps a notebook has changed keeps its own runs.
  async function addSchedules(name, model) {
    const all = await schedules(name);
    const told = (run) => JSON.stringify((run.events || []).map((event) => [event.lane, event.sql, event.text]));
    const spaced = (run) => `${run.level}/${run.schedule}`;
    const known = new Map(all.map((run) => [spaced(run), run]));
    const mine = model.get("runs");
    if (!mine.every((run) => known.has(spaced(run)) && (run.refused || told(run) === told(known.get(spaced(run)))))) return;
    model.set("address", `${here}../schedules.html#${name}/`);
    model.set("runs", all);
  }

  function whenSeen(place, act) {
    const watch = new IntersectionObserver((seen) => {
      if (!seen.some((one) => one.isIntersecting)) return;
      watch.disconnect();
      act();
    }, { rootMargin: "300px" });
    watch.observe(place);
  }
  window.zephyrSteppers = { schedules, modelOf, load, style };

  async function show(place) {
    const state = JSON.parse(place.querySelector("script").textContent);
    const shared = window.zephyrWidgetSources || {};
    const module = await load(shared[state._esm] || state._esm);
    style(shared[state._css] || state._css);
    const definition = typeof module.default === "function" ? await module.default() : module.default;
    const model = modelOf(state);
    const name = state.runs && state.runs[0].case;
    if (name in cases) {
      whenSeen(place, () => addSchedules(name, model));
    }
    const el = document.createElement("div");
    if (definition.initialize) await definition.initialize({ model });
    await definition.render({ model, el });
    place.replaceChildren(el); // whatever stood there for readers without JavaScript
  }

  function showAll() {
    document.querySelectorAll(".zephyr-widget").forEach((place) => {
      show(place).catch((error) => console.error(error));
    });
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", showAll);
  else showAll();
})();
