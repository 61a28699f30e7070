// Elements. Texts become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function section(title, ...children) {
  const id = "h-" + title.toLowerCase().replace(/\W+/g, "-");
  return el("section", { "aria-labelledby": id }, el("h2", { id }, title), ...children);
}

// A number in (0, 1) as a bar with its digits.
function score(value) {
  const bar = el("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--part", value === null ? 0 : value);
  const digits = value === null ? "–" : value.toFixed(3);
  return el("span", { class: "score" }, el("span", { class: "digits" }, digits), bar);
}

const FATES = {
  kept: "kept",
  pruned: "pruned",
  wasted: "speculated, not used",
};

// A fate as a shape: it reads without its colour.
function mark(fate) {
  const shape = {
    kept: () => [svg("circle", { cx: 6, cy: 6, r: 4.5 })],
    pruned: () => [svg("circle", { cx: 6, cy: 6, r: 4 }), svg("path", { d: "M3 9 9 3" })],
    wasted: () => [svg("rect", { x: 2, y: 2, width: 8, height: 8, rx: 1 })],
  }[fate]();
  return svg("svg", { class: "mark " + fate, viewBox: "0 0 12 12", "aria-hidden": "true" }, ...shape);
}
