// The network: the pixels, the neurons as bright as they are active, the edges by weight or by gradient, and arrows where
// the example asks for more or less. Over each neuron lies a button, so that keys and screen readers reach it.
"use strict";

const drawing = (() => {
  const { h, choice, format } = elements;
  const { colours } = paint;
  const TOP = 26;
  const STRONGEST = 30; // of the 784 edges into a neuron of the first layer, as many as are drawn

  const canvas = h("canvas", { class: "net" });
  const stage = h("div", { class: "stage" });
  const reads = h("p", { class: "reads" });
  const edges = choice("edges", [["weights", "weights"], ["gradient", "gradient"]], (kind) => state.change({ edges: kind }));
  const legend = h("p", { class: "legend" });
  const which = choice("network", [[false, "trained"], [true, "untrained"]], (fresh) => training.begin(fresh));
  let buttons = [];
  let geometry = null;

  function build(root) {
    const { network } = state.desk();
    buttons = network.sizes.slice(1).map((width, layer) =>
      Array.from({ length: width }, (_, j) => {
        const button = h("button", { type: "button", class: "neuron", tabIndex: layer === 0 && j === 0 ? 0 : -1, onclick: () => pick({ layer, j }) });
        button.addEventListener("keydown", (event) => walk(event, layer, j));
        button.addEventListener("focus", () => button.setAttribute("aria-label", spoken({ layer, j })));
        button.setAttribute("aria-label", words.neuron(network, { layer, j }));
        return button;
      }),
    );
    stage.append(canvas, ...buttons.flat());
    canvas.addEventListener("pointerdown", pick_pixel);
    root.append(
      h("div", { class: "row" }, h("div", { class: "row tight" }, h("span", { class: "caption" }, "network"), which.node),
        h("div", { class: "row tight" }, h("span", { class: "caption" }, "edges"), edges.node)),
      legend, stage, reads,
    );
    new ResizeObserver(() => { geometry = null; update(); }).observe(root);
    return update;
  }

  // From neuron to neuron with the arrow keys.
  function walk(event, layer, j) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const column = buttons[Math.min(buttons.length - 1, Math.max(0, layer + move[0]))];
    const next = column[Math.min(column.length - 1, Math.max(0, j + move[1]))];
    buttons.flat().forEach((button) => (button.tabIndex = button === next ? 0 : -1));
    next.focus();
  }

  function spoken({ layer, j }) {
    const { a, da } = state.trace().layers[layer];
    return `${words.neuron(state.desk().network, { layer, j })}, activation ${format(a[j])}, nudge ${format(-da[j])}`;
  }

  // At the step of one weight, picking a neuron picks a weight that leads to it.
  function pick({ layer, j }) {
    const place = state.now.step === 5 ? { layer, j, k: strongest_input(layer) } : state.now.place;
    const output = layer === buttons.length - 1 ? { output: j } : {};
    state.change({ neuron: { layer, j }, place, ...output });
  }

  function strongest_input(layer) {
    const { a_before } = state.trace().layers[layer];
    return a_before.reduce((best, a, k) => (a > a_before[best] ? k : best), 0);
  }

  function pick_pixel(event) {
    const { picture } = geometry;
    const box = canvas.getBoundingClientRect();
    const [column, row] = [(event.clientX - box.left - picture.left) / picture.size, (event.clientY - box.top - picture.top) / picture.size];
    if (column < 0 || column >= 1 || row < 0 || row >= 1) return;
    const k = 28 * Math.floor(28 * row) + Math.floor(28 * column);
    const { layer, j } = state.place();
    state.change({ place: { layer: 0, j: layer === 0 ? j : state.neuron().layer === 0 ? state.neuron().j : 0, k } });
  }

  // Where everything is, for the room that there is.
  function arrange() {
    const { sizes } = state.desk().network;
    const width = Math.floor(stage.clientWidth);
    const narrow = width < 480;
    const most = Math.max(...sizes.slice(1));
    const gap = narrow ? 13 : Math.max(20, Math.min(34, (stage.parentElement.clientHeight - 120 - TOP) / most));
    const height = Math.round(TOP + most * gap + 4);
    const size = Math.round(Math.min(width * 0.26, height - TOP - 10, 196) / 28) * 28 || 28;
    const picture = { left: 1, top: TOP + (height - TOP - size) / 2, size };
    const right = narrow ? 60 : 82;
    const first = picture.left + size + (narrow ? 34 : 64);
    const columns = sizes.slice(1).map((count, layer) => {
      const x = first + ((width - right - first) * layer) / Math.max(1, sizes.length - 2);
      const spread = Math.min(gap * 1.6, (height - TOP) / count);
      const top = TOP + (height - TOP - spread * count) / 2;
      return Array.from({ length: count }, (_, j) => ({ x, y: top + (j + 0.5) * spread }));
    });
    const radius = narrow ? 5 : Math.min(11, gap * 0.38);
    return { width, height, narrow, picture, columns, radius };
  }

  function update() {
    if (!stage.isConnected || !stage.clientWidth) return;
    if (!geometry) {
      geometry = arrange();
      place_buttons();
    }
    const { width, height, picture } = geometry;
    const g = paint.sheet(canvas, width, height);
    const trace = state.trace();
    g.lineCap = "butt";
    draw_edges(g, trace);
    paint.digit(g, trace.x, picture.left, picture.top, picture.size);
    draw_neurons(g, trace);
    draw_marks(g);
    draw_headings(g);
    edges.set(state.edges());
    which.set(state.now.changed === "" ? false : state.now.changed.startsWith("untrained") ? true : null);
    legend.replaceChildren(...legend_of(state.edges()));
    reads.textContent = reading(trace);
  }

  function place_buttons() {
    const reach = geometry.narrow ? 6.5 : 10;
    geometry.columns.forEach((column, layer) =>
      column.forEach(({ x, y }, j) => {
        const { style } = buttons[layer][j];
        style.left = `${x - reach}px`;
        style.top = `${y - reach}px`;
        style.width = style.height = `${2 * reach}px`;
      }),
    );
  }

  const legend_of = (kind) =>
    kind === "weights"
      ? [h("span", { class: "up" }, "― plus"), " ", h("span", { class: "down" }, "┄ minus")]
      : [h("span", { class: "up" }, "― should rise"), " ", h("span", { class: "down" }, "┄ should fall")];

  // The value that an edge shows: its weight, or its nudge, minus the derivative.
  function edge_values(trace, layer) {
    if (state.edges() === "weights") return state.now.params[2 * layer].W;
    const { dz, a_before } = trace.layers[layer];
    const values = new Float64Array(dz.length * a_before.length);
    for (let j = 0, i = 0; j < dz.length; j++) for (let k = 0; k < a_before.length; k++, i++) values[i] = -dz[j] * a_before[k];
    return values;
  }

  function draw_edges(g, trace) {
    const chosen = focus();
    for (let layer = 1; layer < geometry.columns.length; layer++) {
      const values = edge_values(trace, layer);
      const scale = paint.largest(values);
      const [from, to] = [geometry.columns[layer - 1], geometry.columns[layer]];
      to.forEach((end, j) => {
        const mine = !chosen || (chosen.layer === layer && chosen.j === j);
        from.forEach((start, k) => line(g, start, end, values[j * from.length + k], scale, mine ? 0.9 : 0.28));
      });
    }
    draw_input_edges(g, trace, chosen);
  }

  // Where one neuron is looked at, its edges stand out.
  const focus = () => ({ 1: state.neuron(), 5: state.place() })[state.now.step] ?? null;

  function line(g, start, end, value, scale, alpha) {
    const strength = scale ? Math.abs(value) / scale : 0;
    if (strength < 0.03) return;
    g.globalAlpha = alpha * (0.15 + 0.85 * strength);
    g.strokeStyle = value > 0 ? colours.up : colours.down;
    g.lineWidth = 0.4 + 2 * strength;
    g.setLineDash(value > 0 ? [] : [5, 3]);
    g.beginPath();
    g.moveTo(start.x, start.y);
    g.lineTo(end.x, end.y);
    g.stroke();
    g.globalAlpha = 1;
  }

  const pixel_centre = (k) => {
    const { left, top, size } = geometry.picture;
    return { x: left + ((k % 28) + 0.5) * (size / 28), y: top + (Math.floor(k / 28) + 0.5) * (size / 28) };
  };

  // All 784 x 16 edges would be a grey wall: a bundle stands for them, and the strongest of one neuron are drawn.
  function draw_input_edges(g, trace, chosen) {
    const { left, top, size } = geometry.picture;
    g.strokeStyle = colours.line;
    g.lineWidth = 1;
    g.setLineDash([]);
    for (const { x, y } of geometry.columns[0]) {
      for (const from of [top, top + size]) {
        g.beginPath();
        g.moveTo(left + size, from);
        g.lineTo(x, y);
        g.stroke();
      }
    }
    if (!chosen || chosen.layer !== 0) return;
    const j = chosen.j;
    const { dz, a_before } = trace.layers[0];
    const { W } = state.now.params[0];
    const width = a_before.length;
    const shown = (k) => (state.edges() === "weights" ? W[j * width + k] * a_before[k] : -dz[j] * a_before[k]);
    const values = Float64Array.from({ length: width }, (_, k) => shown(k));
    const order = Array.from(values.keys()).sort((p, q) => Math.abs(values[q]) - Math.abs(values[p]));
    const scale = Math.abs(values[order[0]]);
    for (const k of order.slice(0, STRONGEST)) line(g, pixel_centre(k), geometry.columns[0][j], values[k], scale, 0.7);
  }

  function draw_neurons(g, trace) {
    const { columns, radius, narrow } = geometry;
    const arrows_from = { 2: columns.length - 1, 3: columns.length - 1, 4: 0, 5: 0 }[state.now.step] ?? columns.length;
    columns.forEach((column, layer) => {
      const { a, da } = trace.layers[layer];
      const full = Math.max(1, paint.largest(a));
      const strongest = paint.largest(da);
      column.forEach(({ x, y }, j) => {
        const grey = Math.round(255 * Math.min(1, Math.abs(a[j]) / full));
        g.setLineDash([]);
        g.fillStyle = `rgb(${grey},${grey},${grey})`;
        g.strokeStyle = colours.soft;
        g.lineWidth = 1.2;
        g.beginPath();
        g.arc(x, y, radius, 0, 2 * Math.PI);
        g.fill();
        g.stroke();
        if (layer >= arrows_from && strongest > 0) {
          const length = (narrow ? 11 : 18) * (Math.abs(da[j]) / strongest);
          paint.arrow(g, x + radius + (narrow ? 5 : 8), y, length, -da[j], narrow ? 1.6 : 2.4);
        }
      });
    });
    draw_output_names(g, trace);
  }

  function draw_output_names(g, { outputs, answer, y: target }) {
    const { columns, radius, narrow } = geometry;
    g.textBaseline = "middle";
    g.textAlign = "left";
    columns.at(-1).forEach(({ x, y }, j) => {
      const left = x + radius + (narrow ? 11 : 18);
      g.fillStyle = j === answer ? colours.ink : colours.soft;
      g.font = `${j === answer ? "bold " : ""}${narrow ? 11 : 14}px system-ui, sans-serif`;
      g.fillText(String(j), left, y);
      g.font = `${narrow ? 10 : 12}px system-ui, sans-serif`;
      g.fillText(outputs[j].toFixed(2), left + (narrow ? 10 : 16), y);
      if (target[j]) {
        g.font = `bold ${narrow ? 9 : 11}px system-ui, sans-serif`;
        g.fillStyle = colours.mark;
        g.fillText("wanted", left, y + (narrow ? 10 : 14));
      }
    });
  }

  function ring(g, { x, y }, radius) {
    g.strokeStyle = colours.mark;
    g.lineWidth = 2.5;
    g.setLineDash([]);
    g.beginPath();
    g.arc(x, y, radius, 0, 2 * Math.PI);
    g.stroke();
  }

  // What is looked at: a neuron, or a weight with both its ends.
  function draw_marks(g) {
    const { columns, radius, picture } = geometry;
    const chosen = focus();
    if (!chosen) return;
    ring(g, columns[chosen.layer][chosen.j], radius + 3);
    if (state.now.step !== 5 || chosen.k === null) return;
    const start = chosen.layer === 0 ? pixel_centre(chosen.k) : columns[chosen.layer - 1][chosen.k];
    ring(g, start, chosen.layer === 0 ? Math.max(4, picture.size / 40) : radius + 3);
    g.lineWidth = 2.5;
    g.beginPath();
    g.moveTo(start.x, start.y);
    g.lineTo(columns[chosen.layer][chosen.j].x, columns[chosen.layer][chosen.j].y);
    g.stroke();
  }

  function draw_headings(g) {
    const { sizes } = state.desk().network;
    const { picture, columns, narrow } = geometry;
    g.font = `${narrow ? 10 : 12}px system-ui, sans-serif`;
    g.fillStyle = colours.soft;
    g.textBaseline = "alphabetic";
    g.textAlign = "left";
    g.fillText(`${sizes[0]} pixels`, picture.left, picture.top - 6);
    g.textAlign = "center";
    columns.forEach((column, layer) => {
      const name = layer === columns.length - 1 ? `${column.length} outputs` : `hidden ${layer + 1}: ${column.length}`;
      g.fillText(name, column[0].x, Math.max(11, column[0].y - geometry.radius - 8));
    });
  }

  function reading({ answer, outputs, cost }) {
    return `The brightest output is ${answer}, with ${format(outputs[answer])}; cost ${format(cost)}.`;
  }

  return { build };
})();
