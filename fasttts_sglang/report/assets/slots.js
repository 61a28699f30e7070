// What every decode slot did over time, as one SVG path per kind of work.

const KINDS = {
  normal: "asked for",
  kept: "speculated, kept",
  wasted: "speculated, not used",
};
const MARGIN = { left: 30, right: 8, top: 20, bottom: 34 };

class Slots {
  constructor(data, nodes, onPick) {
    this.data = data;
    this.nodes = nodes;
    this.onPick = onPick;
    this.current = null;
    this.chart = el("div", { class: "chart" });
    this.readout = el("p", { class: "readout" });
    this.element = el("div", {}, legend(data.shares), this.chart, this.readout);
    this.hint = "Point at a bar to read it, click to find its step in the tree.";
    this.readout.textContent = this.hint;
    this.chart.addEventListener("pointermove", (event) => this.read(event));
    this.chart.addEventListener("pointerleave", () => (this.readout.textContent = this.hint));
    this.chart.addEventListener("click", (event) => {
      const part = this.partAt(event);
      if (part && part[0] !== null) this.onPick(part[0]);
    });
    new ResizeObserver(() => this.draw()).observe(this.chart);
  }

  draw() {
    const width = Math.floor(this.chart.clientWidth);
    if (!width || width === this.width) return;
    const { slots, total_s, rounds, shares } = this.data;
    this.width = width;
    this.pitch = Math.max(2, Math.min(14, Math.floor(300 / slots.length)));
    this.scale = (width - MARGIN.left - MARGIN.right) / total_s;
    const bottom = MARGIN.top + this.pitch * slots.length;
    const gap = this.pitch > 4 ? 1 : 0;
    const paths = { normal: "", kept: "", wasted: "" };
    slots.forEach((parts, slot) => {
      for (const [, kind, begin, end] of parts) paths[kind] += this.box(slot, begin, end, gap);
    });
    const share = Object.entries(KINDS).map(([kind, name]) => percent(shares[kind]) + " " + name);
    const label = `${slots.length} decode slots over ${total_s.toFixed(2)} seconds: `;
    const height = bottom + MARGIN.bottom;
    this.picked = svg("path", { class: "picked" });
    this.chart.replaceChildren(
      svg(
        "svg",
        {
          viewBox: `0 0 ${width} ${height}`,
          role: "img",
          "aria-label": label + share.join(", ") + ", " + percent(shares.idle) + " idle",
        },
        patterns("chart-"),
        svg("rect", {
          class: "idle",
          x: MARGIN.left,
          y: MARGIN.top,
          width: width - MARGIN.left - MARGIN.right,
          height: bottom - MARGIN.top,
        }),
        ...Object.keys(KINDS).map((kind) =>
          svg("path", { class: "part " + kind, d: paths[kind], fill: paint("chart-", kind) }),
        ),
        ...this.rounds(rounds, bottom),
        ...this.axis(total_s, bottom),
        ...this.numbers(slots.length),
        this.picked,
      ),
    );
    this.pick(this.current);
  }

  box(slot, begin, end, gap) {
    const x = MARGIN.left + begin * this.scale;
    const wide = Math.max(0.5, (end - begin) * this.scale - gap / 2);
    const y = MARGIN.top + slot * this.pitch;
    const high = this.pitch - gap;
    return `M${x.toFixed(1)} ${y}h${wide.toFixed(1)}v${high}h${(-wide).toFixed(1)}z`;
  }

  rounds(begins, bottom) {
    let free = 0; // where the next number has room
    return begins.flatMap((begin, index) => {
      const x = MARGIN.left + begin * this.scale;
      const line = svg("path", { class: "round", d: `M${x} ${MARGIN.top - 5}V${bottom}` });
      const text = (index ? "" : "round ") + (index + 1);
      if (x < free) return [line];
      free = x + 8 * text.length + 6;
      return [line, svg("text", { class: "round", x: x + 2, y: MARGIN.top - 7 }, text)];
    });
  }

