// Sphinx's search skips numbers; these are SQLSTATEs. This runs before its own start, which waits for the same event.
document.addEventListener("DOMContentLoaded", () => {
  // The theme's own: what is to be seen on the button (Search Ctrl + K) is its name, which the label would replace.
  document.querySelectorAll(".search-button-field").forEach((button) => {
    if (button.innerText.trim()) button.removeAttribute("aria-label");
  });
  if (typeof Search === "undefined") return;
  const parse = Search._parseQuery;
  Search._parseQuery = (query) => {
    const parsed = parse(query);
    for (const state of query.match(/\b\d{5}\b/g) || []) {
      parsed[1].add(state); // search terms
      parsed[3].add(state); // to be highlighted
    }
    return parsed;
  };
});
