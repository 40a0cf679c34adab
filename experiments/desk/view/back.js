// Step 4: pass it back. What each neuron asks of the layer before, a row each, and their sum.
"use strict";

const step_back = (() => {
  const { h, choice, number } = elements;

  let layer = null; // whose neurons ask; null: the outputs

  function build(root) {
    const { network } = state.desk();
    const last = network.activations.length - 1;
    layer ??= last;
    const name = (l) => (l < 0 ? "pixels" : l === last ? "outputs" : `hidden ${l + 1}`);
    const levels = choice("from layer to layer:", network.activations.map((_, l) => [l, `${name(l)} → ${name(l - 1)}`]).reverse(), (l) => { layer = l; state.change({}); });
    const heard_row = h("div", { class: "heard" });
    const mutes = Array.from({ length: 10 }, (_, j) => mute(j));
    const rows = h("div", { class: "asks" });
    const text = h("p", {});
    heard_row.append(h("span", { class: "caption" }, "outputs heard"), ...mutes.map(({ node }) => node),
      h("button", { type: "button", onclick: () => state.change({ heard: new Array(10).fill(true) }) }, "all"));
    root.append(text, levels.node, heard_row, rows, elements.source(state.desk().source.da));
    let built = null;

    return () => {
      const { heard } = state.now;
      const trace = state.trace();
      const asks = engine.asks(trace, state.now.params, layer);
      const total = layer ? trace.layers[layer - 1].da : trace.dx;
      if (built?.layer !== layer) built = { layer, update: layer === 0 ? pictures(rows, asks.length) : strips(rows, asks.length, layer === last) };
      levels.set(layer);
      mutes.forEach(({ update }) => update(heard));
      text.replaceChildren(...told(layer, last, name));
      built.update(asks.map((row) => row.map((d) => -d)), total.map((d) => -d), root.clientWidth, heard);
    };
  }

  const told = (layer, last, name) => [
    layer === last
      ? "Each output has wishes for the neurons before it, in proportion to its weights and to how much it wants to change itself: "
      : "The sum becomes the wish of this layer, and the same is done again: ",
    h("code", {}, "da = Wᵀ dz"),
    layer === 0
      ? ". Each picture is one neuron of hidden 1; their sum is what the example asks of its own pixels."
      : `. Each row is one ${layer === last ? "output" : `neuron of ${name(layer)}`}, each column one neuron of ${name(layer - 1)}; the sum of the rows is what the example asks of that layer.`,
  ];

  // A button for each output: press to mute or hear it; twice to hear it alone.
  function mute(j) {
    const button = h("button", { type: "button", title: "click: mute; double-click or shift: solo" }, String(j));
    button.onclick = (event) => {
      const { heard } = state.now;
      state.change({ heard: event.shiftKey ? heard.map((_, i) => i === j) : heard.map((on, i) => (i === j ? !on : on)) });
    };
    button.ondblclick = () => solo(j);
    const update = (heard) => {
      button.setAttribute("aria-pressed", String(heard[j]));
      button.setAttribute("aria-label", `output ${j}: ${heard[j] ? "heard" : "muted"}`);
    };
    return { node: button, update };
  }

  const solo = (j) => state.change({ heard: state.now.heard.map((_, i) => i === j) });

  // Rows of arrows, one arrow for each neuron of the layer before.
  function strips(rows, count, are_outputs) {
    const canvases = Array.from({ length: count + 1 }, () => h("canvas", { role: "img" }));
    const names = canvases.slice(0, -1).map((_, j) =>
      are_outputs ? h("button", { type: "button", class: "solo", title: "hear this one alone", onclick: () => solo(j) }, `${j} solo`) : h("span", { class: "name" }, String(j)));
    rows.className = "asks strips";
    rows.replaceChildren(
      ...canvases.flatMap((canvas, j) => [j < count ? names[j] : h("strong", {}, "sum"), canvas]));
    return (asks, total, room, heard) => {
      const width = Math.min(420, room - 70);
      const height = count > 10 ? 17 : 24;
      const scale = Math.max(...asks.map(paint.largest));
      asks.forEach((row, j) => {
        paint.cells(canvases[j], row, width, height, scale);
        canvases[j].setAttribute("aria-label", `row ${j}: strongest ${elements.format(paint.largest(row))}`);
        canvases[j].classList.toggle("muted", are_outputs && !heard[j]);
      });
      paint.cells(canvases.at(-1), total, width, 30);
      canvases.at(-1).setAttribute("aria-label", `sum: strongest ${elements.format(paint.largest(total))}`);
    };
  }

  // At the pixels, each row is a picture.
  function pictures(rows, count) {
    const canvases = Array.from({ length: count + 1 }, () => h("canvas", { role: "img" }));
    rows.className = "asks pictures-grid";
    rows.replaceChildren(...canvases.map((canvas, j) => h("figure", { class: j === count ? "sum" : "" }, canvas, h("figcaption", {}, j === count ? "sum" : String(j)))));
    return (asks, total, room) => {
      const scale = Math.max(...asks.map(paint.largest));
      const size = room > 400 ? 84 : 56;
      asks.forEach((row, j) => paint.signed(paint.sheet(canvases[j], size, size), row, 0, 0, size, scale));
      paint.signed(paint.sheet(canvases.at(-1), 168, 168), total, 0, 0, 168);
    };
  }

  return { name: "Pass back", title: "Pass it back", build };
})();
