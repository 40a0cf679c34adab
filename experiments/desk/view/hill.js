// Step 8: two ways down the hill. The path of mini-batches and the path of all examples at once, in one plane.
"use strict";

const step_hill = (() => {
  const { h, format, percent } = elements;
  const KINDS = { stochastic: "up", full: "down" };

  let seen = null; // examples looked at so far; null: all

  function build(root) {
    const { hill } = state.desk();
    const canvas = h("canvas", { role: "img", "aria-label": "the cost on a plane through the start and both ends, with both paths" });
    const most = Math.min(...Object.values(hill.paths).map(({ examples }) => examples.at(-1)));
    const slider = h("input", { type: "range", min: 0, max: most, step: most / 200, value: most, "aria-label": "examples looked at" });
    const play = h("button", { type: "button" }, "play");
    const counted = h("span", { class: "caption" });
    const table = h("div", { class: "table hill" });
    slider.addEventListener("input", () => { seen = Number(slider.value); update(); });
    let playing = false;
    play.onclick = () => {
      playing = !playing;
      if (playing && (seen === null || seen >= most)) seen = 0;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
        playing = false;
        seen = most;
      }
      if (playing) requestAnimationFrame(frame);
      update();
    };
    function frame() {
      if (!playing || !canvas.isConnected) return;
      seen = Math.min(most, (seen ?? 0) + most / 300);
      if (seen >= most) playing = false;
      update();
      if (playing) requestAnimationFrame(frame);
    }
    const paths = hill.paths;
    root.append(
      h("p", {}, "The ", h("em", {}, "stochastic"), " path steps after each mini-batch of ", String(paths.stochastic.batch_size),
        ": the “drunk man” of the lesson, stumbling but quick. The ", h("em", {}, "full-batch"), " path looks at all ", paths.full.batch_size.toLocaleString("en"),
        " examples before each step: the “careful man”."),
      canvas, h("div", { class: "row" }, play, h("label", { class: "entry wide" }, counted, slider)), table,
      h("p", { class: "note" }, `The plane goes through the start and both ends. Of the squared distances from the start, ${percent(paths.stochastic.share)} (stochastic) and ${percent(paths.full.share)} (full batch) lie in it; the rest of the walk is in the other thousands of directions. The shade is the cost in the plane, dark is low. Computed when the page was built: ${hill.origin}.`),
    );

    function update() {
      const limit = seen ?? most;
      slider.value = limit;
      play.textContent = playing ? "pause" : "play";
      counted.textContent = `${Math.round(limit).toLocaleString("en")} examples looked at`;
      draw(canvas, hill, limit, Math.min(430, root.clientWidth - 20));
      table.replaceChildren(
        ...["", "rate", "steps", "cost"].map((text) => h("span", { class: "head" }, text)),
        ...Object.entries(paths).flatMap(([kind, path]) => {
          const last = reached(path, limit);
          return [h("span", { class: KINDS[kind] }, kind === "stochastic" ? "● stochastic" : "■ full batch"), h("span", {}, String(path.rate)),
            h("span", {}, path.steps[last].toLocaleString("en")), h("span", { class: "key" }, format(path.costs[last]))];
        }),
      );
    }

    return update;
  }

  const reached = ({ examples }, limit) => examples.reduce((last, count, i) => (count <= limit ? i : last), 0);

  function draw(canvas, { map, paths }, limit, width) {
    const height = Math.round(width * 0.72);
    const g = paint.sheet(canvas, width, height);
    const [x0, x1] = [map.x[0], map.x.at(-1)];
    const [y0, y1] = [map.y[0], map.y.at(-1)];
    const at = ([x, y]) => [(width * (x - x0)) / (x1 - x0), height - (height * (y - y0)) / (y1 - y0)];
    g.drawImage(shade(map, width, height), 0, 0);
    for (const [kind, path] of Object.entries(paths)) {
      const points = path.xy.slice(0, reached(path, limit) + 1).map(at);
      for (const [colour, thickness] of [[paint.colours.paper, 5], [paint.colours[KINDS[kind]], 2]]) {
        g.strokeStyle = colour;
        g.lineWidth = thickness;
        g.setLineDash(kind === "full" && thickness === 2 ? [7, 4] : []);
        g.beginPath();
        points.forEach((point) => g.lineTo(...point));
        g.stroke();
      }
      g.setLineDash([]);
      g.fillStyle = paint.colours[KINDS[kind]];
      for (const [x, y] of [points[0], points.at(-1)]) {
        g.beginPath();
        if (kind === "full") g.rect(x - 5, y - 5, 10, 10);
        else g.arc(x, y, 5, 0, 2 * Math.PI);
        g.fill();
      }
    }
    const [x, y] = at([0, 0]);
    g.font = "bold 13px system-ui, sans-serif";
    g.lineWidth = 4;
    g.strokeStyle = paint.colours.paper;
    g.fillStyle = paint.colours.ink;
    g.textAlign = x > width / 2 ? "right" : "left";
    g.strokeText("start", x + (x > width / 2 ? -10 : 10), y - 10);
    g.fillText("start", x + (x > width / 2 ? -10 : 10), y - 10);
  }

  const BANDS = 14;

  let shaded = { key: "", canvas: null };

  // The shade is as it was, while size and colours are.
  function shade(map, width, height) {
    const key = [width, height, paint.colours.line].join();
    if (shaded.key !== key) {
      const canvas = h("canvas", { width, height });
      draw_shade(canvas.getContext("2d"), map, width, height);
      shaded = { key, canvas };
    }
    return shaded.canvas;
  }

  // The cost as bands of grey, by the logarithm, between the points of the map linearly.
  function draw_shade(g, { costs }, width, height) {
    const rows = costs.length;
    const columns = costs[0].length;
    const logs = costs.map((row) => row.map(Math.log));
    const flat = logs.flat();
    const [low, high] = [Math.min(...flat), Math.max(...flat)];
    const [dark, light] = [paint.colours.line, paint.colours.card].map(paint.channels);
    const cell = 2;
    for (let top = 0; top < height; top += cell) {
      const r = ((height - top - cell / 2) / height) * (rows - 1);
      const i = Math.max(0, Math.min(rows - 2, Math.floor(r)));
      for (let left = 0; left < width; left += cell) {
        const c = ((left + cell / 2) / width) * (columns - 1);
        const k = Math.max(0, Math.min(columns - 2, Math.floor(c)));
        const [s, t] = [r - i, c - k];
        const value = (1 - s) * ((1 - t) * logs[i][k] + t * logs[i][k + 1]) + s * ((1 - t) * logs[i + 1][k] + t * logs[i + 1][k + 1]);
        const band = Math.floor(((value - low) / (high - low)) * BANDS) / BANDS;
        g.fillStyle = `rgb(${dark.map((d, n) => Math.round(d + (light[n] - d) * band)).join()})`;
        g.fillRect(left, top, cell, cell);
      }
    }
  }

  return { name: "The hill", title: "Two ways down the hill", build };
})();
