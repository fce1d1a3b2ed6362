// The page of all schedules: a case, a map of its schedules at each level, and the one that was chosen, to step through.
// The address says which: #lost-update/rr/ABABAB.
(function () {
  const LEVELS = { rc: "read committed", rr: "repeatable read", ser: "serializable" };
  const cases = window.zephyrCases || {};
  const root = document.getElementById("zephyr-schedules");
  if (!root) return;
  const { schedules, modelOf, load, style } = window.zephyrSteppers;

  function make(tag, className, text) {
    const node = document.createElement(tag);
    node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  const letters = (run) => run.schedule.replaceAll(" ", "");
  const address = (name, short, run) => `#${name}/${short}/${letters(run)}`;
  const word = (run) => run.verdict || "not possible";

  const label = make("label", "zephyr-case", "Case ");
  const select = make("select", "zephyr-select");
  for (const [name, one] of Object.entries(cases)) select.append(new Option(`${name}: ${one.title}`, name));
  label.append(select);
  const about = make("p", "zephyr-about");
  const stage = make("div", "zephyr-stage");
  const map = make("div", "zephyr-scroll");
  root.replaceChildren(label, about, stage, map);
  select.addEventListener("change", () => (location.hash = `#${select.value}`));

  let shown = null; // { name, model, cells }

  function drawMap(name, runs) {
    const table = make("table", "zephyr-map");
    table.append(make("caption", "", "Every schedule at every level: choose one to step through it"));
    const head = make("tr", "");
    head.append(make("th", "", "schedule"), ...Object.values(LEVELS).map((level) => make("th", "", level)));
    [...head.children].forEach((cell) => (cell.scope = "col"));
    table.append(head);
    const cells = new Map();
    for (const schedule of [...new Set(runs.map((run) => run.schedule))]) {
      const line = make("tr", "");
      const first = make("th", "", schedule);
      first.scope = "row";
      line.append(first);
      for (const [short, level] of Object.entries(LEVELS)) {
        const run = runs.find((one) => one.level === level && one.schedule === schedule);
        const link = make("a", word(run).split(" ")[0], word(run));
        link.href = address(name, short, run);
        cells.set(link.hash, link);
        const cell = make("td", "");
        cell.append(link);
        line.append(cell);
      }
      table.append(line);
    }
    map.replaceChildren(table);
    return cells;
  }

  async function open(name) {
    const runs = await schedules(name);
    const model = modelOf({ runs, address: "#" + name + "/", at_end: true });
    const el = document.createElement("div");
    const sources = window.zephyrWidgetSources;
    const module = await load(sources[window.zephyrStepper._esm]);
    style(sources[window.zephyrStepper._css]);
    await module.default.render({ model, el });
    stage.replaceChildren(el);
    about.textContent = cases[name].definition;
    select.value = name;
    shown = { name, model, runs, cells: drawMap(name, runs) };
  }

  async function follow() {
    let [name, short, turns] = decodeURIComponent(location.hash.slice(1)).split("/");
    if (!(name in cases)) name = Object.keys(cases)[0];
    if (!shown || shown.name !== name) await open(name);
    const level = LEVELS[short] || LEVELS.rc;
    const own = cases[name].schedule.replaceAll(" ", "");
    const at = (which) => shown.runs.find((one) => one.level === level && letters(one) === which);
    const run = at(turns) || at(own);
    shown.model.set("chosen", { level, schedule: run.schedule });
    shown.cells.forEach((link) => link.removeAttribute("aria-current"));
    const current = shown.cells.get(address(name, Object.keys(LEVELS).find((one) => LEVELS[one] === level), run));
    if (current) current.setAttribute("aria-current", "true");
  }
  window.addEventListener("hashchange", () => follow().catch((error) => console.error(error)));
  follow().catch((error) => console.error(error));
})();