  axis(total, bottom) {
    const rough = (total / Math.max(2, this.width / 110));
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let i = 0; i * step <= total * 1.0001; i++) {
      const x = MARGIN.left + i * step * this.scale;
      const anchor = x > this.width - 24 ? "end" : i ? "middle" : "start";
      found.push(svg("path", { class: "tick", d: `M${x} ${bottom}v4` }));
      const at = { x, y: bottom + 16, "text-anchor": anchor };
      found.push(svg("text", at, (i * step).toFixed(digits) + (i ? "" : " s")));
    }
    return found;
  }

  numbers(count) {
    const at = (slot) => MARGIN.top + (slot - 0.5) * this.pitch + 4;
    const shown = count > 1 ? [1, count] : [1];
    return shown.map((slot) =>
      svg("text", { x: MARGIN.left - 6, y: at(slot), "text-anchor": "end" }, String(slot)),
    );
  }

  // Outline the spans of a node.
  pick(place) {
    this.current = place;
    if (!this.picked) return;
    let path = "";
    this.data.slots.forEach((parts, slot) => {
      for (const [node, , begin, end] of parts) {
        if (node === place && place !== null) path += this.box(slot, begin, end, 1);
      }
    });
    this.picked.setAttribute("d", path);
  }

  partAt(event) {
    const frame = this.chart.getBoundingClientRect();
    const slot = Math.floor((event.clientY - frame.top - MARGIN.top) / this.pitch);
    const time = (event.clientX - frame.left - MARGIN.left) / this.scale;
    const parts = this.data.slots[slot] || [];
    return parts.find(([, , begin, end]) => begin <= time && time < end);
  }

  read(event) {
    const part = this.partAt(event);
    this.chart.classList.toggle("over", Boolean(part && part[0] !== null));
    if (!part) {
      this.readout.textContent = this.hint;
      return;
    }
    const [place, kind, begin, end] = part;
    const node = place === null ? null : this.nodes[place];
    const time = `${begin.toFixed(3)} to ${end.toFixed(3)} s`;
    const text = node ? `${node.path}: ${oneLine(node.text)}` : "ended before its first token";
    this.readout.textContent = `${time} · ${KINDS[kind]} · ${text}`;
  }
}

// Hatched, so that the kinds differ without colour.
function patterns(prefix) {
  const hatch = (kind, ...lines) =>
    svg(
      "pattern",
      { id: prefix + kind, width: 6, height: 6, patternUnits: "userSpaceOnUse", class: kind },
      svg("rect", { width: 6, height: 6 }),
      ...lines.map((d) => svg("path", { d })),
    );
  return svg(
    "defs",
    {},
    hatch("kept", "M-1 7 7 -1M-1 1 1 -1M5 7 7 5"),
    hatch("wasted", "M3 1V5M1 3H5"),
  );
}

function paint(prefix, kind) {
  return kind === "normal" ? null : `url(#${prefix}${kind})`;
}

function legend(shares) {
  const entry = (kind, name) => {
    const box = { width: 22, height: 12, class: kind === "idle" ? "idle" : "part " + kind };
    const prefix = "legend-" + kind + "-";
    const fill = kind === "idle" ? null : paint(prefix, kind);
    const swatch = svg(
      "svg",
      { class: "swatch", viewBox: "0 0 22 12", "aria-hidden": "true" },
      patterns(prefix),
      svg("rect", { ...box, fill }),
    );
    return el("li", {}, swatch, name, el("span", { class: "digits" }, percent(shares[kind])));
  };
  const entries = Object.entries(KINDS).map(([kind, name]) => entry(kind, name));
  return el("ul", { class: "legend" }, ...entries, entry("idle", "idle"));
}

function percent(share) {
  return share > 0 && share < 0.0095 ? "<1 %" : Math.round(100 * share) + " %";
}
