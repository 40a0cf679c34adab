// Pictures on canvases: colours that follow the system's setting, digits, signed pictures, cells, bars, arrows.
//
// Blue is up or plus, orange is down or minus; each of the two is told apart without colour as well: by an arrow, by a
// dash on orange squares and lines, or by the side of the line on which a bar stands.
"use strict";

const paint = (() => {
  const NAMES = ["paper", "card", "ink", "soft", "line", "up", "down", "mid", "mark"];
  const colours = {};

  function read_colours() {
    const style = getComputedStyle(document.documentElement);
    for (const name of NAMES) colours[name] = style.getPropertyValue(`--${name}`).trim();
  }

  const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const largest = (values) => values.reduce((best, value) => Math.max(best, Math.abs(value)), 0);

  // The canvas as a clean sheet of so many CSS pixels, sharp on any screen.
  function sheet(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== across || canvas.height !== down) {
      Object.assign(canvas, { width: across, height: down });
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    return g;
  }

  const SIDE = 28;
  const small = document.createElement("canvas");
  small.width = small.height = SIDE;

  // 28 x 28 colours, enlarged to `size` at (left, top). colour: pixel -> [red, green, blue].
  function raster(g, left, top, size, colour) {
    const own = small.getContext("2d", { willReadFrequently: true });
    const image = own.createImageData(SIDE, SIDE);
    for (let i = 0; i < SIDE * SIDE; i++) {
      image.data.set(colour(i), 4 * i);
      image.data[4 * i + 3] = 255;
    }
    own.putImageData(image, 0, 0);
    g.imageSmoothingEnabled = false;
    g.drawImage(small, left, top, size, size);
  }

  // A digit, white on black as in MNIST. x: 784 numbers in [0, 1], or grey levels where `top` is 255.
  function digit(g, x, left, top, size, full = 1) {
    raster(g, left, top, size, (i) => {
      const grey = Math.round((255 * x[i]) / full);
      return [grey, grey, grey];
    });
  }

  // 784 numbers of either sign, the strongest in full colour.
  function signed(g, values, left, top, size, scale = largest(values)) {
    const [middle, up, down] = [colours.mid, colours.up, colours.down].map(channels);
    const strength = (i) => (scale ? Math.min(1, Math.abs(values[i]) / scale) : 0);
    raster(g, left, top, size, (i) => {
      const end = values[i] > 0 ? up : down;
      return middle.map((m, c) => m + (end[c] - m) * strength(i));
    });
    const cell = size / SIDE;
    if (cell < 4) return;
    g.fillStyle = colours.paper;
    for (let i = 0; i < values.length; i++) {
      if (values[i] >= 0 || strength(i) < 0.25) continue;
      const [row, column] = [Math.floor(i / SIDE), i % SIDE];
      g.fillRect(left + (column + 0.25) * cell, top + (row + 0.4) * cell, cell / 2, cell / 5);
    }
  }

  // An arrow up or down, centred at (x, y); its length is `length`, its sign that of `value`.
  function arrow(g, x, y, length, value, thickness = 2) {
    if (!value || length < 0.5) return;
    const toward = value > 0 ? -1 : 1;
    const tip = y + (toward * length) / 2;
    const head = Math.min(4 + thickness / 2, length * 0.7);
    g.strokeStyle = g.fillStyle = value > 0 ? colours.up : colours.down;
    g.lineWidth = thickness;
    g.setLineDash([]);
    g.beginPath();
    g.moveTo(x, y - (toward * length) / 2);
    g.lineTo(x, tip - toward * head * 0.8);
    g.stroke();
    g.beginPath();
    g.moveTo(x, tip);
    g.lineTo(x - head * 0.7, tip - toward * head);
    g.lineTo(x + head * 0.7, tip - toward * head);
    g.fill();
  }

  // A row of cells, each with an arrow as long as its number is large.
  function cells(canvas, values, width, height, scale = largest(values)) {
    const g = sheet(canvas, width, height);
    const cell = width / values.length;
    const [up, down] = [colours.up, colours.down];
    values.forEach((value, k) => {
      const strength = scale ? Math.min(1, Math.abs(value) / scale) : 0;
      g.fillStyle = colours.mid;
      g.fillRect(k * cell + 0.5, 0.5, cell - 1, height - 1);
      g.globalAlpha = 0.3 * strength;
      g.fillStyle = value > 0 ? up : down;
      g.fillRect(k * cell + 0.5, 0.5, cell - 1, height - 1);
      g.globalAlpha = 1;
      arrow(g, (k + 0.5) * cell, height / 2, (height - 4) * strength, value, 1 + 1.5 * strength);
    });
  }

  // Bars on a line: up and blue, down and orange; grey where all are activations.
  function bars(canvas, values, width, height, { grey = false, scale = largest(values), gap = 2 } = {}) {
    const g = sheet(canvas, width, height);
    const cell = width / values.length;
    const room = grey ? height - 1 : height / 2;
    const zero = grey ? height - 1 : height / 2;
    values.forEach((value, k) => {
      const tall = scale ? (room * value) / scale : 0;
      g.fillStyle = grey ? colours.soft : value > 0 ? colours.up : colours.down;
      g.fillRect(k * cell + gap / 2, Math.min(zero, zero - tall), cell - gap, Math.abs(tall));
    });
    g.fillStyle = colours.soft;
    g.fillRect(0, zero - 0.5, width, 1);
  }

  return { colours, read_colours, channels, largest, sheet, digit, signed, arrow, cells, bars };
})();
