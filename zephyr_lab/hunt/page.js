// Shows the section that the address names, and its counterexample in the stepper.
const stories = JSON.parse(document.getElementById("stories").textContent);

function mount(section) {
  const place = section.querySelector(".stepper");
  if (!place || place.childElementCount || !stories[section.id]) return;
  const state = { runs: [stories[section.id]], at_end: false };
  render({ model: { get: (name) => state[name] }, el: place });
}

function open() {
  const wanted = location.hash.slice(1);
  for (const section of document.querySelectorAll("section")) {
    const isWanted = section.id === wanted;
    section.classList.toggle("open", isWanted);
    if (!isWanted) continue;
    mount(section);
    section.scrollIntoView();
  }
}

document.body.classList.add("steppable");
window.addEventListener("hashchange", open);
open();
