// The weights that are pinned, and step 6: what all examples of a mini-batch ask of them, and the average, which is the
// negative gradient. And what becomes of a network that listens to one digit only.
"use strict";

const pins = (() => {
  let kept = null;

  const same = (p, q) => p.layer === q.layer && p.j === q.j && p.k === q.k;

  // At first, the three weights of each layer that matter most to the example that is shown then.
  function suggested() {
    const { layers } = state.trace();
    const by_size = (values) => Array.from(values.keys()).sort((p, q) => Math.abs(values[q]) - Math.abs(values[p]));
    return layers.flatMap(({ dz, a_before }, layer) => [0, 1].map((i) => ({ layer, j: by_size(dz)[i], k: by_size(a_before)[i] })));
  }

  const list = () => (kept ??= suggested());
  const has = (place) => list().some((other) => same(place, other));
  const toggle = (place) => (kept = has(place) ? list().filter((other) => !same(place, other)) : [...list(), place]);

  return { list, has, toggle };
})();

const step_average = (() => {
  const { h, number, choice } = elements;

  let shown = 0; // which example of the mini-batch is read out
  let digit = 2; // the one that is listened to alone
  let cached = null;

  // What every example of the mini-batch wishes of every pinned weight: minus its derivative.
  function wishes() {
    const { network, train } = state.desk();
    const { only, ...settings } = training.settings;
    const rows = engine.epoch_order(settings.seed, training.now().epoch, train.count, 100).slice(0, 100);
    const key = [state.now.params, rows.join(), JSON.stringify(pins.list())];
    if (!cached || key.some((part, i) => part !== cached.key[i])) {
      const traces = engine.per_example(network, state.now.params, engine.as_batch(train, rows));
      cached = { key, rows, table: pins.list().map((place) => traces.map((trace) => -engine.derivative(trace, place))) };
    }
    return cached;
  }

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  function build(root) {
    const table = h("div", { class: "table wishes", role: "table" });
    const slider = h("input", { type: "range", min: 0, max: 99, value: shown, "aria-label": "which example of the mini-batch" });
    slider.addEventListener("input", () => { shown = Number(slider.value); update(); });
    const thumb = h("canvas", { role: "img" });
    const which = h("span");
    root.append(
      h("p", {}, "All before was the wish of one example. The same is done for every example of a ", h("em", {}, "mini-batch"),
        " of 100, and the wishes are averaged, weight by weight: that is the negative gradient. Each bar is one example; most of what they want cancels."),
      h("div", { class: "row" }, thumb, h("label", { class: "entry wide" }, which, slider)),
      table,
      h("p", { class: "note" }, "Every row has its own scale; its mean, in the last column, is drawn on the same scale. Pin more weights at step 5."),
      only_twos(),
    );
    let rows = null;

    function build_table() {
      rows = pins.list().map((place) => ({
        place, bars: h("canvas", { role: "img" }), one: h("span"), mean_bar: h("canvas"), mean: h("span", { class: "key" }),
        drop: h("button", { type: "button", class: "small", "aria-label": `unpin ${words.weight(place)}`, onclick: () => { pins.toggle(place); state.change({}); } }, "×"),
      }));
      table.replaceChildren(
        ...["weight", "the 100 examples", "this one", "", "mean", ""].map((text) => h("span", { class: "head" }, text)),
        ...rows.flatMap((row) => [h("button", { type: "button", class: "link", onclick: () => state.change({ step: 5, place: row.place }) }, words.weight(row.place)), row.bars, row.one, row.mean_bar, row.mean, row.drop]),
      );
      rows.of = pins.list();
    }

    function update() {
      if (rows?.of !== pins.list()) build_table();
      const { rows: examples, table: wanted } = wishes();
      const { train } = state.desk();
      const i = examples[shown];
      paint.digit(paint.sheet(thumb, 42, 42), train.images.subarray(784 * i, 784 * (i + 1)), 0, 0, 42, 255);
      which.textContent = `example ${shown + 1} of 100, a ${train.labels[i]}`;
      const room = Math.max(90, Math.min(240, root.clientWidth - (root.clientWidth > 400 ? 300 : 258)));
      rows.forEach((row, n) => {
        const scale = paint.largest(wanted[n]);
        const average = mean(wanted[n]);
        paint.bars(row.bars, wanted[n], room, 30, { scale, gap: 0.3 });
        mark(row.bars, shown, room);
        paint.bars(row.mean_bar, [average], 12, 30, { scale });
        row.bars.setAttribute("aria-label", `100 wishes for ${words.weight(row.place)}`);
        number(row.one, wanted[n][shown], "nudge");
        number(row.mean, average, "nudge");
      });
      only_update();
    }

    return update;
  }

  function mark(canvas, i, width) {
    const g = canvas.getContext("2d");
    g.strokeStyle = paint.colours.mark;
    g.lineWidth = 1;
    g.strokeRect((i * width) / 100 - 0.5, 0.5, width / 100 + 1, 29);
  }

  // Only 2s

  let only_update = () => {};

  function only_twos() {
    const digits = choice("only", Array.from({ length: 10 }, (_, j) => [j, `${j}`]), (j) => { digit = j; state.change({}); });
    const chart = h("canvas", { role: "img", "aria-label": "how often the network answers each digit" });
    const says = h("p", { class: "says", id: "only-says" });
    const fresh = h("button", { type: "button", id: "only-fresh", onclick: () => listen(true) }, "from an untrained network");
    const here = h("button", { type: "button", id: "only-here", onclick: () => listen(false) }, "from this network");
    const stop = h("button", { type: "button", onclick: () => { training.pause(); } }, "stop");
    const back = h("button", { type: "button", onclick: () => { training.set({ only: null }); training.begin(false); } }, "restore");
    let scored = null;
    only_update = () => {
      digits.set(digit);
      const { network, test, train } = state.desk();
      const { running, steps, trouble } = training.now();
      if (!scored || scored.params !== state.now.params) {
        scored = { params: state.now.params, answers: engine.evaluate(network, state.now.params, test).answers };
      }
      const counts = Array.from({ length: 10 }, (_, j) => scored.answers.filter((a) => a === j).length);
      draw_counts(chart, counts, test.count);
      const share = elements.percent(counts[digit] / test.count);
      const doing = training.settings.only === null ? "" : `${running ? "Training" : "Trained"} on the ${engine.only(train, digit).length} ${digit}s alone, step ${steps}. `;
      says.textContent = trouble ?? `${doing}It calls ${counts[digit]} of ${test.count} test digits a ${digit} (${share}).${why(running)}`;
    };
    return h("article", { class: "card" },
      h("h3", {}, "Listen to one digit only ", h("small", {}, "and the network ends up calling everything that")),
      h("div", { class: "row" }, digits.node), h("div", { class: "row" }, fresh, here, stop, back), chart, says);
  }

  // A trained network has little left to learn from one digit: that is said, with its cost.
  function why(running) {
    const { costs } = training.now();
    if (training.settings.only === null || running || !costs.length || costs[0] > 0.1) return "";
    return ` It read the ${digit}s well from the start, at a cost of ${elements.format(costs[0])}: there is next to no gradient to follow, so it forgets slowly.`;
  }

  // Until 99 of 100 test digits are called that, or for 3,000 steps.
  function listen(fresh) {
    const { network, test } = state.desk();
    training.set({ only: digit });
    if (fresh) training.begin(true);
    training.run((params, { steps }) => {
      if (steps % 20) return false;
      const { answers } = engine.evaluate(network, params, test);
      return answers.filter((a) => a === digit).length >= 0.99 * test.count || steps >= 3000;
    });
  }

  function draw_counts(canvas, counts, total) {
    const width = Math.min(380, canvas.parentElement.clientWidth - 24);
    const g = paint.sheet(canvas, width, 84);
    const cell = width / 10;
    g.textAlign = "center";
    counts.forEach((count, j) => {
      const tall = (54 * count) / total;
      g.fillStyle = j === digit ? paint.colours.up : paint.colours.soft;
      g.fillRect(j * cell + 4, 66 - tall, cell - 8, tall);
      g.fillStyle = paint.colours.ink;
      g.font = "12px system-ui, sans-serif";
      g.fillText(String(j), (j + 0.5) * cell, 80);
      g.font = "10px system-ui, sans-serif";
      g.fillText(String(count), (j + 0.5) * cell, 62 - tall);
    });
  }

  return { name: "Average", title: "The average of all wishes", build };
})();
