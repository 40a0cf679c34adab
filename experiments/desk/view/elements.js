// Small pieces of the page: elements, numbers as text, groups of buttons.
"use strict";

const elements = (() => {
  // An element with its properties or attributes, and its children.
  function h(tag, options = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // Three digits, a true minus sign.
  function format(x) {
    if (!Number.isFinite(x)) return String(x).replace("-", "−");
    if (x === 0) return "0";
    const size = Math.abs(x);
    if (size < 1e-99) return "≈ 0";
    const text = size >= 1e5 || size < 1e-3 ? x.toExponential(1) : size >= 100 ? x.toFixed(0) : x.toPrecision(3);
    return text.replace("e+", "e").replaceAll("-", "−");
  }

  const percent = (fraction) => `${(100 * fraction).toFixed(1)}%`;

  // Writes a number into an element, in full in its data. kind: "plain"; "signed", blue with a plus or orange with a
  // minus; "nudge", blue with an arrow up or orange with an arrow down.
  function number(element, value, kind = "plain") {
    const [plus, minus] = { plain: ["", "−"], signed: ["+", "−"], nudge: ["↑ ", "↓ "] }[kind];
    element.textContent = (value < 0 ? minus : value > 0 ? plus : "") + format(Math.abs(value));
    element.dataset.value = value;
    if (kind !== "plain") {
      element.classList.toggle("up", value > 0);
      element.classList.toggle("down", value < 0);
    }
    return element;
  }

  const numbered = (value, kind, options = {}) => number(h("span", options), value, kind);

  // Buttons of which one is pressed. options: [[value, text], …]; `set` presses one without telling `pick`.
  function choice(label, options, pick) {
    const buttons = options.map(([value, text]) => {
      const button = h("button", { type: "button", onclick: () => pick(value) }, text);
      button.setAttribute("aria-label", `${label} ${text}`);
      return [value, button];
    });
    const node = h("div", { class: "choice", role: "group", "aria-label": label }, ...buttons.map(([, button]) => button));
    const set = (current) => {
      for (const [value, button] of buttons) button.setAttribute("aria-pressed", String(value === current));
    };
    return { node, set };
  }

  // A number that is typed or stepped: an input with its name before it.
  function entry(text, { value, min, max, step = 1 }, change) {
    const input = h("input", { type: "number", min, max, step, value });
    input.addEventListener("change", () => {
      const wanted = Number(input.value);
      change(Number.isFinite(wanted) && input.value !== "" ? wanted : value, input);
    });
    return { node: h("label", { class: "entry" }, text, input), input };
  }

  // A line of the library's source, the number that it makes here, and where it is.
  const source = ({ file, line, text }, made = "") =>
    h("div", { class: "source" }, h("code", {}, text), h("span", { class: "made" }, made), h("span", { class: "where" }, `${file.split("/").slice(-2).join("/")}:${line}`));

  const download = (name, text) => {
    const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    h("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  return { h, format, percent, number, numbered, choice, entry, source, download };
})();
