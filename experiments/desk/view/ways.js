// Step 3: three ways to lower the cost of one output: its bias, its weights, the activations before.
"use strict";

const step_ways = (() => {
  const { h, number, numbered, choice, format } = elements;
  const WAYS = {
    bias: { title: "its bias", text: "one number: db = dz", driver: null },
    weights: { title: "its weights", text: "dW = dz × a, in proportion to the activations", driver: "a before" },
    activations: { title: "the activations before", text: "da = W × dz, in proportion to the weights; a wish", driver: "weights" },
  };
  const SIZES = [0.01, 0.03, 0.1, 0.3, 1, 3];

  let output = null; // of which output; null: the wanted one
  let size = 0.1;
  let tried = null; // {way, predicted, measured, undo}

  function build(root) {
    const outputs = choice("output", Array.from({ length: 10 }, (_, j) => [j, String(j)]), (j) => { output = j; tried = null; state.change({}); });
    const sizes = choice("size of the change", SIZES.map((s) => [s, String(s)]), (s) => { size = s; tried = null; state.change({}); });
    const cards = Object.fromEntries(Object.entries(WAYS).map(([way, words]) => [way, card(way, words)]));
    const now = h("p", { class: "key-line" });
    root.append(
      h("p", {}, "Three kinds of numbers, the lesson’s “avenues”, can change an output. Each is moved by minus its derivative, times a size. The derivative ",
        h("em", {}, "predicts"), " what that does to the cost: apply one, and compare."),
      h("div", { class: "row" }, h("span", { class: "caption" }, "output"), outputs.node),
      h("div", { class: "row" }, h("span", { class: "caption" }, "size"), sizes.node),
      now, ...Object.values(cards).map(({ node }) => node),
      h("p", { class: "note" }, "The smaller the change, the closer prediction and measurement. Activations cannot be set: what they should do is noted, and passed back (step 4)."),
    );
    let about = null;
    return () => {
      const j = output ?? state.now.label;
      const { network } = state.desk();
      const trace = state.trace();
      if (about !== trace.x && !tried?.keep) tried = null;
      if (tried) tried.keep = false;
      about = trace.x;
      outputs.set(j);
      sizes.set(size);
      const found = engine.three_ways(network, state.now.params, trace.x, trace.y, j, size);
      now.replaceChildren(`output ${j} is `, numbered(trace.outputs[j]), `, wanted ${trace.y[j]}; its part of the cost is `, numbered(trace.squares[j]));
      const last = network.layers.length - 2;
      const { a_before } = trace.layers.at(-1);
      const W = state.now.params[last].W.subarray(j * a_before.length, (j + 1) * a_before.length);
      const scale = Math.max(...Object.values(found).map(({ change }) => paint.largest(change)));
      const width = Math.min(400, root.clientWidth - 40);
      for (const [way, { update }] of Object.entries(cards)) {
        const driver = { bias: null, weights: a_before, activations: W }[way];
        update(found[way], { driver, width, scale, apply: () => apply(way, found[way], j) });
      }
    };
  }

  function card(way, { title, text, driver }) {
    const chart = h("canvas", { role: "img", "aria-label": `nudges of ${title}` });
    const below = h("canvas", { role: "img", "aria-label": driver ?? "" });
    const predicted = h("span", { id: `predicted-${way}` });
    const measured = h("span", { id: `measured-${way}` });
    const single = h("span");
    const button = h("button", { type: "button", id: `apply-${way}` }, "apply");
    const node = h("article", { class: "card way" },
      h("h3", {}, title, " ", h("small", {}, text)),
      driver ? h("div", { class: "aligned" }, h("span", { class: "caption" }, "change"), chart, h("span", { class: "caption" }, driver), below)
             : h("div", {}, "change: ", single),
      h("div", { class: "row" }, "cost: predicted ", predicted, " · measured ", measured, button),
    );
    function update(found, { driver: values, width, scale, apply }) {
      if (values) {
        paint.bars(chart, found.change, width - 84, 34, { scale });
        paint.bars(below, values, width - 84, 26, { grey: values.every((a) => a >= 0) });
      } else number(single, found.change[0], "nudge");
      const done = tried?.way === way;
      number(predicted, done ? tried.predicted : found.predicted, "signed");
      if (done) number(measured, tried.measured, "signed");
      else {
        measured.textContent = "…";
        measured.className = "";
        delete measured.dataset.value;
      }
      button.textContent = done ? "undo" : "apply";
      button.onclick = done ? undo : apply;
    }
    return { node, update };
  }

  // The bias or the weights are changed for good; the activations before only for once.
  function apply(way, { change, predicted, measured }, j) {
    const before = state.now.params;
    const last = before.length - 2;
    let after = before;
    if (way === "bias") after = engine.with_weight(before, { layer: last / 2, j, k: null }, before[last].b[j] + change[0]);
    if (way === "weights") {
      const W = before[last].W.slice();
      change.forEach((c, k) => (W[j * change.length + k] += c));
      after = before.map((own, i) => (i === last ? { ...own, W } : own));
    }
    tried = { way, predicted, measured, before, changed: state.now.changed, keep: true };
    state.change({ params: after, changed: after === before ? state.now.changed : `changed by hand: ${WAYS[way].title} of output ${j}` });
  }

  function undo() {
    const { before, changed } = tried;
    tried = null;
    state.change({ params: before, changed });
  }

  return { name: "Three ways", title: "Three ways to lower it", build };
})();
