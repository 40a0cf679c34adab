// This page against jaxprop by hand, against jax.grad and against finite differences, on the cases that the script
// embedded: as largest scaled differences.
"use strict";

const strip = (() => {
  const REFERENCES = { by_hand: "jaxprop by hand", autodiff: "jax.grad", differences: "finite differences" };

  // Every number of both passes, under the names of the lesson, which counts layers from 1: z1, a1, da1, dz1, dW1, db1
  // of the first hidden layer; dx is the derivative by the inputs.
  function numbers(trace) {
    const found = { cost: Float64Array.of(trace.cost), dx: trace.dx };
    trace.layers.forEach(({ z, a, da, dz }, i) => {
      const { W, b } = trace.grads[2 * i];
      Object.assign(found, { [`z${i + 1}`]: z, [`a${i + 1}`]: a, [`da${i + 1}`]: da, [`dz${i + 1}`]: dz });
      Object.assign(found, { [`dW${i + 1}`]: W.expand(), [`db${i + 1}`]: b });
    });
    return found;
  }

  // What this page computes for a case: on its own network, or on one that the case brings along.
  function computed(desk, { network, x, y }) {
    const own = network ? engine.mlp(network.sizes, network.activation) : desk.network;
    const params = network ? embedded.unravel(own, embedded.floats(network.params)) : desk.params;
    return numbers(engine.trace(own, params, embedded.floats(x), embedded.floats(y)));
  }

  // The largest difference of an array, divided by the case's scale of it. What is no number counts as infinite.
  function apart(found, { numbers, at }, scale) {
    const right = embedded.floats(numbers);
    const places = at ? embedded.integers(at) : right.keys();
    let worst = 0;
    for (const [n, place] of [...places].entries()) {
      const difference = Math.abs(found[place] - right[n]);
      if (difference === 0) continue;
      const scaled = difference / scale;
      worst = Math.max(worst, Number.isNaN(scaled) ? Infinity : scaled);
    }
    return { worst, count: right.length };
  }

  // A line for each reference: the largest scaled difference, where it is, of how many numbers, and whether it is
  // within the bound.
  function run(desk) {
    const all = desk.cases.map((given) => [given, computed(desk, given)]);
    return Object.entries(REFERENCES).map(([reference, name]) => {
      const line = { name, largest: 0, where: "", numbers: 0, bound: desk.bounds[reference] };
      for (const [given, found] of all) {
        for (const [array, right] of Object.entries(given[reference] ?? {})) {
          const { worst, count } = apart(found[array], right, given.scales[array]);
          line.numbers += count;
          if (worst > line.largest) Object.assign(line, { largest: worst, where: `${array}, ${given.what}` });
        }
      }
      return { ...line, holds: line.numbers > 0 && line.largest <= line.bound };
    });
  }

  return { run, numbers };
})();
