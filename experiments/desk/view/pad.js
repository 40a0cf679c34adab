// The pad: a digit is drawn with mouse, finger, pen or keys, or taken from the test digits; beside it, what the network
// is given; below, what is wanted of the network.
"use strict";

const pad = (() => {
  const { h, choice, entry } = elements;
  const { SIDE } = ink;
  const KEY_STEP = 7;

  let levels = ink.blank();
  let complaint = "";
  let last = null; // where the pen was last, while it is down
  let cursor = { x: SIDE / 2, y: SIDE / 4, shown: false, down: false };
  const paper = h("canvas", { width: SIDE, height: SIDE, class: "paper", tabIndex: 0, role: "img" });
  const seen = h("canvas", { class: "seen", role: "img", "aria-label": "What the network is given: 28 x 28 pixels" });
  const says = h("p", { class: "says" });
  const wanted_text = h("span", { class: "wanted-text" });
  const labels = choice("wanted", Array.from({ length: 10 }, (_, j) => [j, String(j)]), (label) => state.change({ label, labelled: true }));
  const which = entry("test digit", { value: 0, min: 0, max: 0 }, (index) => state.show_example(index));
  const image = () => paper.getContext("2d");

  function build(root) {
    const { test } = state.desk();
    which.input.max = test.count - 1;
    const step = (by) => () => state.show_example((examples_place() + by + test.count) % test.count);
    root.append(
      h("div", { class: "sheets" },
        h("figure", {}, paper, h("figcaption", { class: "under" }, "draw here", h("button", { type: "button", id: "clear", onclick: clear, title: "key: c" }, "clear"))),
        h("figure", {}, seen, h("figcaption", {}, "what the network is given"))),
      h("div", { class: "pad-controls" },
        h("div", { class: "row tight" }, which.node,
          h("button", { type: "button", onclick: step(-1), "aria-label": "previous test digit", title: "key: p" }, "‹"),
          h("button", { type: "button", onclick: step(1), "aria-label": "next test digit", title: "key: n" }, "›")),
        h("div", { class: "wanted" }, h("span", { class: "caption" }, "wanted: ", wanted_text), labels.node),
        says),
    );
    paper.setAttribute("aria-label", "Pad. Draw with the pointer; or move with the arrow keys, and put the pen down or up with space.");
    paper.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      paper.focus({ preventScroll: true });
      paper.setPointerCapture(event.pointerId);
      cursor.shown = false;
      begin();
      draw_to(at(event), true);
    });
    paper.addEventListener("pointermove", (event) => {
      if (!last) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) draw_to(at(each));
    });
    for (const name of ["pointerup", "pointercancel"]) paper.addEventListener(name, () => (last = null));
    paper.addEventListener("keydown", key);
    paper.addEventListener("blur", () => { cursor.shown = cursor.down = false; last = null; show_paper(); });
    return update;
  }

  const examples_place = () => (state.now.example === "drawn" ? -1 : state.now.example);

  function at(event) {
    const box = paper.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
  }

  // A stroke begins. Over a digit of the data, the pad is wiped first.
  function begin() {
    if (state.now.example !== "drawn" && !ink.is_blank(levels)) levels = ink.blank();
  }

  function draw_to(point, first = false) {
    ink.stroke(levels, first ? point : last, point);
    last = point;
    show_paper();
    look();
  }

  let looking = false;
  let took = 0; // milliseconds that the last look took

  // What the network makes of the drawing: so seldom that the pen never waits, but always after the last stroke.
  function look() {
    if (looking) return;
    looking = true;
    setTimeout(() => {
      looking = false;
      const start = performance.now();
      see();
      took = performance.now() - start;
    }, Math.max(8, 2 * took));
  }

  function see() {
    if (ink.is_blank(levels)) return;
    try {
      complaint = "";
      state.show_drawing(ink.as_mnist(levels));
    } catch (error) {
      if (!(error instanceof engine.BadInput)) throw error;
      complaint = error.message[0].toUpperCase() + error.message.slice(1);
      update();
    }
  }

  function clear() {
    levels = ink.blank();
    complaint = "";
    last = null;
    if (state.now.example === "drawn") {
      // A blank pad is an input too: 784 zeros.
      state.change({ pixels: new Uint8Array(784), drawn: new Uint8Array(784), labelled: false });
    }
    show_paper();
    update();
  }

  function key(event) {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    cursor.shown = true;
    if (event.key === " ") {
      cursor.down = !cursor.down;
      last = null;
      if (cursor.down) {
        begin();
        draw_to({ x: cursor.x, y: cursor.y }, true);
      }
    } else {
      cursor.x = Math.min(SIDE - 10, Math.max(10, cursor.x + KEY_STEP * move[0]));
      cursor.y = Math.min(SIDE - 10, Math.max(10, cursor.y + KEY_STEP * move[1]));
      if (cursor.down) draw_to({ x: cursor.x, y: cursor.y });
    }
    show_paper();
  }

  function show_paper() {
    const g = image();
    const picture = g.createImageData(SIDE, SIDE);
    const words32 = new Uint32Array(picture.data.buffer);
    const dark = new Uint32Array(1);
    const bytes = new Uint8Array(dark.buffer);
    for (let i = 0; i < levels.length; i++) {
      const grey = levels[i];
      bytes[0] = bytes[1] = bytes[2] = grey;
      bytes[3] = 255;
      words32[i] = dark[0];
    }
    g.putImageData(picture, 0, 0);
    if (!cursor.shown) return;
    g.strokeStyle = cursor.down ? "#ffd166" : "#8ecbff";
    g.lineWidth = 3;
    g.beginPath();
    g.arc(cursor.x, cursor.y, 9, 0, 2 * Math.PI);
    g.stroke();
  }

  // On the pad, a test digit is shown as it is.
  function show_example() {
    const { pixels } = state.now;
    const cell = SIDE / 28;
    for (let i = 0; i < levels.length; i++) {
      const [row, column] = [Math.floor(i / SIDE / cell), Math.floor((i % SIDE) / cell)];
      levels[i] = pixels[28 * row + column];
    }
    show_paper();
  }

  let shown = null;

  function update() {
    const { example, pixels, label, labelled } = state.now;
    if (example !== "drawn" && shown !== example) {
      complaint = "";
      show_example();
    }
    shown = example;
    const size = seen.parentElement.clientWidth >= 100 ? 112 : 84;
    paint.digit(paint.sheet(seen, size, size), pixels, 0, 0, size, 255);
    which.input.value = example === "drawn" ? "" : example;
    labels.set(label);
    const { answer } = state.trace();
    wanted_text.textContent = labelled ? String(label) : `${label}?`;
    const kind = example === "drawn" ? "your drawing" : `test digit ${example}, a ${state.desk().test.labels[example]}`;
    says.textContent = complaint || (labelled ? `${kind}; the network says ${answer}` : `${kind}; the network says ${answer}. Choose what you drew.`);
    says.classList.toggle("complaint", complaint !== "");
  }

  return { build, clear };
})();
