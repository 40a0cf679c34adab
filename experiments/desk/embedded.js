// What the script that built the page has put into it: parameters, digits, cases, lines of source, paths.
"use strict";

const embedded = (() => {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  // Numbers as the page computes with them, whatever they were kept in; all browsers' machines are little-endian.
  function floats(text, dtype = "float64") {
    const { buffer } = bytes(text);
    return Float64Array.from(dtype === "float32" ? new Float32Array(buffer) : new Float64Array(buffer));
  }

  const integers = (text) => new Int32Array(bytes(text).buffer);

  // Of a row of numbers W1 b1 W2 b2 …, the parameters of the network, each array its own.
  function unravel(network, row) {
    let from = 0;
    const take = (count) => row.slice(from, (from += count));
    return network.layers.map((_, i) => {
      if (i % 2) return {};
      const [columns, width] = network.sizes.slice(i / 2, i / 2 + 2);
      return { W: take(width * columns), b: take(width) };
    });
  }

  async function inflate(text) {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const examples = async ({ count, images, labels }) => ({
    count,
    images: await inflate(images),
    labels: bytes(labels),
  });

  async function decode(data) {
    const { sizes, activation, dtype, params, ...about } = data.network;
    const network = engine.mlp(sizes, activation);
    return {
      network,
      params: unravel(network, floats(params, dtype)),
      about: { dtype, ...about },
      train: await examples(data.examples.train),
      test: await examples(data.examples.test),
      ...{ cases: data.cases, bounds: data.bounds, source: data.source, hill: data.hill },
    };
  }

  const read = () => decode(JSON.parse(document.getElementById("desk-data").textContent));

  return { read, decode, floats, integers, unravel };
})();
