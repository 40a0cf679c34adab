// The page: the eight steps, their keys, and what is drawn again when something changes.
"use strict";

const main = (() => {
  const { h, percent } = elements;
  const STEPS = [step_forward, step_cost, step_ways, step_back, step_weight, step_average, step_train, step_hill];
  const root = (id) => document.getElementById(id);

  let links = [];
  let parts = [];
  let panel = { step: 0, update: () => {} };

  function build_header() {
    links = STEPS.map(({ name }, i) => h("a", { href: "#" }, h("b", {}, String(i + 1)), ` ${name}`));
    root("steps").append(...links);
  }

  function update_header() {
    const { about } = state.desk();
    const { step, changed } = state.now;
    links.forEach((link, i) => {
      link.href = state.address({ step: i + 1 });
      if (i + 1 === step) link.setAttribute("aria-current", "step");
      else link.removeAttribute("aria-current");
    });
    root("origin").textContent = changed
      ? `The network is ${changed}. “trained” brings back the one that the page came with.`
      : `${about.origin[0].toUpperCase()}${about.origin.slice(1)}; ${percent(about.accuracy)} of ${about.test_count.toLocaleString("en")} test digits of ${about.dataset} classified correctly.`;
  }

  // The panel is built when its step is entered, and updated when anything changes.
  function update_panel() {
    const { step } = state.now;
    if (panel.step !== step) {
      const { title, build } = STEPS[step - 1];
      const box = root("panel");
      const content = h("div", { class: `content step-${step}` });
      box.setAttribute("aria-label", `Step ${step}: ${title}`);
      box.replaceChildren(h("h2", {}, h("span", { class: "count" }, String(step)), ` ${title}`), content, turns(step));
      box.scrollTop = 0;
      panel = { step, update: build(content) };
    }
    panel.update();
  }

  const go = (step) => state.change({ step: Math.min(STEPS.length, Math.max(1, step)) });

  function turns(step) {
    const turn = (to, text) => h("button", { type: "button", disabled: to < 1 || to > STEPS.length, onclick: () => go(to) }, text);
    return h("div", { class: "turns" }, turn(step - 1, "← back"), turn(step + 1, step < STEPS.length ? `${STEPS[step].name} →` : "end"));
  }

  function update() {
    update_header();
    parts.forEach((part) => part());
    update_panel();
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
    const { example, step } = state.now;
    const { count } = state.desk().test;
    const place = example === "drawn" ? 0 : example;
    const keys = {
      ArrowRight: () => go(step + 1),
      ArrowLeft: () => go(step - 1),
      n: () => state.show_example((place + 1) % count),
      p: () => state.show_example((place + count - 1) % count),
      c: () => pad.clear(),
      s: () => step === 7 && root("step").click(),
      r: () => step === 7 && root("run").click(),
      u: () => step === 7 && root("undo").click(),
      f: () => step === 7 && root("fresh").click(),
    };
    if (/^[1-8]$/.test(event.key)) go(Number(event.key));
    else if (keys[event.key]) keys[event.key]();
    else return;
    if (event.key.startsWith("Arrow")) event.preventDefault();
  }

  async function start() {
    paint.read_colours();
    build_header();
    state.start(await embedded.read());
    parts = [pad.build(root("pad")), drawing.build(root("network"))];
    update();
    state.listen(update);
    addEventListener("keydown", key);
    addEventListener("resize", () => state.change({}));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      paint.read_colours();
      update();
    });
    foot.build(root("strip"));
    document.body.dataset.ready = "yes";
  }

  start().catch((error) => {
    root("origin").textContent = `The page could not start: ${error.message}. Any browser of the last three years will do.`;
    throw error;
  });

  return { update };
})();
