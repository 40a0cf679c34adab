// What the person looks at: one record, changed by `change` alone, and mirrored in the address, so that every view is a
// link: #step=5&example=12&label=3&weight=0.7.406
"use strict";

const state = (() => {
  const now = {
    step: 1,
    example: 0, // number of a test digit, or "drawn"
    pixels: null, // Uint8Array(784)
    label: 0, // what is wanted
    labelled: true, // false: a drawing of which nobody has said what it is; the answer is taken for the label
    params: null,
    changed: "", // what has been done to the parameters since the page was opened
    neuron: null, // {layer, j}, or null: the one that the step suggests
    place: null, // {layer, j, k} of a weight, or null: the suggested one
    edges: null, // "weights", "gradient", or null: what the step suggests
    heard: new Array(10).fill(true), // outputs that count when it is passed back
    drawn: null, // the drawing's 784 grey levels, while there is one
  };
  const listeners = [];
  let desk = null;
  let cached = null;
  let waiting = false;

  const STEPS = 8;
  const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

  // Both passes of what is shown. Muted outputs are muted only where they can be seen to be.
  function trace() {
    const { pixels, params, label, heard, step } = now;
    const mask = step === 4 ? heard : null;
    const key = [pixels, params, label, mask];
    if (!cached || key.some((part, i) => part !== cached.key[i])) {
      const cost = mask ? engine.masked(engine.squared_error, mask) : engine.squared_error;
      const found = engine.trace(desk.network, params, engine.input(pixels, 0), engine.one_hot(label), cost);
      cached = { key, found };
    }
    return cached.found;
  }

  function change(patch) {
    const before = now.step;
    Object.assign(now, patch);
    if (!now.labelled) now.label = engine.trace(desk.network, now.params, engine.input(now.pixels, 0), engine.one_hot(0)).answer;
    write_address(now.step !== before);
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      for (const listener of listeners) listener();
    });
  }

  const listen = (listener) => listeners.push(listener);

  // A digit of the test set; with another label, if one is wanted.
  function show_example(index, label) {
    const example = clamp(Math.round(index), 0, desk.test.count - 1);
    const pixels = desk.test.images.slice(784 * example, 784 * (example + 1));
    change({ example, pixels, label: label ?? desk.test.labels[example], labelled: true });
  }

  function show_drawing(pixels) {
    change({ example: "drawn", pixels, drawn: pixels, labelled: now.example === "drawn" && now.labelled });
  }

  // The weight that is looked at: the chosen one, or one into the first layer whose derivative is large here.
  function place() {
    if (now.place) return now.place;
    const { layers, x } = trace();
    const by_size = (values) => values.reduce((best, value, i) => (Math.abs(value) > Math.abs(values[best]) ? i : best), 0);
    return { layer: 0, j: by_size(layers[0].dz), k: by_size(x) };
  }

  // The neuron that is looked at: the chosen one, or the most active of the first hidden layer.
  function neuron() {
    if (now.neuron) return now.neuron;
    const { a } = trace().layers[0];
    return { layer: 0, j: a.reduce((best, value, j) => (value > a[best] ? j : best), 0) };
  }

  const SUGGESTED_EDGES = { 1: "weights", 6: "weights", 7: "weights", 8: "weights" };
  const edges = () => now.edges ?? SUGGESTED_EDGES[now.step] ?? "gradient";

  // The address

  function address(patch = {}) {
    const { step, example, label, place } = { ...now, ...patch };
    const parts = [`step=${step}`, `example=${example}`];
    if (example !== "drawn" && label !== desk.test.labels[example]) parts.push(`label=${label}`);
    if (place) parts.push(`weight=${place.layer}.${place.j}.${place.k ?? "bias"}`);
    return `#${parts.join("&")}`;
  }

  function write_address(push) {
    const wanted = address();
    if (location.hash === wanted) return;
    history[push ? "pushState" : "replaceState"](null, "", wanted);
  }

  const whole = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : null);

  function read_address() {
    const given = new URLSearchParams(location.hash.slice(1));
    const step = clamp(whole(given.get("step")) ?? now.step, 1, STEPS);
    const weight = given.has("weight") ? place_of(given.get("weight")) : now.place;
    Object.assign(now, { step, place: weight });
    if (given.get("example") === "drawn" && now.drawn) return show_drawing(now.drawn);
    const label = whole(given.get("label"));
    const asked = whole(given.get("example"));
    if (asked === null && now.pixels) return change({});
    return show_example(asked ?? hesitant(), label !== null && label < 10 ? label : undefined);
  }

  // To begin with, the test digit that is read correctly with the highest cost: it asks for the most.
  function hesitant() {
    const { test, network, params } = desk;
    const cost = (i) => {
      const { answer, cost } = engine.trace(network, params, engine.input(test.images, i), engine.one_hot(test.labels[i]));
      return answer === test.labels[i] ? cost : 0;
    };
    return Array.from({ length: test.count }, (_, i) => cost(i)).reduce((best, cost, i, all) => (cost > all[best] ? i : best), 0);
  }

  // Of "layer.j.k", the place, if the network has it.
  function place_of(text) {
    const [layer, j, k] = text.split(".");
    const { sizes } = desk.network;
    const found = { layer: whole(layer), j: whole(j), k: k === "bias" ? null : whole(k) };
    const there = found.layer !== null && found.layer < sizes.length - 1 && found.j !== null && found.j < sizes[found.layer + 1];
    return there && (k === "bias" || (found.k !== null && found.k < sizes[found.layer])) ? found : null;
  }

  function start(read) {
    desk = read;
    now.params = desk.params;
    read_address();
    addEventListener("popstate", read_address);
    addEventListener("hashchange", read_address);
  }

  return { now, STEPS, trace, change, listen, show_example, show_drawing, place, neuron, edges, address, start, desk: () => desk };
})();
