// The mathematics of the page: layers, cost and both passes, as jaxprop has them, name for name, in float64.
//
// Pure functions: parameters are never changed in place, and nothing here knows of the page. A matrix is a Float64Array,
// row by row: W[j, k], which leads from neuron k of the layer before to neuron j, is at j * columns + k.
"use strict";

const engine = (() => {
  // What was asked for cannot be done; the message is one sentence for people.
  class BadInput extends Error {}

  // The built-in `Float64Array.from` takes ten times as long.
  function map(x, f) {
    const y = new Float64Array(x.length);
    for (let i = 0; i < y.length; i++) y[i] = f(x[i], i);
    return y;
  }

  const sum = (x) => x.reduce((total, number) => total + number, 0);
  const largest = (x) => x.reduce((best, number, i) => (number > x[best] ? i : best), 0);

  // jaxprop/structured.py: the gradient of one example's weight matrix, kept in its two factors, dW[j, k] = dy[j] x[k].
  class Outer {
    constructor(dy, x) {
      Object.assign(this, { dy, x, rows: dy.length, columns: x.length });
    }

    at(j, k) {
      return this.dy[j] * this.x[k];
    }

    expand() {
      const whole = new Float64Array(this.rows * this.columns);
      addOuter(whole, this);
      return whole;
    }
  }

  function addOuter(total, { dy, x, rows, columns }) {
    for (let j = 0; j < rows; j++) {
      for (let k = 0; k < columns; k++) total[j * columns + k] += dy[j] * x[k];
    }
  }

  // jaxprop/layers/core.py

  // A layer without parameters that works on each number by itself. derivative: (z, a) -> da/dz.
  function elementwise(name, f, derivative) {
    return {
      name,
      init: (random, width) => [{}, width],
      forward: (params, z) => {
        const a = map(z, f);
        return [a, [z, a]];
      },
      slope: ([z, a]) => map(z, (_, i) => derivative(z[i], a[i])),
      backward(params, residuals, da) {
        const slope = this.slope(residuals);
        return [{}, map(da, (d, i) => slope[i] * d)];
      },
    };
  }

  const sigmoid = () => elementwise("sigmoid", (z) => 1 / (1 + Math.exp(-z)), (z, a) => a * (1 - a));
  const relu = () => elementwise("relu", (z) => Math.max(z, 0), (z) => (z > 0 ? 1 : 0));
  const tanh = () => elementwise("tanh", Math.tanh, (z, a) => 1 - a * a);
  const identity = () => elementwise("identity", (z) => z, () => 1);

  // z = W a + b
  function dense(width, gain = 1) {
    return {
      name: `dense(${width})`,
      init(random, fanIn) {
        const scale = gain / Math.sqrt(fanIn);
        const W = map({ length: width * fanIn }, () => random.normal() * scale);
        return [{ W, b: new Float64Array(width) }, width];
      },
      forward({ W, b }, a) {
        const z = Float64Array.from(b);
        for (let j = 0, i = 0; j < width; j++) {
          let total = 0;
          for (let k = 0; k < a.length; k++, i++) total += W[i] * a[k];
          z[j] += total;
        }
        return [z, a];
      },
      backward({ W }, a, dz) {
        const db = dz;
        const dW = new Outer(dz, a);
        const da = new Float64Array(a.length); // W^T dz
        for (let j = 0, i = 0; j < width; j++) {
          for (let k = 0; k < a.length; k++, i++) da[k] += W[i] * dz[j];
        }
        return [{ W: dW, b: db }, da];
      },
    };
  }

  // Layers one after another. Backward also gives what each layer was handed by the one after it: jaxprop lets go of
  // these numbers on the way, and the page shows them.
  function chain(...layers) {
    return {
      name: `chain(${layers.map((layer) => layer.name).join(", ")})`,
      init(random, width) {
        const params = layers.map((layer) => {
          const [own, out] = layer.init(random, width);
          width = out;
          return own;
        });
        return [params, width];
      },
      forward(params, x) {
        const residuals = layers.map((layer, i) => {
          const [y, own] = layer.forward(params[i], x);
          x = y;
          return own;
        });
        return [x, residuals];
      },
      backward(params, residuals, dy) {
        const grads = [];
        const handed = [];
        let dx = dy;
        for (let i = layers.length - 1; i >= 0; i--) {
          handed[i] = dx;
          [grads[i], dx] = layers[i].backward(params[i], residuals[i], dx);
        }
        return [grads, dx, handed];
      },
    };
  }

  // jaxprop/costs.py: the sum of the squares, not half of it; hence the 2.
  const squared_error = {
    value: (a, y) => sum(a.map((_, j) => (a[j] - y[j]) ** 2)),
    gradient: (a, y) => map(a, (_, j) => 2 * (a[j] - y[j])),
  };

  // The same cost, of which only those outputs count for which mask[j] is true.
  function masked(cost, mask) {
    const heard = (a, y) => map(a, (_, j) => (mask[j] ? a[j] : y[j]));
    return {
      value: (a, y) => cost.value(heard(a, y), y),
      gradient: (a, y) => cost.gradient(heard(a, y), y),
    };
  }

  // jaxprop/networks.py: sizes from the inputs to the outputs. The outputs are always sigmoids.
  const ACTIVATIONS = { sigmoid, relu, tanh, identity };
  const GAIN = { relu: Math.SQRT2 };

  function mlp(sizes, activation = "sigmoid") {
    const layers = [];
    const activations = [];
    for (let i = 1; i < sizes.length; i++) {
      const kind = i < sizes.length - 1 ? activation : "sigmoid";
      layers.push(dense(sizes[i], i < sizes.length - 1 ? (GAIN[kind] ?? 1) : 1), ACTIVATIONS[kind]());
      activations.push(kind);
    }
    return { sizes, activation, activations, layers, layer: chain(...layers) };
  }

  // Random numbers that follow from a seed: mulberry32 by T. Ettinger, and Box and Muller's normal distribution.
  function generator(seed) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return { uniform, normal };
  }

  const init = (network, seed) => network.layer.init(generator(seed), network.sizes[0])[0];
  const arrays = (params) => params.flatMap(({ W, b }) => (W ? [W, b] : []));
  const count_parameters = (params) => sum(arrays(params).map((array) => array.length));
  const apply = (network, params, x) => network.layer.forward(params, x)[0];

  // jaxprop/data/batches.py
  const PIXELS = 784;
  const one_hot = (label) => map({ length: 10 }, (_, j) => (j === label ? 1 : 0));
  const input = (images, i) => map(images.subarray(i * PIXELS, (i + 1) * PIXELS), (grey) => grey / 255);
  const as_batch = ({ images, labels }, rows) => ({
    inputs: Array.from(rows, (i) => input(images, i)),
    targets: Array.from(rows, (i) => one_hot(labels[i])),
  });

  // Both passes for one example, with every number that they meet; one entry of `layers` for each dense layer with its
  // activation.
  function trace(network, params, x, y, cost = squared_error) {
    const [outputs, residuals] = network.layer.forward(params, x);
    const [grads, dx, handed] = network.layer.backward(params, residuals, cost.gradient(outputs, y));
    const layers = [];
    for (let i = 0; i < network.layers.length; i += 2) {
      const [z, a] = residuals[i + 1];
      const slope = network.layers[i + 1].slope(residuals[i + 1]);
      layers.push({ a_before: residuals[i], z, a, slope, da: handed[i + 1], dz: handed[i] });
    }
    const squares = map(outputs, (a, j) => (a - y[j]) ** 2);
    return { x, y, outputs, cost: cost.value(outputs, y), squares, answer: largest(outputs), layers, dx, grads };
  }

  // A place names one parameter: W[j, k] of a dense layer, counted from 0; its bias b[j] where k is null.
  function derivative({ grads }, { layer, j, k }) {
    const { W, b } = grads[2 * layer];
    return k === null ? b[j] : W.at(j, k);
  }

  const columns = ({ W, b }) => W.length / b.length;

  function weight(params, { layer, j, k }) {
    const { W, b } = params[2 * layer];
    return k === null ? b[j] : W[j * columns({ W, b }) + k];
  }

  function with_weight(params, { layer, j, k }, value) {
    const { W, b } = params[2 * layer];
    const changed = k === null ? { W, b: b.slice() } : { W: W.slice(), b };
    if (k === null) changed.b[j] = value;
    else changed.W[j * columns({ W, b }) + k] = value;
    return params.map((own, i) => (i === 2 * layer ? changed : own));
  }

  // What each neuron j of a layer contributes to the derivatives by the activations before it: W[j, k] dz[j]. Their sum
  // over j is `da` there, or `dx` at the pixels; the nudge that neuron j asks for is minus its row.
  function asks({ layers }, params, layer) {
    const { W, b } = params[2 * layer];
    const width = columns({ W, b });
    return Array.from(layers[layer].dz, (dz, j) => map(W.subarray(j * width, (j + 1) * width), (w) => w * dz));
  }

  // How the cost changes when the weight is moved a little to both sides; two widths, by which Richardson's
  // extrapolation removes the error that grows with their square.
  function finite_difference(network, params, x, y, place, cost = squared_error) {
    const h = 2 ** -10;
    const value = weight(params, place);
    const at = (w) => cost.value(apply(network, with_weight(params, place, w), x), y);
    const central = (h) => (at(value + h) - at(value - h)) / (2 * h);
    return { slope: (4 * central(h / 2) - central(h)) / 3, h };
  }

  // The three avenues by which the cost is lowered, for output j alone: its bias, its weights, the activations before.
  // Each is moved by `size` times minus the gradient of the part of the cost that is output j's.
  function three_ways(network, params, x, y, j, size) {
    const only = masked(squared_error, y.map((_, i) => i === j));
    const found = trace(network, params, x, y, only);
    const last = network.layers.length - 2;
    const { a_before } = found.layers.at(-1);
    const cost = (own, before) => {
      const z = network.layers[last].forward(own, before)[0];
      return only.value(network.layers[last + 1].forward({}, z)[0], y);
    };
    const { W, b } = params[last];
    const start = j * a_before.length;
    const tried = (gradient, costAfter) => {
      const change = map(gradient, (g) => -size * g);
      const predicted = sum(change.map((c, i) => c * gradient[i]));
      return { gradient, change, predicted, measured: costAfter(change) - found.cost };
    };
    const moved = (array, from, change) => {
      const copy = array.slice();
      change.forEach((c, i) => (copy[from + i] += c));
      return copy;
    };
    const dz = found.layers.at(-1).dz[j];
    return {
      bias: tried(Float64Array.of(dz), (c) => cost({ W, b: moved(b, j, c) }, a_before)),
      weights: tried(map(a_before, (a) => dz * a), (c) => cost({ W: moved(W, start, c), b }, a_before)),
      activations: tried(asks(found, params, last / 2)[j], (c) => cost({ W, b }, moved(a_before, 0, c))),
    };
  }

  // jaxprop/gradients.py

  const per_example = (network, params, { inputs, targets }, cost = squared_error) =>
    inputs.map((x, i) => trace(network, params, x, targets[i], cost));

  const loss = (network, params, { inputs, targets }) =>
    sum(inputs.map((x, i) => squared_error.value(apply(network, params, x), targets[i]))) / inputs.length;

  // The gradients of all examples, averaged: each counts for a B-th part, which is taken at the outputs.
  function backprop(network, params, batch) {
    const B = batch.inputs.length;
    const averaged = { ...squared_error, gradient: (a, y) => squared_error.gradient(a, y).map((d) => d / B) };
    const traces = per_example(network, params, batch, averaged);
    const grads = params.map(({ W, b }, i) => {
      if (!W) return {};
      const total = { W: new Float64Array(W.length), b: new Float64Array(b.length) };
      for (const { grads } of traces) {
        addOuter(total.W, grads[i].W);
        grads[i].b.forEach((db, j) => (total.b[j] += db));
      }
      return total;
    });
    return { cost: sum(traces.map(({ cost }) => cost)) / B, grads };
  }

  // Training

  const norm = (grads) => Math.sqrt(sum(arrays(grads).map((array) => sum(array.map((g) => g * g)))));

  const sgd = (params, grads, rate) =>
    params.map(({ W, b }, i) =>
      W ? { W: map(W, (w, n) => w - rate * grads[i].W[n]), b: map(b, (w, n) => w - rate * grads[i].b[n]) } : {},
    );

  // One step down the gradient of a mini-batch. Where the training has come to its end for good, `trouble` says why in
  // one sentence, and the parameters are the ones before.
  function step(network, params, batch, rate) {
    const { cost, grads } = backprop(network, params, batch);
    const after = sgd(params, grads, rate);
    const trouble = what_is_wrong(cost, grads, after, rate);
    return { params: trouble ? params : after, cost, grads, trouble };
  }

  function what_is_wrong(cost, grads, after, rate) {
    const remedy = "undo some steps or start again, and take a smaller rate";
    if (!Number.isFinite(cost)) return `The cost is ${cost}, no finite number: ${remedy}.`;
    if (!Number.isFinite(norm(after))) return `The step leads to weights that are no finite numbers: ${remedy}.`;
    if (arrays(grads).every((array) => array.every((g) => g === 0))) {
      return `The gradient is exactly 0 and the cost still ${cost.toPrecision(3)}: the neurons are saturated, no step changes anything; ${remedy}.`;
    }
    if (rate * norm(grads) ** 2 < 1e-12 * cost) {
      // What the step is predicted to take off the cost is lost in its rounding.
      return `The gradient is next to 0 (${norm(grads).toExponential(0)}) and the cost still ${cost.toPrecision(3)}: the neurons are saturated, no step changes anything; ${remedy}.`;
    }
    return null;
  }

  // The order of an epoch, cut to whole mini-batches, by Fisher and Yates. Each epoch of a seed has its own.
  function epoch_order(seed, epoch, count, batchSize) {
    const { uniform } = generator(Math.imul(seed + 1, 0x9e3779b1) ^ epoch);
    const order = Int32Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const other = Math.floor(uniform() * (i + 1));
      [order[i], order[other]] = [order[other], order[i]];
    }
    return order.subarray(0, count - (count % batchSize));
  }

  const only = ({ labels }, label) => Int32Array.from([...labels.keys()].filter((i) => labels[i] === label));

  // jaxprop/run/evaluation.py
  function evaluate(network, params, { images, labels }) {
    const confusion = Array.from({ length: 10 }, () => new Array(10).fill(0));
    const answers = new Uint8Array(labels.length);
    const wrong = [];
    let cost = 0;
    labels.forEach((label, i) => {
      const outputs = apply(network, params, input(images, i));
      cost += squared_error.value(outputs, one_hot(label)) / labels.length;
      answers[i] = largest(outputs);
      confusion[label][answers[i]] += 1;
      if (answers[i] !== label) wrong.push(i);
    });
    return { cost, accuracy: 1 - wrong.length / labels.length, answers, confusion, wrong };
  }

  return {
    ...{ BadInput, Outer, elementwise, sigmoid, relu, tanh, identity, dense, chain, squared_error, masked, mlp },
    ...{ init, arrays, count_parameters, apply, one_hot, input, as_batch, trace, derivative, weight, with_weight },
    ...{ asks, finite_difference, three_ways, per_example, loss, backprop, norm, sgd, step, epoch_order, only },
    ...{ evaluate },
  };
})();
