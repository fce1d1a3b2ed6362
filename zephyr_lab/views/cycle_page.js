// The face of a history's anomalies: it draws what `cycle_page.py` has laid out, and computes nothing itself.

function make(tag, classes, text) {
  const node = document.createElement(tag);
  node.className = classes.split(" ").map((name) => "zls-" + name).join(" ");
  if (text !== undefined) node.textContent = text; // never markup: keys and values are data
  return node;
}

function drawLanes(anomaly) {
  const lanes = make("div", "lanes");
  lanes.style.gridTemplateColumns = `repeat(${Math.max(anomaly.sessions.length, 1)}, minmax(9em, 1fr))`;
  lanes.style.overflowX = "auto";
  lanes.style.padding = "4px"; // what is lit has an outline
  anomaly.sessions.forEach((session, place) => {
    const head = make("div", "head");
    head.style.cssText = `border-top-color: ${session.colour}; grid-column: ${place + 1}; grid-row: 1; min-height: 0`;
    head.append(make("span", "name", "session " + session.name));
    lanes.append(head);
  });
  const boxes = new Map();
  anomaly.transactions.forEach((one, place) => {
    const box = make("div", one.lane < 0 ? "event future" : "event plain");
    box.style.gridColumn = one.lane < 0 ? "1 / -1" : one.lane + 1;
    box.style.gridRow = place + 2;
    if (one.lane >= 0) {
      box.style.borderColor = anomaly.sessions[one.lane].colour;
      box.append(make("span", "name", one.name));
    }
    box.append(make("code", "sql", one.text));
    if (one.begin !== null && one.end !== null) box.append(make("div", "note", `from ${one.begin} to ${one.end}`));
    box.tabIndex = 0;
    lanes.append(box);
    boxes.set(one.name, box);
  });
  return { lanes, boxes };
}

// A button for each edge, which lights its transactions; a transaction lights its edges. Arrows go from edge to edge.
function drawEdges(anomaly, boxes) {
  const list = make("div", "edges");
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", `The edges of ${anomaly.name}; arrows go from one to the next`);
  const buttons = anomaly.edges.map((edge) => {
    const node = make("button", "edge");
    node.type = "button";
    node.append(make("span", "edge-kind", `${edge.from} → ${edge.to} ${edge.type}`), ` ${edge.text}`);
    list.append(node);
    return node;
  });
  const light = (names, places, on) => {
    for (const name of names) if (boxes.has(name)) boxes.get(name).classList.toggle("zls-lit", on);
    for (const place of places) buttons[place].classList.toggle("zls-edge-lit", on);
  };
  const lit = (node, names, places) => {
    for (const event of ["mouseenter", "focus"]) node.addEventListener(event, () => light(names, places, true));
    for (const event of ["mouseleave", "blur"]) node.addEventListener(event, () => light(names, places, false));
  };
  anomaly.edges.forEach((edge, place) => lit(buttons[place], [edge.from, edge.to], [place]));
  for (const [name, box] of boxes) {
    const touching = anomaly.edges.map((edge, place) => (edge.from === name || edge.to === name ? place : -1));
    lit(box, [name], touching.filter((place) => place >= 0));
  }
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    buttons[(at + step + buttons.length) % buttons.length].focus(); // a cycle: after the last comes the first
  });
  return list;
}

function drawAnomaly(anomaly) {
  const root = make("section", "root");
  const top = make("div", "top");
  const many = anomaly.count > 1 ? `, one of ${anomaly.count.toLocaleString("en")}` : "";
  top.append(make("span", "title", anomaly.name + many));
  if (anomaly.allowed) top.append(make("span", "note", "the level allows it"));
  if (anomaly.transactions.length) top.append(make("span", "note", `transactions ${anomaly.order}`));
  const { lanes, boxes } = drawLanes(anomaly);
  root.append(top, lanes);
  if (anomaly.edges.length) root.append(drawEdges(anomaly, boxes));
  else root.append(make("pre", "summary", anomaly.text));
  return root;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const roots = JSON.parse(document.getElementById("runs").textContent).map(drawAnomaly);
const shade = () => roots.forEach((root) => root.classList.toggle("zls-dark", dark.matches));
dark.addEventListener("change", shade);
shade();
document.getElementById("cycles").append(...roots);
if (roots.length) document.getElementById("report").open = false;
