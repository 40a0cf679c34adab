// A receipt: every number of one example's two passes, with all that is needed to derive them again.
"use strict";

const receipt = (() => {
  const FORM = "jaxprop desk receipt 1";

  // SHA-256 of bytes, in hexadecimal (FIPS 180-4). Browsers have one of their own, but not in all of them for a file.
  function sha256(message) {
    const words = new Uint32Array(64);
    const state = Uint32Array.from(primes(8), (p) => fraction(Math.sqrt(p)));
    const constants = Uint32Array.from(primes(64), (p) => fraction(Math.cbrt(p)));
    const length = (((message.length + 8) >> 6) + 1) << 6;
    const padded = new Uint8Array(length);
    padded.set(message);
    padded[message.length] = 0x80;
    const view = new DataView(padded.buffer);
    view.setUint32(length - 8, Math.floor(message.length / 2 ** 29));
    view.setUint32(length - 4, message.length << 3);
    const turn = (x, n) => (x >>> n) | (x << (32 - n));
    for (let block = 0; block < length; block += 64) {
      for (let t = 0; t < 64; t++) {
        if (t < 16) {
          words[t] = view.getUint32(block + 4 * t);
          continue;
        }
        const [early, late] = [words[t - 15], words[t - 2]];
        const s0 = turn(early, 7) ^ turn(early, 18) ^ (early >>> 3);
        const s1 = turn(late, 17) ^ turn(late, 19) ^ (late >>> 10);
        words[t] = words[t - 16] + s0 + words[t - 7] + s1;
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let t = 0; t < 64; t++) {
        const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
        const first = (h + s1 + ((e & f) ^ (~e & g)) + constants[t] + words[t]) | 0;
        const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
        const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        [a, b, c, d, e, f, g, h] = [(first + second) | 0, a, b, c, (d + first) | 0, e, f, g];
      }
      [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] += word));
    }
    return Array.from(state, (word) => word.toString(16).padStart(8, "0")).join("");
  }

  function primes(count) {
    const found = [];
    for (let n = 2; found.length < count; n++) if (found.every((p) => n % p)) found.push(n);
    return found;
  }

  // The first 32 bits behind the point.
  const fraction = (x) => Math.floor((x - Math.floor(x)) * 2 ** 32);

  function in_a_row(params) {
    const all = engine.arrays(params);
    const row = new Float64Array(engine.count_parameters(params));
    let at = 0;
    for (const array of all) {
      row.set(array, at);
      at += array.length;
    }
    return row;
  }

  const hash = (params) => sha256(new Uint8Array(in_a_row(params).buffer));

  function base64(bytes) {
    let text = "";
    for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
    return btoa(text);
  }

  // The text of the file. Its last line is a seal: SHA-256 of all the text before.
  function make({ network, params, pixels, label, place, about }) {
    const trace = engine.trace(network, params, engine.input(pixels, 0), engine.one_hot(label));
    const found = engine.finite_difference(network, params, trace.x, trace.y, place);
    const kept = Object.entries(strip.numbers(trace)).filter(([name]) => !/^d[Wb]/.test(name));
    const content = {
      form: FORM,
      origin: about.origin,
      network: {
        sizes: network.sizes,
        activation: network.activation,
        hash: hash(params),
        params: base64(new Uint8Array(in_a_row(params).buffer)),
      },
      pixels: Array.from(pixels),
      label,
      numbers: Object.fromEntries(kept.map(([name, array]) => [name, Array.from(array)])),
      weight: {
        ...place,
        value: engine.weight(params, place),
        derivative: engine.derivative(trace, place),
        finite_difference: found.slope,
      },
    };
    const lines = Object.entries(content).map(([name, value]) => ` ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
    const text = `{\n${lines.join("")}`;
    return `${text} "seal": "${sha256(new TextEncoder().encode(text))}"\n}\n`;
  }

  return { make, hash, sha256 };
})();
