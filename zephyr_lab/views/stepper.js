// The stepper's face: it draws what `story.py` has computed, and computes nothing itself.

const SECONDS_A_STEP = 1.4;

function make(tag, classes, text) {
  const node = document.createElement(tag);
  node.className = classes.split(" ").map((name) => "zls-" + name).join(" ");
  if (text !== undefined) node.textContent = text; // never markup: SQL and rows are data
  return node;
}

function choice(label, values, value, chosen) {
  const box = make("label", "choice", label + " ");
  const select = make("select", "select");
  for (const one of values) select.append(new Option(one, one));
  select.value = value;
  select.addEventListener("change", () => chosen(select.value));
  box.append(select);
  return { box, select };
}

function drawTable(table) {
  const drawn = make("table", "table");
  const caption = make("caption", "caption", table.name);
  const head = make("tr", "row");
  for (const column of table.columns) {
    const cell = make("th", "cell", column);
    cell.scope = "col";
    head.append(cell);
  }
  drawn.append(caption, head);
  table.rows.forEach((row, place) => {
    const line = make("tr", table.new[place] ? "row new" : "row");
    for (const value of row) line.append(make("td", "cell", value === null ? "null" : String(value)));
    drawn.append(line);
  });
  const box = make("div", "table-box");
  box.append(drawn);
  if (table.more) box.append(make("div", "more", table.more));
  return box;
}

function drawVersion(version, number) {
  const box = make("div", "version");
  const head = make("div", "version-head", `Version ${number}: ${version.by}`);
  const seen = make("span", "seen");
  head.append(seen);
  box.append(head, ...version.tables.map(drawTable));
  return { box, seen, at: version.at };
}

// What depends on what: a button an edge, which lights its two steps as long as the pointer or the focus is on it.
function drawEdges(run, boxes) {
  const list = make("div", "edges");
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Dependencies of the committed transactions");
  const light = (edge, on) => edge.steps.forEach((place) => boxes[place].box.classList.toggle("zls-lit", on));
  const drawn = (run.edges || []).map((edge) => {
    const node = make("button", "edge");
    node.type = "button";
    node.append(make("span", "edge-kind", `${edge.from} → ${edge.to} ${edge.kind}`), ` ${edge.text}`);
    for (const event of ["mouseenter", "focus"]) node.addEventListener(event, () => light(edge, true));
    for (const event of ["mouseleave", "blur"]) node.addEventListener(event, () => light(edge, false));
    list.append(node);
    return { node, since: edge.since };
  });
  return { list, drawn };
}

// One run: lanes, dependencies and versions. `show(at)` makes them stand as after `at` events.
function drawRun(run) {
  const root = make("div", "run");
  if (run.refused) {
    root.append(make("p", "refused", `The server does not admit this schedule at this level: ${run.refused}`));
    return { root, length: 0, show: () => "" };
  }
  const lanes = make("div", "lanes");
  lanes.style.gridTemplateColumns = `repeat(${run.sessions.length}, minmax(0, 1fr))`;
  const heads = run.sessions.map((session, place) => {
    const head = make("div", "head");
    head.style.borderTopColor = session.colour;
    head.style.gridColumn = place + 1;
    head.style.gridRow = 1;
    const state = make("span", "state");
    const note = make("div", "note");
    head.append(make("span", "name", session.name), state, note);
    lanes.append(head);
    return { state, note };
  });
  const boxes = run.events.map((event, place) => {
    const box = make("div", "event " + event.tone);
    box.style.gridColumn = event.lane + 1;
    box.style.gridRow = place + 2;
    box.style.borderColor = run.sessions[event.lane].colour;
    box.append(make("span", "spoken", run.sessions[event.lane].name + ": "));
    if (event.sql) box.append(make("code", "sql", event.sql));
    box.append(make("div", "said", event.text));
    lanes.append(box);
    let bar = null;
    if (event.until !== null && event.until > place + 1) {
      bar = make("div", "bar");
      bar.style.gridColumn = event.lane + 1;
      lanes.append(bar);
    }
    return { box, bar, until: event.until, place };
  });
  const versions = run.versions.map((version, place) => drawVersion(version, place + 1));
  const strip = make("div", "versions");
  strip.append(...versions.map((one) => one.box));
  const summary = make("pre", "summary", run.summary.join("\n"));
  const edges = drawEdges(run, boxes);
  root.append(lanes, ...(edges.drawn.length ? [edges.list] : []), strip, summary);

  function show(at) {
    const frame = run.frames[at];
    frame.states.forEach((one, lane) => {
      heads[lane].state.textContent = one.state;
      heads[lane].state.className = "zls-state zls-" + (one.tone || "plain");
      heads[lane].note.textContent = one.note;
    });
    boxes.forEach(({ box, bar, until, place }) => {
      box.classList.toggle("zls-future", place >= at);
      box.classList.toggle("zls-current", place === at - 1);
      if (place === at - 1) box.setAttribute("aria-current", "step");
      else box.removeAttribute("aria-current");
      if (bar) {
        const end = Math.min(until, Math.max(at, place + 2));
        bar.hidden = at <= place;
        bar.style.gridRow = `${place + 3} / ${end + 2}`;
      }
    });
    versions.forEach(({ box, seen, at: since }, place) => {
      box.classList.toggle("zls-future", since > at);
      const who = run.sessions.filter((session, lane) => frame.states[lane].sees === place);
      seen.replaceChildren(
        ...who.map((session) => {
          const badge = make("span", "badge", `${session.name} sees this`);
          badge.style.borderColor = session.colour;
          return badge;
        })
      );
    });
    edges.drawn.forEach(({ node, since }) => node.classList.toggle("zls-future", at < since));
    summary.classList.toggle("zls-future", at < run.events.length);
    return frame.say;
  }
  return { root, length: run.events.length, show };
}

