// The lattice of levels: rows of buttons with lines between them, and what follows from the chosen level or anomaly.
// The address says which: #snapshot-isolation, #G-single.
(function () {
  const root = document.getElementById("zephyr-lattice");
  if (!root) return;
  const { rows, levels, anomalies } = JSON.parse(document.getElementById("zephyr-lattice-data").textContent);

  function make(tag, className, text) {
    const node = document.createElement(tag);
    node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  const SVG = "http://www.w3.org/2000/svg";
  const lines = document.createElementNS(SVG, "svg");
  lines.setAttribute("class", "zephyr-lines");
  lines.setAttribute("aria-hidden", "true");
  const graph = make("div", "zephyr-graph");
  graph.append(lines);
  const nodes = {};
  const button = (name, text) => {
    const node = make("a", "zephyr-node", text);
    node.href = "#" + name;
    nodes[name] = node;
    return node;
  };
  for (const row of rows) {
    const line = make("div", "zephyr-level-row");
    for (const level of row) {
      const node = button(level, levels[level].title);
      if (levels[level].server) {
        node.classList.add("server");
        node.append(make("span", "zephyr-server", levels[level].server));
      }
      line.append(node);
    }
    graph.append(line);
  }
  const said = make("div", "zephyr-said");
  said.setAttribute("role", "status");
  const list = make("div", "zephyr-anomalies");
  for (const name of Object.keys(anomalies)) list.append(button(name, name));
  root.replaceChildren(said, graph, make("h2", "", "Anomalies"), list);

  function draw() {
    const box = graph.getBoundingClientRect();
    lines.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
    lines.replaceChildren();
    for (const [level, one] of Object.entries(levels)) {
      for (const other of one.implies) {
        const [from, to] = [level, other].map((name) => nodes[name].getBoundingClientRect());
        const line = document.createElementNS(SVG, "line");
        line.setAttribute("x1", from.left + from.width / 2 - box.left);
        line.setAttribute("y1", from.bottom - box.top);
        line.setAttribute("x2", to.left + to.width / 2 - box.left);
        line.setAttribute("y2", to.top - box.top);
        const lit = nodes[level].dataset.state && nodes[other].dataset.state === nodes[level].dataset.state;
        line.setAttribute("class", lit || (nodes[level].dataset.state === "chosen" && nodes[other].dataset.state) ? "lit" : "");
        lines.append(line);
      }
    }
  }

  function say(...parts) {
    said.replaceChildren(...parts.map((part) => (typeof part === "string" ? make("p", "", part) : part)));
  }
  function choose() {
    const name = decodeURIComponent(location.hash.slice(1));
    for (const node of Object.values(nodes)) {
      delete node.dataset.state;
      node.removeAttribute("aria-current");
    }
    const mark = (names, state) => names.forEach((one) => (nodes[one].dataset.state = state));
    if (name in levels) {
      const one = levels[name];
      mark(one.weaker, "implied");
      mark(one.stronger, "stronger");
      mark(one.forbids, "out");
      nodes[name].dataset.state = "chosen";
      say(
        `${one.title} forbids: ${one.forbids.join(", ") || "nothing"}.`,
        `It implies: ${one.weaker.map((other) => levels[other].title).join(", ") || "no other level"}.`,
      );
    } else if (name in anomalies) {
      const one = anomalies[name];
      mark(one.rules_out, "out");
      nodes[name].dataset.state = "chosen";
      const left = Object.keys(levels).filter((level) => !one.rules_out.includes(level));
      say(`A history with ${name} is none of: ${one.rules_out.map((level) => levels[level].title).join(", ") || "these"}.`,
        `It may be: ${left.map((level) => levels[level].title).join(", ") || "none of these levels"}.`);
      if (one.case) {
        const link = make("a", "", `Step through a schedule: ${one.case}`);
        link.href = `schedules.html#${one.case}`;
        said.append(link);
      }
    } else say("Choose a level or an anomaly.");
    if (name in nodes) nodes[name].setAttribute("aria-current", "true");
    draw();
  }
  window.addEventListener("hashchange", choose);
  new ResizeObserver(draw).observe(graph);
  choose();
})();
