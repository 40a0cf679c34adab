// Step 5: any weight. Its derivative as a product of numbers that are all on the page, measured again on the spot.
"use strict";

const step_weight = (() => {
  const { h, number, numbered, choice, entry, format } = elements;

  function build(root) {
    const { network, params, source } = state.desk();
    const layers = choice("layer", network.activations.map((_, l) => [l, `W${l + 1}, b${l + 1}`]), (layer) => move({ layer, j: 0, k: 0 }, true));
    const j_entry = entry("to j", { value: 0, min: 0, max: 9 }, (j) => move({ ...state.place(), j }));
    const k_entry = entry("from k", { value: 0, min: 0, max: 783 }, (k) => move({ ...state.place(), k }));
    const bias = h("button", { type: "button", onclick: () => move({ ...state.place(), k: state.place().k === null ? 0 : null }) }, "bias");
    const largest = h("button", { type: "button", onclick: find_largest }, "largest here");
    const pin = h("button", { type: "button", id: "pin" });
    const card = h("article", { class: "card weight" });
    root.append(
      h("p", {}, `All ${engine.count_parameters(params).toLocaleString("en")} weights and biases have a derivative for this one example. Pick one: a neuron or a pixel in the network, or by number.`),
      h("div", { class: "row" }, layers.node), h("div", { class: "row" }, j_entry.node, k_entry.node, bias, largest, pin),
      card, h("p", { class: "note" }, "The finite difference moves this one weight a little to both sides and runs the whole network again: it knows nothing of backpropagation."),
    );

    return () => {
      const place = state.place();
      const trace = state.trace();
      const { layer, j, k } = place;
      layers.set(layer);
      j_entry.input.value = j;
      j_entry.input.max = network.sizes[layer + 1] - 1;
      k_entry.input.value = k ?? "";
      k_entry.input.max = network.sizes[layer] - 1;
      bias.setAttribute("aria-pressed", String(k === null));
      const pinned = pins.has(place);
      pin.textContent = pinned ? "unpin" : "pin for step 6";
      pin.onclick = () => { pins.toggle(place); state.change({}); };
      card.replaceChildren(...content(place, trace, source));
    };
  }

  function move({ layer, j, k }, anew = false) {
    const { sizes } = state.desk().network;
    const within = (value, count) => Math.min(count - 1, Math.max(0, Math.round(value)));
    const { layers } = state.trace();
    if (anew) {
      const at = (values) => values.reduce((best, value, i) => (Math.abs(value) > Math.abs(values[best]) ? i : best), 0);
      return state.change({ place: { layer, j: at(layers[layer].dz), k: at(layers[layer].a_before) } });
    }
    return state.change({ place: { layer, j: within(j, sizes[layer + 1]), k: k === null ? null : within(k, sizes[layer]) } });
  }

  const find_largest = () => move({ layer: state.place().layer }, true);

  function content(place, trace, source) {
    const { network } = state.desk();
    const { layer, j, k } = place;
    const { dz, da, slope, a_before } = trace.layers[layer];
    const found = engine.derivative(trace, place);
    const measured = engine.finite_difference(network, state.now.params, trace.x, trace.y, place).slope;
    const output = layer === network.activations.length - 1;
    const value = (x, options) => numbered(x, "signed", options);
    const line = (...parts) => h("div", { class: "line" }, ...parts);
    const name = words.weight(place);
    const [n, m] = [layer + 1, layer];
    const before = m ? `a${m}` : "x";
    const lines = [
      h("h3", {}, name, " ", h("small", {}, k === null ? `the bias of ${words.neuron(network, place)}` : `from ${words.before(network, place)} to ${words.neuron(network, place)}; its value is ${format(engine.weight(state.now.params, place))}`)),
      k === null
        ? line(`dC/db${n}[${j}] = dz${n}[${j}] = `, value(found, { class: "big", id: "derivative" }))
        : line(`dC/dW${n}[${j},${k}] = dz${n}[${j}] · ${before}[${k}]`, h("br"), "= ", value(dz[j]), " · ", numbered(a_before[k], "plain"), " = ", value(found, { class: "big", id: "derivative" })),
      elements.source(k === null ? source.db : source.dW, value(found)),
      line(`dz${n}[${j}] = slope · da${n}[${j}]`, h("br"), "= ", numbered(slope[j], "plain"), " · ", value(da[j]), " = ", value(dz[j], { id: "dz" })),
      elements.source(source.dz, value(dz[j])),
      output
        ? line(`da${n}[${j}] = 2 (a${n}[${j}] − y[${j}])`, h("br"), `= 2 (${format(trace.outputs[j])} − ${trace.y[j]}) = `, value(da[j]))
        : line(`da${n}[${j}] = Σ dz${n + 1}[i] · W${n + 1}[i,${j}]`, h("br"), `over ${trace.layers[layer + 1].dz.length} neurons after = `, value(da[j])),
      elements.source(output ? source.cost_gradient : source.da, value(da[j])),
      line("measured by finite difference: ", value(measured, { id: "measured", class: "key" }), " ", agreement(found, measured)),
    ];
    if (k !== null && a_before[k] === 0) {
      lines.push(h("p", { class: "note" }, layer === 0 ? "This pixel is black, so nothing of this example depends on the weight: its derivative is 0. Try a lit pixel." : "The neuron before is silent, so the derivative is 0."));
    } else lines.push(h("p", { class: "note" }, found > 0 ? "Plus: raising this weight raises the cost, so the nudge is ↓ down." : found < 0 ? "Minus: raising this weight lowers the cost, so the nudge is ↑ up." : "Zero: this example does not care."));
    return lines;
  }

  function agreement(found, measured) {
    if (found === measured) return "the same";
    return `apart by ${format(Math.abs(found - measured))}`;
  }

  return { name: "One weight", title: "Any of the weights", build };
})();
