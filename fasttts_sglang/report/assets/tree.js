// The search tree, after the tree view pattern of the WAI-ARIA Authoring Practices.
// A node's children get elements when it is first expanded, so that large searches stay light.

class Tree {
  constructor(nodes, onSelect) {
    this.nodes = nodes;
    this.onSelect = onSelect;
    this.children = nodes.map(() => []);
    this.items = new Map(); // by place in `nodes`
    this.current = null;
    const roots = [];
    nodes.forEach((node, place) => {
      (node.parent === null ? roots : this.children[node.parent]).push(place);
    });
    this.element = el("ul", { role: "tree", class: "tree", "aria-label": "Search tree" });
    this.element.append(...roots.map((place) => this.item(place, 1)));
    this.element.addEventListener("click", (event) => this.onClick(event));
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("focusin", (event) => {
      if (event.target.role === "treeitem") this.select(Number(event.target.dataset.place));
    });
  }

  item(place, level) {
    const node = this.nodes[place];
    const inner = this.children[place].length > 0;
    const row = el(
      "div",
      { class: "row " + node.fate + (node.chosen ? " chosen" : ""), id: "row-" + place },
      el("span", { class: "twisty", "aria-hidden": "true" }),
      mark(node.fate),
      el("span", { class: "hidden" }, FATES[node.fate] + ", score "),
      score(node.scores.at(-1)),
      el("span", { class: "text" }, oneLine(node.text)),
      ...tags(node),
    );
    row.style.setProperty("--level", level - 1);
    const item = el(
      "li",
      {
        role: "treeitem",
        class: node.fate,
        tabindex: -1,
        "aria-level": level,
        "aria-expanded": inner ? "false" : null,
        "aria-selected": "false",
        "aria-labelledby": "row-" + place,
        "data-place": place,
      },
      row,
    );
    this.items.set(place, item);
    return item;
  }

  expand(place) {
    const item = this.items.get(place);
    if (!this.children[place].length || item.ariaExpanded === "true") return;
    if (!item.querySelector("ul")) {
      const level = Number(item.ariaLevel) + 1;
      const inner = this.children[place].map((child) => this.item(child, level));
      item.append(el("ul", { role: "group" }, ...inner));
    }
    item.ariaExpanded = "true";
  }

  collapse(place) {
    const item = this.items.get(place);
    if (item.ariaExpanded === "true") item.ariaExpanded = "false";
    if (this.current !== place && item.contains(this.items.get(this.current))) this.select(place);
  }

  collapseAll() {
    for (const [place, item] of this.items) if (item.ariaLevel === "1") this.collapse(place);
  }

  // Expand what is above `place` and make it the current one.
  reveal(place, focus) {
    const above = [];
    for (let p = this.nodes[place].parent; p !== null; p = this.nodes[p].parent) above.unshift(p);
    above.forEach((p) => this.expand(p));
    this.select(place);
    const item = this.items.get(place);
    if (focus) item.focus({ preventScroll: true });
    scrollInside(this.element, item.firstElementChild);
  }

  select(place) {
    if (this.current !== null) {
      const before = this.items.get(this.current);
      before.ariaSelected = "false";
      before.tabIndex = -1;
    }
    const item = this.items.get(place);
    item.ariaSelected = "true";
    item.tabIndex = 0;
    if (this.current === place) return;
    this.current = place;
    this.onSelect(place);
  }

  visible() {
    const all = [...this.element.querySelectorAll("[role=treeitem]")];
    return all.filter((item) => item.firstElementChild.offsetParent !== null);
  }

  // Keep the tab stop on something that can be seen.
  settle() {
    const seen = this.visible();
    const item = this.items.get(this.current);
    if (seen.length && !seen.includes(item)) this.select(Number(seen[0].dataset.place));
  }

  onClick(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    const place = Number(item.dataset.place);
    if (event.target.closest(".twisty")) this.toggle(place);
    item.focus({ preventScroll: true });
  }

  toggle(place) {
    if (this.items.get(place).ariaExpanded === "true") this.collapse(place);
    else this.expand(place);
  }

  onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const item = this.items.get(this.current);
    const seen = this.visible();
    const at = seen.indexOf(item);
    const open = item.ariaExpanded === "true";
    const parent = this.nodes[this.current].parent;
    let next = null;
    switch (event.key) {
      case "ArrowDown": next = seen[at + 1]; break;
      case "ArrowUp": next = seen[at - 1]; break;
      case "Home": next = seen[0]; break;
      case "End": next = seen.at(-1); break;
      case "ArrowRight":
        if (open) next = seen.slice(at + 1).find((other) => item.contains(other));
        else this.expand(this.current);
        break;
      case "ArrowLeft":
        if (open) this.collapse(this.current);
        else if (parent !== null) next = this.items.get(parent);
        break;
      case "Enter":
      case " ": this.toggle(this.current); break;
      case "*":
        for (const other of item.parentElement.children) this.expand(Number(other.dataset.place));
        break;
      default: return;
    }
    event.preventDefault();
    if (next) {
      next.focus({ preventScroll: true });
      scrollInside(this.element, next.firstElementChild);
    }
  }
}

function oneLine(text) {
  return text.trim().replace(/\s+/g, " ") || "(no text)";
}

function tags(node) {
  const tag = (kind, text) => el("span", { class: "tag " + kind }, text);
  return [
    node.ahead && node.fate !== "wasted" ? tag("ahead", "ahead") : null,
    node.finish === null ? tag("cut", "unfinished") : null,
    node.finish === "length" ? tag("cut", "cut") : null,
    node.answer !== null ? tag("answer", "= " + node.answer) : null,
  ].filter((found) => found !== null);
}

// Scroll `box` alone, not the page.
function scrollInside(box, element) {
  const outer = box.getBoundingClientRect();
  const inner = element.getBoundingClientRect();
  if (inner.top < outer.top) box.scrollTop -= outer.top - inner.top;
  else if (inner.bottom > outer.bottom) box.scrollTop += inner.bottom - outer.bottom;
}

// All that is known of one node.
function inspector(node) {
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  const scores = node.scores.map((value) => (value === null ? "–" : value.toFixed(3)));
  const ends = { stop: "at a step boundary", eos: "with an answer", length: "cut by a limit" };
  const fate = el("span", { class: "fate" }, mark(node.fate), FATES[node.fate]);
  return [
    el("p", { class: "text" }, node.text.trim() || "(no text)"),
    el(
      "dl",
      {},
      fact("path", node.path),
      fact("fate", fate),
      fact(scores.length > 1 ? "scores of its steps" : "score", scores.join("  ")),
      fact("asked for", node.round === null ? "never" : "in round " + node.round),
      fact("decoded", node.ahead ? "ahead of need" : "when it was asked for"),
      fact("tokens", String(node.tokens)),
      fact("ended", node.finish === null ? "dropped before" : ends[node.finish]),
      node.answer === null ? null : fact("answer", node.answer),
    ),
  ];
}
