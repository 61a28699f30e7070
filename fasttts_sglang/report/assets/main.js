// Puts the page together.

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const page = document.getElementById("page");
  const details = el("div", { class: "inspector", role: "region", "aria-label": "Selected step" });
  let slots = null;
  const tree = new Tree(data.nodes, (place) => {
    details.replaceChildren(...inspector(data.nodes[place]));
    if (slots) slots.pick(place);
  });
  slots = new Slots(data.slots, data.nodes, (place) => tree.reveal(place, true));
  page.replaceChildren(
    header(data),
    outcome(data),
    facts(data.facts),
    data.best ? bestPath(data.best) : "",
    section(
      "Search tree",
      controls(data, tree),
      el("div", { class: "browse" }, tree.element, details),
    ),
    section("Decode slots", slots.element),
    parameters(data.params),
  );
  const chosen = chosenPlace(data.nodes);
  if (chosen === null) tree.select(0);
  else tree.reveal(chosen, false);
}

function chosenPlace(nodes) {
  const found = nodes.findLastIndex((node) => node.chosen);
  return found < 0 ? null : found;
}

function controls(data, tree) {
  const filter = (fate) => {
    const count = data.nodes.filter((node) => node.fate === fate).length;
    const box = el("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      tree.element.classList.toggle("no-" + fate, !box.checked);
      tree.settle();
    });
    const digits = el("span", { class: "digits" }, count.toLocaleString("en"));
    return el("label", {}, box, mark(fate), FATES[fate], digits);
  };
  const button = (text, act) => {
    const found = el("button", { type: "button" }, text);
    found.addEventListener("click", act);
    return found;
  };
  const chosen = chosenPlace(data.nodes);
  return el(
    "div",
    { class: "controls" },
    el("fieldset", {}, el("legend", { class: "hidden" }, "Show"), ...Object.keys(FATES).map(filter)),
    el(
      "div",
      { class: "buttons" },
      chosen === null ? null : button("Chosen path", () => tree.reveal(chosen, true)),
      button("Collapse all", () => tree.collapseAll()),
    ),
    el("p", { class: "hint" }, "Arrow keys move and open, Enter toggles, * opens all siblings."),
  );
}

start();
