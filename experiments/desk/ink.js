// A drawing on the pad as the network sees it: jaxprop/data/ink.py and drawings.py, for ink that is drawn on blank paper.
//
// The pad is a raster of SIDE x SIDE grey levels of ink, 0 for paper and 255 for the pen. Nothing needs to be known of
// light or noise, so of the four steps there, three are left: what stands out falls into parts; one of them is the
// figure, with those that belong to it; a thin pen is widened. Then the ink is framed as MNIST's digits are.
"use strict";

const ink = (() => {
  const SIDE = 224;
  const PEN = 18; // how wide a stroke is, in pixels of the pad
  const SMALLEST = 8;
  const FAINTEST = 20;
  const SHARES = [0.2, 0.35, 0.5, 0.65];
  const WINDOW = Math.round(0.4 * SIDE); // what is as wide in both directions is paper to `find_ink`, and no stroke
  const THINNEST = 1 / 11;
  const CLEAR = 0.85;
  const NEAR = 3;
  const FAINTEST_SHARE = 0.2;
  const [MNIST, BOX, MIDDLE] = [28, 20, 14.5];

  const refuse = (sentence) => {
    throw new engine.BadInput(sentence);
  };
  const rint = (x) => {
    // To the nearest whole number, and halfway to the even one, as NumPy has it.
    const below = Math.floor(x);
    const rest = x - below;
    return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
  };

  // The pad

  const blank = () => new Uint8Array(SIDE * SIDE);
  const is_blank = (pad) => pad.every((level) => level < FAINTEST);

  // Draws a line with round ends into the pad, its edge one pixel soft. Changes the pad, since a hand draws quickly.
  function stroke(pad, from, to, pen = PEN) {
    const radius = pen / 2;
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const squared = dx * dx + dy * dy;
    const limit = (x) => Math.min(SIDE - 1, Math.max(0, x));
    const [left, right] = [Math.min(from.x, to.x) - radius - 1, Math.max(from.x, to.x) + radius + 1];
    const [top, bottom] = [Math.min(from.y, to.y) - radius - 1, Math.max(from.y, to.y) + radius + 1];
    for (let row = limit(Math.floor(top)); row <= limit(Math.ceil(bottom)); row++) {
      for (let column = limit(Math.floor(left)); column <= limit(Math.ceil(right)); column++) {
        const [x, y] = [column + 0.5 - from.x, row + 0.5 - from.y];
        const along = squared ? Math.min(1, Math.max(0, (x * dx + y * dy) / squared)) : 0;
        const distance = Math.hypot(x - along * dx, y - along * dy);
        const level = Math.round(255 * Math.min(1, Math.max(0, radius + 0.5 - distance)));
        const i = row * SIDE + column;
        if (level > pad[i]) pad[i] = level;
      }
    }
    return pad;
  }

  // From the pad to 28 x 28

  // Throws `engine.BadInput` where nothing is drawn, or more than one figure, or no digit's shape.
  function as_mnist(pad) {
    return frame(find_ink({ levels: pad, width: SIDE, height: SIDE }));
  }

  // The ink of the one figure, cut out around it.
  function find_ink(grey) {
    const { levels } = grey;
    const above = levels.filter((level) => level > FAINTEST).sort(); // bytes, which are counted and not compared
    if (!above.length) refuse("the pad is blank: draw one digit");
    if (above.length > levels.length / 2 || !shows_paper(grey)) {
      refuse("the ink covers too much of the pad: clear it, and draw one digit with single strokes");
    }
    const pen = percentile(above, 0.9);
    let complaint = null;
    for (const share of SHARES) {
      try {
        const figure = one_figure(mask_of(grey, Math.max(FAINTEST, share * pen)));
        if (clearness(figure, grey) >= CLEAR) return widened(inked(figure, grey, share), figure);
      } catch (error) {
        if (!(error instanceof engine.BadInput)) throw error;
        complaint ??= error;
      }
    }
    throw complaint ?? new engine.BadInput("what is drawn cannot be told from what lies around it: draw one digit");
  }

  const percentile = (sorted, share) => {
    const at = share * (sorted.length - 1);
    const below = Math.floor(at);
    return sorted[below] + (at - below) * ((sorted[below + 1] ?? sorted[below]) - sorted[below]);
  };

  // Whether each square of WINDOW x WINDOW pixels has some clean paper in it, with nothing but paper around.
  function shows_paper({ levels, width, height }) {
    const sums = new Int32Array((width + 1) * (height + 1));
    for (let row = 0; row < height; row++) {
      for (let column = 0, along = 0; column < width; column++) {
        along += clean(levels, width, height, row, column) ? 1 : 0;
        sums[(row + 1) * (width + 1) + column + 1] = sums[row * (width + 1) + column + 1] + along;
      }
    }
    const half = WINDOW >> 1; // at the rim, where a window reaches out of the pad, it sees its half twice
    const at = (row, column) => sums[Math.min(height, Math.max(0, row)) * (width + 1) + Math.min(width, Math.max(0, column))];
    for (let row = 0; row <= height; row++) {
      for (let column = 0; column <= width; column++) {
        const [top, bottom, left, right] = [row - half, row + half, column - half, column + half];
        if (at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left) === 0) return false;
      }
    }
    return true;
  }

  function clean(levels, width, height, row, column) {
    const i = row * width + column;
    if (levels[i]) return false;
    const [up, down] = [row ? width : 0, row < height - 1 ? width : 0];
    const [left, right] = [column ? 1 : 0, column < width - 1 ? 1 : 0];
    return !(levels[i - up] || levels[i + down] || levels[i - left] || levels[i + right]);
  }

  // Masks: {inside: Uint8Array of 0 and 1, width, height}

  function mask_of({ levels, width, height }, threshold) {
    const inside = new Uint8Array(levels.length); // a loop: `map` takes five times as long, while a hand draws
    for (let i = 0; i < inside.length; i++) inside[i] = levels[i] > threshold ? 1 : 0;
    return { inside, width, height };
  }

  // The connected parts, by eight neighbours: in order of their first pixels, and for each pixel the number of its part.
  function parts_of({ inside, width, height }) {
    const labels = new Int32Array(inside.length);
    const parts = [];
    const waiting = [];
    inside.forEach((set, first) => {
      if (!set || labels[first]) return;
      const part = { number: parts.length + 1, top: height, bottom: 0, left: width, right: 0, at_rim: 0 };
      parts.push(part);
      labels[first] = part.number;
      waiting.push(first);
      while (waiting.length) {
        const i = waiting.pop();
        const [row, column] = [Math.floor(i / width), i % width];
        part.top = Math.min(part.top, row);
        part.bottom = Math.max(part.bottom, row + 1);
        part.left = Math.min(part.left, column);
        part.right = Math.max(part.right, column + 1);
        if (row === 0 || column === 0 || row === height - 1 || column === width - 1) part.at_rim += 1;
        for (let down = Math.max(0, row - 1); down <= Math.min(height - 1, row + 1); down++) {
          for (let across = Math.max(0, column - 1); across <= Math.min(width - 1, column + 1); across++) {
            const next = down * width + across;
            if (inside[next] && !labels[next]) {
              labels[next] = part.number;
              waiting.push(next);
            }
          }
        }
      }
    });
    for (const part of parts) {
      part.extent = Math.max(part.bottom - part.top, part.right - part.left);
      part.lies_along_the_rim = part.at_rim >= part.extent / 2;
    }
    return [labels, parts];
  }

  const by_extent = (parts) => parts.reduce((main, part) => (part.extent > main.extent ? part : main));

  // The largest that does not lie along the rim; of those that do only where all others are no larger than specks.
  function main_part(parts, { width, height }) {
    const within = parts.filter((part) => !part.lies_along_the_rim);
    const large = within.length ? by_extent(within).extent : 0;
    const spans = parts.some((part) => part.lies_along_the_rim && part.extent >= Math.max(width, height) - 1);
    return by_extent(large >= (spans ? 8 : 0.15 * Math.min(width, height)) && within.length ? within : parts);
  }

  // The main part, and those that are at least a quarter as large: a digit may take more than one stroke.
  function one_figure(mask) {
    const [labels, parts] = parts_of(mask);
    if (!parts.length) refuse("the pad is blank: draw one digit");
    const main = main_part(parts, mask);
    const others = parts.filter(
      (part) => part !== main && part.extent >= main.extent / 4 && !part.lies_along_the_rim,
    );
    const kept = [main, ...others];
    if (kept.length > 4 || runs(labels, main.number, mask) > 6) {
      refuse("there is structure all over the pad: clear it, and draw one digit");
    }
    if (main.at_rim > main.extent) refuse("the ink runs along the rim of the pad: draw one digit in its middle");
    const span = spanned(kept);
    const [wide, high] = [span.right - span.left, span.bottom - span.top];
    if (fall_apart(kept, high)) refuse("more than one figure is drawn: clear the pad, and draw one digit");
    if (wide > 1.6 * high) {
      refuse(`what is drawn is ${wide} x ${high} pixels, wider than any digit: draw one digit, upright`);
    }
    const belongs = new Uint8Array(parts.length + 1);
    for (const part of kept) belongs[part.number] = 1;
    const inside = new Uint8Array(labels.length);
    for (let i = 0; i < inside.length; i++) inside[i] = belongs[labels[i]];
    return { ...mask, inside };
  }

  const spanned = (parts) => ({
    top: Math.min(...parts.map((part) => part.top)),
    bottom: Math.max(...parts.map((part) => part.bottom)),
    left: Math.min(...parts.map((part) => part.left)),
    right: Math.max(...parts.map((part) => part.right)),
  });

  // Whether a straight line, down or across, parts them into two that are both at least 0.3 of the whole height.
  function fall_apart(parts, height) {
    return [["left", "right"], ["top", "bottom"]].some(([start, stop]) => {
      const ordered = [...parts].sort((one, other) => one[start] - other[start]);
      return ordered.some((part, i) => {
        if (i === 0 || Math.max(...ordered.slice(0, i).map((before) => before[stop])) > part[start]) return false;
        const sides = [ordered.slice(0, i), ordered.slice(i)].map(spanned);
        return Math.min(...sides.map((side) => side.bottom - side.top)) >= 0.3 * height;
      });
    });
  }

  // In how many places a part reaches the rim.
  function runs(labels, number, { width, height }) {
    const rim = [];
    for (let column = 0; column < width; column++) rim.push(column);
    for (let row = 1; row < height; row++) rim.push(row * width + width - 1);
    for (let column = width - 2; column >= 0; column--) rim.push((height - 1) * width + column);
    for (let row = height - 2; row > 0; row--) rim.push(row * width);
    return rim.filter((at, i) => labels[at] === number && labels[rim.at(i - 1)] !== number).length;
  }

  // Squared distances of each pixel to the nearest one that is (not) inside, and which one that is: along each column
  // the nearest first, then along each row the lowest of the parabolas (Felzenszwalb and Huttenlocher, "Distance
  // transforms of sampled functions", 2012). A pixel that counts itself has 0.
  function distances({ inside, width, height }, to) {
    const FAR = 1e9;
    const columns = new Float64Array(inside.length).fill(FAR);
    for (let column = 0; column < width; column++) {
      for (let row = 0, last = -FAR; row < height; row++) {
        const i = row * width + column;
        if (inside[i] === to) last = row;
        columns[i] = Math.min(FAR, (row - last) ** 2);
      }
      for (let row = height - 1, next = FAR; row >= 0; row--) {
        const i = row * width + column;
        if (inside[i] === to) next = row;
        columns[i] = Math.min(columns[i], (next - row) ** 2);
      }
    }
    const squared = new Float64Array(inside.length);
    const vertex = new Int32Array(width);
    const from = new Float64Array(width + 1);
    for (let row = 0; row < height; row++) {
      const f = columns.subarray(row * width, (row + 1) * width);
      let k = 0;
      vertex[0] = 0;
      [from[0], from[1]] = [-Infinity, Infinity];
      for (let q = 1; q < width; q++) {
        let s = meeting(f, vertex[k], q);
        while (s <= from[k]) {
          k -= 1;
          s = meeting(f, vertex[k], q);
        }
        k += 1;
        vertex[k] = q;
        [from[k], from[k + 1]] = [s, Infinity];
      }
      for (let q = 0, k = 0; q < width; q++) {
        while (from[k + 1] < q) k += 1;
        squared[row * width + q] = (q - vertex[k]) ** 2 + f[vertex[k]];
      }
    }
    return squared;
  }

  // Where the parabola over p is overtaken by the one over q, p < q, which is lower from there on.
  const meeting = (f, p, q) => (f[q] + q * q - f[p] - p * p) / (2 * (q - p));

  // The rectangle of the figure and so many pixels around it, as far as there are any.
  function box_of({ inside, width, height }, margin) {
    let [top, bottom, left, right] = [height, 0, width, 0];
    for (let row = 0; row < height; row++) {
      const along = inside.subarray(row * width, (row + 1) * width);
      const first = along.indexOf(1);
      if (first < 0) continue;
      top = Math.min(top, row);
      bottom = row + 1;
      left = Math.min(left, first);
      right = Math.max(right, along.lastIndexOf(1) + 1);
    }
    return {
      top: Math.max(0, top - margin),
      bottom: Math.min(height, bottom + margin),
      left: Math.max(0, left - margin),
      right: Math.min(width, right + margin),
    };
  }

  // The part of an array of pixels that lies in a box, with so many zeros around it.
  function cut(array, width, { top, bottom, left, right }, pad = 0) {
    const [wide, high] = [right - left + 2 * pad, bottom - top + 2 * pad];
    const copy = new array.constructor(wide * high);
    for (let row = top; row < bottom; row++) {
      copy.set(array.subarray(row * width + left, row * width + right), (row - top + pad) * wide + pad);
    }
    return copy;
  }

  // Which fraction of a ring around the figure is nearer to the paper than to the pen at the figure's nearest edge. Here
  // the paper has the level 0, so that any pixel with less than half of the ink of the nearest one is paper.
  function clearness(figure, { levels, width }) {
    const { longer } = size_of(figure);
    const away = Math.max(NEAR, rint(longer / 30));
    const box = box_of(figure, away);
    const [wide, high] = [box.right - box.left, box.bottom - box.top];
    const near = { inside: cut(figure.inside, width, box), width: wide, height: high };
    const here = cut(levels, width, box);
    const squared = distances(near, 1);
    let [ring, paper] = [0, 0];
    squared.forEach((d, i) => {
      if (d <= (away - 1) ** 2 || d > away ** 2) return;
      ring += 1;
      if (!here[i] || here[i] < nearest_level(near, here, i, d) / 2) paper += 1; // the figure has ink everywhere
    });
    return ring ? paper / ring : 0;
  }

  // The level of the figure's pixel at this squared distance; of several, the darkest.
  function nearest_level({ inside, width, height }, levels, i, squared) {
    const [row, column, reach] = [Math.floor(i / width), i % width, Math.ceil(Math.sqrt(squared))];
    let level = 0;
    for (let r = Math.max(0, row - reach); r <= Math.min(height - 1, row + reach); r++) {
      for (let c = Math.max(0, column - reach); c <= Math.min(width - 1, column + reach); c++) {
        const at = r * width + c;
        if (inside[at] && (r - row) ** 2 + (c - column) ** 2 === squared) level = Math.max(level, levels[at]);
      }
    }
    return level;
  }

  const size_of = (figure) => {
    const { top, bottom, left, right } = box_of(figure, 0);
    return { longer: Math.max(bottom - top, right - left) };
  };

  // The ink of the figure; with a pixel around it where a high share has cut off its soft edges.
  function inked({ inside, width, height }, { levels }, share) {
    if (share === SHARES[0]) {
      const kept = levels.slice();
      for (let i = 0; i < kept.length; i++) kept[i] *= inside[i];
      return kept;
    }
    return levels.map((level, i) => {
      const [row, column] = [Math.floor(i / width), i % width];
      const beside =
        (row > 0 && inside[i - width]) ||
        (row < height - 1 && inside[i + width]) ||
        (column > 0 && inside[i - 1]) ||
        (column < width - 1 && inside[i + 1]);
      return inside[i] || beside ? level : 0;
    });
  }

  // The ink, cut out, with strokes that are as wide as THINNEST of the longer side at least. In a stroke of width w the
  // mean distance to its edge is w / 4.
  function widened(levels, figure) {
    const box = box_of(figure, 1);
    const { longer } = size_of(figure);
    const sized = (room) => ({ width: box.right - box.left + 2 * room, height: box.bottom - box.top + 2 * room });
    const around = (room) => ({ inside: cut(figure.inside, figure.width, box, room), ...sized(room) });
    const thin = around(1);
    const depths = distances(thin, 0).filter((_, i) => thin.inside[i]);
    const width = (4 * depths.reduce((sum, d) => sum + Math.sqrt(d), 0)) / depths.length - 1;
    const missing = (THINNEST * longer - width) / 2;
    if (missing <= 0) return { levels: cut(levels, figure.width, box, 1), ...sized(1) };
    const room = 1 + Math.ceil(missing);
    const own = cut(levels, figure.width, box, room);
    const darkest = own.reduce((most, level) => Math.max(most, level), 0);
    const away = distances(around(room), 1);
    const wide = own.map((level, i) => {
      const grown = darkest * Math.min(1, Math.max(0, missing + 1 - Math.sqrt(away[i])));
      return rint(Math.max(level, grown));
    });
    return { levels: wide, ...sized(room) };
  }

  // The ink as MNIST has it: in a box of 20 x 20, its centre of mass central in 28 x 28.
  function frame(given) {
    const darkest = given.levels.reduce((most, level) => Math.max(most, level), 0);
    if (darkest < FAINTEST) refuse("the pad is blank: draw one digit");
    const inside = given.levels.map((level) => (level > FAINTEST_SHARE * darkest ? 1 : 0));
    const box = box_of({ ...given, inside }, 0);
    const levels = cut(given.levels.map((level, i) => level * inside[i]), given.width, box);
    const [wide, high] = [box.right - box.left, box.bottom - box.top];
    const longer = Math.max(wide, high);
    if (longer < SMALLEST) {
      refuse(`what is drawn is ${wide} x ${high} pixels: expected a height or width of ${SMALLEST}, so draw it larger`);
    }
    const pixel = longer / BOX; // of the result, measured in those of the drawing
    const [across, down] = [new Float64Array(wide), new Float64Array(high)];
    for (let row = 0, i = 0; row < high; row++) {
      for (let column = 0; column < wide; column++, i++) {
        across[column] += levels[i];
        down[row] += levels[i];
      }
    }
    const columns = resampling(wide, first_edge(across, pixel), pixel);
    const rows = resampling(high, first_edge(down, pixel), pixel);
    // Pillow goes along the rows first, adds up in double precision and keeps single.
    const half = new Float32Array(high * MNIST);
    columns.forEach(({ first, weights }, x) => {
      for (let row = 0; row < high; row++) half[row * MNIST + x] = weighted(weights, levels, row * wide + first, 1);
    });
    const whole = new Float32Array(MNIST * MNIST);
    rows.forEach(({ first, weights }, y) => {
      for (let x = 0; x < MNIST; x++) whole[y * MNIST + x] = weighted(weights, half, first * MNIST + x, MNIST);
    });
    const brightest = Math.fround(255 / whole.reduce((most, level) => Math.max(most, level), 0));
    return Uint8Array.from(whole, (level) => rint(Math.fround(level * brightest)));
  }

  // The sum of the numbers from a place on, each `apart` from the next, times their weights.
  function weighted(weights, numbers, from, apart) {
    let total = 0;
    for (let i = 0; i < weights.length; i++) total += weights[i] * numbers[from + i * apart];
    return total;
  }

  // Where the frame begins along one axis: the centre of mass in the middle, or as near as keeps all ink inside.
  function first_edge(profile, pixel) {
    const total = profile.reduce((sum, level) => sum + level, 0);
    const mass = profile.reduce((sum, level, i) => sum + level * (i + 0.5), 0) / total;
    return Math.min(0, Math.max(profile.length - MNIST * pixel, mass - MIDDLE * pixel));
  }

  // For each of 28 pixels, the first of the drawing's pixels that it is made of, and their weights: Hamming's window, as
  // wide as a pixel of the result to both sides. What lies beside the drawing is 0, and its weights count.
  function resampling(length, edge, pixel) {
    const hamming = (x) => {
      const t = Math.abs(x);
      if (t === 0) return 1;
      return t >= 1 ? 0 : (Math.sin(Math.PI * t) / (Math.PI * t)) * (0.54 + 0.46 * Math.cos(Math.PI * t));
    };
    const support = Math.max(1, pixel);
    return Array.from({ length: MNIST }, (_, i) => {
      const middle = edge + (i + 0.5) * pixel;
      const start = Math.floor(middle - support + 0.5);
      const stop = Math.floor(middle + support + 0.5);
      const weights = [];
      for (let x = start; x < stop; x++) weights.push(hamming((x - middle + 0.5) / support));
      const total = weights.reduce((sum, w) => sum + w, 0);
      const first = Math.min(length, Math.max(0, start));
      const inside = weights.slice(first - start, Math.max(first, Math.min(length, stop)) - start);
      return { first, weights: inside.map((w) => w / total) };
    });
  }

  return { SIDE, PEN, blank, is_blank, stroke, as_mnist, frame };
})();
