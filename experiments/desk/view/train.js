// Step 7: train. Mini-batches, live; the cost and the accuracy, the confusions, the digits it gets wrong.
"use strict";

const step_train = (() => {
  const { h, number, entry, format, percent } = elements;

  function build(root) {
    const { settings, set } = training;
    const { test, train } = state.desk();
    const button = (id, text, onclick, title) => h("button", { type: "button", id, onclick, title }, text);
    const run = button("run", "run", toggle, "key: r");
    const undo = button("undo", "undo", () => training.undo(), "key: u");
    const checked = (name, holds) => (value, input) => {
      if (holds(value)) set({ [name]: value });
      else input.value = settings[name];
    };
    const rate = entry("rate", { value: settings.rate, min: 0, step: "any" }, checked("rate", (x) => x > 0));
    const batch = entry("batch", { value: settings.batch, min: 1, max: train.count }, checked("batch", (x) => Number.isInteger(x) && x >= 1 && x <= train.count));
    const seed = entry("seed", { value: settings.seed, min: 0 }, checked("seed", (x) => Number.isInteger(x) && x >= 0));
    const says = h("p", { class: "says", id: "train-says", role: "status" });
    const costs = h("canvas", { role: "img", "aria-label": "cost of each mini-batch" });
    const scores = h("canvas", { role: "img", "aria-label": "fraction of the test digits classified correctly" });
    const confusion = h("canvas", { role: "img", "aria-label": "confusion: rows are labels, columns answers" });
    const wrong = h("div", { class: "wrong" });
    const wrong_text = h("span", { class: "caption" });
    rate.input.id = "rate";
    root.append(
      h("p", {}, "Shuffle the training digits, cut them into mini-batches, and take one step down the averaged gradient for each: ",
        h("em", {}, "stochastic gradient descent"), ". Everything on this page follows the network as it learns."),
      h("div", { class: "row" }, button("fresh", "untrained", () => { set({ only: null }); training.begin(true); }, "key: f"), button("step", "one step", () => { settings.only = null; training.step(); }, "key: s"), run, undo,
        button("restore", "restore", () => { set({ only: null }); training.begin(false); })),
      h("div", { class: "row" }, rate.node, batch.node, seed.node), says,
      h("div", { class: "charts" },
        h("figure", {}, costs, h("figcaption", {}, "cost of each mini-batch, cut at 1")),
        h("figure", {}, scores, h("figcaption", {}, "test digits classified correctly"))),
      h("div", { class: "charts" },
        h("figure", {}, confusion, h("figcaption", {}, "label (rows), answer (columns)")),
        h("div", {}, wrong_text, wrong)),
    );
    let scored = null;

    return () => {
      const at = training.now();
      const { network } = state.desk();
      const { params } = state.now;
      run.textContent = at.running ? "pause" : "run";
      undo.disabled = !at.undoable;
      if (scored?.params !== params && (!at.running || at.steps % 5 === 0 || !scored)) {
        scored = { params, ...engine.evaluate(network, params, test) };
        show_wrong(wrong, wrong_text, scored, test);
      }
      says.textContent = at.trouble ?? `${at.steps} steps${at.costs.length ? `, cost of the last mini-batch ${format(at.costs.at(-1))}` : ""}; ${percent(scored.accuracy)} of ${test.count} test digits classified correctly, cost ${format(scored.cost)}.`;
      says.dataset.cost = scored.cost;
      says.dataset.steps = at.steps;
      says.classList.toggle("complaint", at.trouble !== null);
      const width = Math.max(130, Math.min(210, (root.clientWidth - 24) / 2));
      draw_curve(costs, width, at.costs.map((cost, i) => [i + 1, cost]), { top: 1, text: format });
      draw_curve(scores, width, [...at.scores, { step: at.steps, ...scored }].map(({ step, accuracy }) => [step, accuracy]), { top: 1, text: percent });
      draw_confusion(confusion, scored.confusion, width);
    };
  }

  function toggle() {
    if (training.now().running) training.pause();
    else {
      training.settings.only = null;
      training.run();
    }
  }

  function draw_curve(canvas, width, points, { top, text }) {
    const height = 110;
    const g = paint.sheet(canvas, width, height);
    const [left, bottom, room] = [2, height - 16, height - 34];
    const last = Math.max(1, points.at(-1)?.[0] ?? 1);
    const at = ([step, value]) => [left + ((width - left - 4) * step) / last, bottom - (room * Math.min(value, top)) / top];
    g.strokeStyle = paint.colours.line;
    g.lineWidth = 1;
    for (const level of [0, 0.5, 1]) {
      g.beginPath();
      g.moveTo(left, bottom - room * level);
      g.lineTo(width, bottom - room * level);
      g.stroke();
    }
    g.strokeStyle = paint.colours.up;
    g.lineWidth = 1.5;
    g.beginPath();
    points.forEach((point) => g.lineTo(...at(point)));
    g.stroke();
    if (points.length === 1) g.fillRect(at(points[0])[0] - 2, at(points[0])[1] - 2, 4, 4);
    g.fillStyle = paint.colours.soft;
    g.font = "11px system-ui, sans-serif";
    g.textAlign = "left";
    g.fillText(text(top), left, 11);
    g.fillText("0", left, height - 3);
    g.textAlign = "right";
    g.fillText(`step ${last}`, width - 2, height - 3);
    if (points.length) g.fillText(`now ${text(points.at(-1)[1])}`, width - 2, 11);
  }

  function draw_confusion(canvas, counts, width) {
    const side = Math.floor(width / 11);
    const g = paint.sheet(canvas, side * 11, side * 11);
    g.textAlign = "center";
    g.textBaseline = "middle";
    g.font = `${Math.min(11, side - 4)}px system-ui, sans-serif`;
    g.fillStyle = paint.colours.soft;
    for (let d = 0; d < 10; d++) {
      g.fillText(String(d), (d + 1.5) * side, side / 2);
      g.fillText(String(d), side / 2, (d + 1.5) * side);
    }
    counts.forEach((row, label) => {
      const total = Math.max(1, row.reduce((sum, n) => sum + n, 0));
      row.forEach((count, answer) => {
        const [x, y] = [(answer + 1) * side, (label + 1) * side];
        g.fillStyle = paint.colours.mid;
        g.fillRect(x + 0.5, y + 0.5, side - 1, side - 1);
        if (!count) return;
        g.globalAlpha = 0.15 + (0.5 * count) / total;
        g.fillStyle = label === answer ? paint.colours.up : paint.colours.down;
        g.fillRect(x + 0.5, y + 0.5, side - 1, side - 1);
        g.globalAlpha = 1;
        g.fillStyle = paint.colours.ink;
        g.fillText(String(count), x + side / 2, y + side / 2);
      });
    });
  }

  const SHOWN = 24;

  // The first digits that are answered wrongly; a click looks at one.
  function show_wrong(box, text, { wrong, answers }, test) {
    text.textContent = wrong.length ? `${wrong.length} wrong${wrong.length > SHOWN ? `, the first ${SHOWN}` : ""}; click to look` : "none wrong";
    box.replaceChildren(...wrong.slice(0, SHOWN).map((i) => {
      const canvas = h("canvas");
      paint.digit(paint.sheet(canvas, 28, 28), test.images.subarray(784 * i, 784 * (i + 1)), 0, 0, 28, 255);
      return h("button", { type: "button", "aria-label": `test digit ${i}, a ${test.labels[i]} taken for a ${answers[i]}`, title: `a ${test.labels[i]}, taken for a ${answers[i]}`,
        onclick: () => { training.pause(); state.change({ step: 1 }); state.show_example(i); } }, canvas);
    }));
  }

  return { name: "Train", title: "Train", build, toggle };
})();
