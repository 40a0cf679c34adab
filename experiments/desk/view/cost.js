// Step 2: the cost of one example. Ten outputs, ten targets, ten squares and their sum.
"use strict";

const step_cost = (() => {
  const { h, number } = elements;

  function build(root) {
    const cells = (j) => ({
      bar: h("span", { class: "bar" }), tick: h("span", { class: "tick" }), a: h("span"), y: h("span"),
      square: h("span", { class: "square" }), nudge: h("span", { class: "nudge", id: `nudge-${j}` }),
    });
    const rows = Array.from({ length: 10 }, (_, j) => cells(j));
    const sum = h("span", { class: "key", id: "cost" });
    root.append(
      h("p", {}, "The cost is the sum of ten squares: how far each output is from what was wanted. Choose another digit beside “wanted”: two arrows turn round here, and with them what is asked of every layer before."),
      h("div", { class: "table costs", role: "table" },
        ...["", "output", "", "target", "square", "nudge"].map((text) => h("span", { class: "head" }, text)),
        ...rows.flatMap(({ bar, tick, a, y, square, nudge }, j) => [
          h("span", { class: "name" }, String(j)), h("span", { class: "track" }, bar, tick), a, y, square, nudge]),
        h("span", { class: "total" }, "the cost, their sum"), sum, h("span", {})),
      h("p", { class: "note" }, "The arrow is minus the derivative of the cost by the output, ", h("code", {}, "−2 (a − y)"),
        ": the ", h("em", {}, "negative gradient"), ", or “nudge” in the lesson. It is as long as the output is far from its target. The 2 comes from the square."),
      elements.source(state.desk().source.cost), elements.source(state.desk().source.cost_gradient),
    );
    return () => {
      const { outputs, y, squares, cost, layers } = state.trace();
      rows.forEach((row, j) => {
        row.bar.style.width = `${100 * outputs[j]}%`;
        row.tick.style.left = `${100 * y[j]}%`;
        row.a.textContent = outputs[j].toFixed(3);
        row.a.dataset.value = outputs[j];
        row.a.id = `output-${j}`;
        row.y.textContent = y[j];
        number(row.square, squares[j]);
        number(row.nudge, -layers.at(-1).da[j], "nudge");
      });
      number(sum, cost);
    };
  }

  return { name: "Cost", title: "The cost of one example", build };
})();
