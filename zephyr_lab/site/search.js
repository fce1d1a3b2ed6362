// Sphinx's search skips numbers; these are SQLSTATEs. This runs before its own start, which waits for the same event.
document.addEventListener("DOMContentLoaded", () => {
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
