// Training in the page: mini-batches in the order of a seed, step by step or running, with undo.
"use strict";

const training = (() => {
  const UNDO = 300; // steps that can be taken back: each keeps 13,002 numbers
  const SCORE_EVERY = 20; // steps between two evaluations on the test digits
  const BUDGET = 12; // milliseconds of steps in a frame

  const settings = { rate: 2, batch: 100, seed: 0, only: null };
  let at = beginning();
  let past = []; // what was before each step
  let running = false;
  let until = null; // stops a run when it says so
  let trouble = null;
  let orders = { key: "", rows: null };

  function beginning() {
    return { steps: 0, epoch: 0, batch: 0, costs: [], scores: [] };
  }

  // The rows of the next mini-batch: of all training digits, or only of those with one label.
  function rows() {
    const { train } = state.desk();
    const { seed, only } = settings;
    const chosen = only === null ? null : engine.only(train, only);
    const count = chosen ? chosen.length : train.count;
    const size = Math.min(settings.batch, count);
    const key = [seed, only, at.epoch, size].join();
    if (orders.key !== key) {
      const order = engine.epoch_order(seed, at.epoch, count, size);
      orders = { key, rows: chosen ? order.map((i) => chosen[i]) : order };
    }
    return orders.rows.subarray(at.batch * size, (at.batch + 1) * size);
  }

  function score(params = state.now.params) {
    const { accuracy, cost } = engine.evaluate(state.desk().network, params, state.desk().test);
    return { step: at.steps, accuracy, cost };
  }

  // One step, without showing it. Gives the parameters after it, or null where there is trouble.
  function advance(params) {
    const { network, train } = state.desk();
    const taken = rows();
    const batch = engine.as_batch(train, taken);
    const found = engine.step(network, params, batch, settings.rate);
    if (found.trouble) {
      trouble = found.trouble;
      return null;
    }
    past.push({ params, at, changed: state.now.changed });
    if (past.length > UNDO) past.shift();
    const whole = orders.rows.length / taken.length;
    const last = at.batch + 1 >= whole;
    at = {
      steps: at.steps + 1,
      epoch: at.epoch + (last ? 1 : 0),
      batch: last ? 0 : at.batch + 1,
      costs: [...at.costs, found.cost],
      scores: at.scores,
    };
    if (at.steps % SCORE_EVERY === 0) at = { ...at, scores: [...at.scores, score(found.params)] };
    return found.params;
  }

  const told = () => `trained here for ${at.steps} steps${settings.only === null ? "" : `, the last ones on ${settings.only}s only`}`;

  function take(budget) {
    const end = performance.now() + budget;
    let { params } = state.now;
    do {
      const after = advance(params);
      if (!after) {
        running = false;
        break;
      }
      params = after;
      if (until?.(params, at)) running = false;
    } while (running && performance.now() < end);
    state.change({ params, changed: params === state.now.params ? state.now.changed : told() });
  }

  function step() {
    running = false;
    trouble = null;
    take(0);
  }

  function run(condition = null) {
    until = condition;
    trouble = null;
    if (running) return;
    running = true;
    const frame = () => {
      if (!running) return;
      take(BUDGET);
      if (running) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  function pause() {
    running = false;
    state.change({});
  }

  function undo() {
    running = false;
    trouble = null;
    const before = past.pop();
    if (!before) return;
    at = before.at;
    state.change({ params: before.params, changed: before.changed });
  }

  // From new random weights, or from the parameters that the page came with.
  function begin(fresh) {
    running = false;
    trouble = null;
    past = [];
    at = beginning();
    const { network, params } = state.desk();
    const start = fresh ? engine.init(network, settings.seed) : params;
    at.scores = [score(start)];
    state.change({ params: start, changed: fresh ? `untrained, seed ${settings.seed}` : "" });
  }

  const set = (patch) => {
    Object.assign(settings, patch);
    state.change({});
  };

  return { settings, set, rows, step, run, pause, undo, begin, now: () => ({ ...at, running, trouble, undoable: past.length }) };
})();