// Whether text is light on dark here, whatever page this is.
function isDark(element) {
  const [red, green, blue] = getComputedStyle(element).color.match(/[\d.]+/g).map(Number);
  return red * 0.299 + green * 0.587 + blue * 0.114 > 140;
}

const SHORT = { "read committed": "rc", "repeatable read": "rr", serializable: "ser" };

// What a host may set beside the widget's own state: more `runs` later, `chosen` (level and schedule), and `address`, to
// which a link to one schedule is added.
function render({ model, el }) {
  let runs = model.get("runs");
  const root = make("div", "root");
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Stepper: ${runs[0].case}. Arrow keys step, P plays.`);
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab takes arrow keys otherwise
  let run = null;
  let at = 0;
  let timer = null;

  const top = make("div", "top");
  const chosen = { level: runs[0].level, schedule: runs[0].schedule };
  let controls = {};
  const mark = make("span", "mark");
  const link = make("a", "link", "link");

  // The choices, of the runs that there are now.
  function offer() {
    const different = (key) => [...new Set(runs.map((one) => one[key]))];
    controls = {};
    top.replaceChildren(make("span", "title", runs[0].case));
    for (const [key, label] of [["level", "Isolation level"], ["schedule", "Schedule"]]) {
      const values = different(key);
      if (values.length > 1) {
        controls[key] = choice(label, values, chosen[key], (value) => {
          chosen[key] = value;
          open();
        });
        top.append(controls[key].box);
      } else top.append(make("span", "fixed", (key === "level" ? "at " : "schedule ") + chosen[key]));
    }
    top.append(mark, ...(model.get("address") ? [link] : []));
  }
  const find = (level, schedule) => runs.find((one) => one.level === level && one.schedule === schedule);
  const word = (one) => (one && (one.verdict || (one.refused ? "not possible" : ""))) || "";

  // What came of the chosen schedule, and of the others at this level.
  function describe() {
    const said = word(run);
    mark.textContent = said;
    mark.className = "zls-mark zls-mark-" + said.split(" ")[0];
    mark.hidden = !said;
    if (controls.schedule)
      for (const option of controls.schedule.select.options) {
        const other = word(find(chosen.level, option.value));
        option.textContent = option.value + (other ? ` · ${other}` : "");
      }
    const short = SHORT[chosen.level] || chosen.level.replaceAll(" ", "-");
    link.href = `${model.get("address")}${short}/${chosen.schedule.replaceAll(" ", "")}`;
    link.title = link.ariaLabel = "A link to this schedule";
  }

  const bar = make("div", "controls");
  const button = (sign, label, act) => {
    const node = make("button", "button", sign);
    node.type = "button";
    node.title = label;
    node.setAttribute("aria-label", label);
    node.addEventListener("click", act);
    bar.append(node);
    return node;
  };
  const first = button("|◀", "To the beginning", () => go(0));
  const back = button("◀", "One step back", () => go(at - 1));
  const play = button("▶ Play", "Play", () => (timer ? stop() : start()));
  const forward = button("▶", "One step forward", () => go(at + 1));
  const last = button("▶|", "To the end", () => go(run.length));
  const count = make("span", "count");
  bar.append(count);
  const spoken = make("div", "spoken"); // read aloud by a screen reader, seen by nobody
  spoken.setAttribute("aria-live", "polite");
  const stage = make("div", "stage");
  root.append(top, bar, stage, spoken);
  el.append(root);

  function draw() {
    const said = run.show(at);
    count.textContent = run.length ? `${at} of ${run.length}` : "";
    spoken.textContent = said;
    // A disabled button would lose the focus, and the keys with it.
    for (const [node, off] of [[first, at === 0], [back, at === 0], [forward, at >= run.length], [last, at >= run.length]])
      node.setAttribute("aria-disabled", String(off));
  }
  function go(to) {
    stop();
    move(to);
  }
  function move(to) {
    at = Math.max(0, Math.min(run.length, to));
    draw();
  }
  function start() {
    if (at >= run.length) move(0);
    timer = setInterval(() => {
      move(at + 1);
      if (at >= run.length) stop();
    }, SECONDS_A_STEP * 1000);
    label("❚❚ Pause", "Pause");
    move(at + 1);
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    label("▶ Play", "Play");
  }
  function label(sign, words) {
    play.textContent = sign;
    play.title = words;
    play.setAttribute("aria-label", words);
  }
  function open() {
    stop();
    run = find(chosen.level, chosen.schedule);
    describe();
    run = drawRun(run || { refused: "it was not run" });
    stage.replaceChildren(run.root);
    move(model.get("at_end") ? run.length : 0);
  }
  root.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.ctrlKey || event.altKey || event.metaKey) return;
    const act = {
      ArrowRight: () => go(at + 1), ArrowLeft: () => go(at - 1), Home: () => go(0), End: () => go(run.length),
      p: () => (timer ? stop() : start()), P: () => (timer ? stop() : start()),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });

  const shade = () => root.classList.toggle("zls-dark", isDark(el));
  const watch = new MutationObserver(shade);
  for (const node of [document.documentElement, document.body]) watch.observe(node, { attributes: true });
  offer();
  open();
  if (model.on) {
    model.on("change:runs", () => {
      runs = model.get("runs");
      const before = at;
      offer();
      open();
      move(before); // whoever is stepping through it stays where they are
    });
    model.on("change:chosen", () => {
      Object.assign(chosen, model.get("chosen"));
      for (const key of Object.keys(controls)) controls[key].select.value = chosen[key];
      open();
    });
  }
  requestAnimationFrame(shade);
  return () => {
    stop();
    watch.disconnect();
  };
}

export default { render };
