// What the reader has done, kept in their browser (localStorage) and nowhere else: notebooks, and predictions.
(function () {
  const DONE = "zephyr-lab.done";
  const PREDICTED = "zephyr-lab.predictions";
  function read(key) {
    try {
      return JSON.parse(localStorage.getItem(key)) || {};
    } catch {
      return {};
    }
  }
  function write(key, value) {
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {}
  }
  function make(tag, className, text) {
    const node = document.createElement(tag);
    node.className = className;
    node.textContent = text;
    return node;
  }
  const here = /notebooks\/(\d\d-[\w-]+)\.html$/.exec(location.pathname);
  const article = document.querySelector("article.bd-article");

  if (here && article) {
    const button = make("button", "zephyr-done", "");
    button.type = "button";
    const show = () => {
      const done = here[1] in read(DONE);
      button.textContent = done ? "✓ Done" : "Mark this notebook as done";
      button.setAttribute("aria-pressed", String(done));
    };
    button.addEventListener("click", () => {
      const { [here[1]]: done, ...others } = read(DONE);
      write(DONE, done ? others : { ...others, [here[1]]: true });
      show();
    });
    article.append(button);
    show();
  }

  const place = document.getElementById("zephyr-progress");
  if (!place) return;
  function tell() {
    const done = read(DONE);
    const predictions = Object.values(read(PREDICTED));
    const links = [...document.querySelectorAll("article.bd-article a[href]")].filter((one) => /notebooks\/\d\d-/.test(one.getAttribute("href")));
    const names = new Set();
    for (const link of links) {
      const name = /(\d\d-[\w-]+)\.html/.exec(link.href)[1];
      names.add(name);
      link.classList.toggle("zephyr-is-done", name in done);
    }
    const right = predictions.filter((one) => one.right).length;
    place.replaceChildren(
      make("span", "", `Done: ${Object.keys(done).length} of ${names.size} notebooks. Predictions: ${right} of ${predictions.length} right. `),
    );
    if (predictions.length || Object.keys(done).length) {
      const forget = make("button", "zephyr-done", "Forget");
      forget.type = "button";
      forget.title = "This is kept in your browser only";
      forget.addEventListener("click", () => {
        for (const key of [DONE, PREDICTED]) localStorage.removeItem(key);
        tell();
      });
      place.append(forget);
    }
  }
  tell();
})();
