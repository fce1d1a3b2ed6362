// A question: radio buttons, and what came of the choice. The first choice counts; it is kept in the reader's browser.

const KEPT = "zephyr-lab.predictions";

function make(tag, classes, text) {
  const node = document.createElement(tag);
  node.className = classes.split(" ").map((name) => "zlp-" + name).join(" ");
  if (text !== undefined) node.textContent = text;
  return node;
}

// Text in backquotes is code.
function written(node, text) {
  text.split("`").forEach((part, place) => node.append(place % 2 ? make("code", "code", part) : part));
  return node;
}

// Where the browser keeps nothing (a page from disk may not), the page itself does.
const here = {};
function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEPT)) || {};
  } catch {
    return here;
  }
}
function keep(key, choice, right) {
  const all = kept();
  if (key in all) return;
  all[key] = here[key] = { choice, right };
  try {
    localStorage.setItem(KEPT, JSON.stringify(all));
  } catch {}
  window.dispatchEvent(new CustomEvent("zephyr-lab-progress"));
}

function score() {
  const all = Object.values(kept());
  return `${all.filter((one) => one.right).length} of ${all.length} predictions right so far.`;
}

function render({ model, el }) {
  const [question, options, answer] = ["question", "options", "answer"].map((name) => model.get(name));
  const key = JSON.stringify([question, ...options]); // several notebooks ask the same with other answers
  const root = make("fieldset", "root");
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab takes arrow keys otherwise
  root.append(written(make("legend", "question"), question));
  const group = "zlp" + Math.random().toString(36).slice(2);
  const rows = options.map((option, place) => {
    const label = make("label", "option");
    const radio = make("input", "radio");
    radio.type = "radio";
    radio.name = group;
    radio.addEventListener("change", () => choose(place + 1));
    label.append(radio, written(make("span", "text"), `${place + 1}  ${option}`));
    root.append(label);
    return { label, radio };
  });
  const said = make("div", "said");
  said.setAttribute("role", "status");
  root.append(said);
  el.append(root);

  function choose(choice) {
    model.set("choice", choice);
    model.save_changes();
    if (answer) keep(key, choice, choice === answer);
    show(choice);
  }
  function show(choice) {
    rows[choice - 1].radio.checked = true;
    if (!answer) {
      said.textContent = `Your prediction: ${choice}. Compare it with what comes below.`;
      return;
    }
    rows.forEach(({ label }, place) => {
      label.classList.toggle("zlp-right", place + 1 === answer);
      label.classList.toggle("zlp-wrong", place + 1 === choice && choice !== answer);
    });
    const verdict = choice === answer ? `Right: ${answer}.` : `Not ${choice}: it is ${answer}.`;
    said.replaceChildren(make("b", "verdict", verdict), ` What comes below shows it. ${score()}`);
  }
  const before = model.get("choice") || (kept()[key] || {}).choice;
  if (before && before <= options.length) show(before);
}

export default { render };
