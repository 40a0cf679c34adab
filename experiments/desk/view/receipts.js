// The strip that never leaves the page: this page against jaxprop, and the receipt of what is shown.
"use strict";

const foot = (() => {
  const { h, format, download } = elements;

  // In a narrow window, the short names.
  const SHORT = { "jaxprop by hand": "by hand", "jax.grad": "jax.grad", "finite differences": "differences" };

  function build(root) {
    const lines = strip.run(state.desk());
    const right = lines.every(({ holds }) => holds);
    root.classList.toggle("wrong", !right);
    root.append(
      h("strong", { class: "verdict" }, right ? "✓ this page" : "✗ this page is wrong", h("span", { class: "wide-only" }, right ? " against" : ", against")),
      ...lines.map(show),
      h("button", { type: "button", id: "save", onclick: save, title: "every number of what is shown, to be derived again by desk.py --verify" }, "save receipt"),
    );
  }

  function show({ name, largest, where, numbers, bound, holds }) {
    const title = `largest scaled difference of ${numbers.toLocaleString("en")} numbers${where ? `, at ${where}` : ""}; bound ${bound}`;
    const line = h("span", { class: holds ? "line" : "line broken", title },
      h("span", { class: "wide-only" }, name), h("span", { class: "narrow-only", "aria-hidden": "true" }, SHORT[name] ?? name), " ",
      h("b", {}, format(largest)), holds ? " ✓" : " ✗");
    line.dataset.value = largest;
    return line;
  }

  function save() {
    const { desk, now } = { desk: state.desk(), now: state.now };
    const about = now.changed ? { ...desk.about, origin: `${desk.about.origin}; on the page: ${now.changed}` } : desk.about;
    const { network } = desk;
    const text = receipt.make({ network, params: now.params, pixels: now.pixels, label: now.label, place: state.place(), about });
    download("receipt.json", text);
  }

  return { build };
})();
