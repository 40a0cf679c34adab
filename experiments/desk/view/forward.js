// Step 1: forward. One neuron: its weights as a picture, times what comes in, summed, and squashed.
"use strict";

const step_forward = (() => {
  const { h, number, numbered, choice, format } = elements;

  function build(root) {
    const { network } = state.desk();
    const layers = choice("layer", network.activations.map((_, l) => [l, words.layer(network, l)]), (layer) => state.change({ neuron: { layer, j: 0 } }));
    const row = h("div", { class: "row" });
    const formula = h("div", { class: "formula" });
    const pictures = h("div", { class: "pictures" });
    const canvases = {};
    const figure = (name, text) => {
      canvases[name] = h("canvas", { role: "img", "aria-label": text });
      return h("figure", {}, canvases[name], h("figcaption", {}, text));
    };
    const note = h("p", { class: "note" });
    root.append(
      h("p", {}, "Every neuron weighs the activations before it, adds a bias, and squashes the sum: ", h("code", {}, "z = W a + b"), ", ",
        h("code", {}, "a = σ(z)"), ". The answer is the brightest output. Pick a neuron, here or in the network."),
      layers.node, row, formula, pictures, note,
    );
    let built = null;

    function build_layer(layer) {
      const width = network.sizes[layer + 1];
      const js = choice("neuron", Array.from({ length: width }, (_, j) => [j, String(j)]), (j) => state.change({ neuron: { layer, j } }));
      js.node.classList.add("many");
      row.replaceChildren(js.node);
      const [what, times] = layer === 0 ? ["weights", "pixels"] : ["weights", "activations before"];
      pictures.replaceChildren(figure("W", what), h("span", { class: "sign" }, "×"), figure("a", times), h("span", { class: "sign" }, "="), figure("product", "their products"));
      pictures.classList.toggle("flat", layer > 0);
      built = { layer, js };
    }

    return () => {
      const { layer, j } = state.neuron();
      if (built?.layer !== layer) build_layer(layer);
      layers.set(layer);
      built.js.set(j);
      const { z, a, a_before } = state.trace().layers[layer];
      const width = a_before.length;
      const W = state.now.params[2 * layer].W.subarray(j * width, (j + 1) * width);
      const b = state.now.params[2 * layer].b[j];
      const product = W.map((w, k) => w * a_before[k]);
      const total = product.reduce((sum, p) => sum + p, 0);
      formula.replaceChildren(
        h("div", {}, "z = Σ weight × activation + bias = ", numbered(total, "plain"), b < 0 ? " − " : " + ", format(Math.abs(b)), " = ", numbered(z[j], "plain", { class: "key", id: "z" })),
        h("div", {}, `a = ${network.activations[layer]}(${format(z[j])}) = `, numbered(a[j], "plain", { class: "key", id: "a" })),
      );
      if (layer === 0) show_pictures(canvases, W, a_before, product, root.clientWidth);
      else show_bars(canvases, W, a_before, product, root.clientWidth);
      note.textContent = layer === 0
        ? "Blue weights ask for ink, orange ones (with a dash) for paper. Only products with ink on them count."
        : "Each bar is one neuron before, from left to right 0 to " + (width - 1) + "; blue up is plus, orange down is minus.";
    };
  }

  function show_pictures(canvases, W, a, product, room) {
    const size = 28 * Math.max(3, Math.min(5, Math.floor((room - 80) / 3 / 28)));
    paint.signed(paint.sheet(canvases.W, size, size), W, 0, 0, size);
    paint.digit(paint.sheet(canvases.a, size, size), a, 0, 0, size);
    paint.signed(paint.sheet(canvases.product, size, size), product, 0, 0, size);
  }

  function show_bars(canvases, W, a, product, room) {
    const width = Math.min(380, room - 50);
    paint.bars(canvases.W, W, width, 70);
    paint.bars(canvases.a, a, width, 50, { grey: a.every((x) => x >= 0), scale: Math.max(1, paint.largest(a)) });
    paint.bars(canvases.product, product, width, 70);
  }

  return { name: "Forward", title: "Forward: from pixels to an answer", build };
})();
