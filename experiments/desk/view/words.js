// How the page names layers, neurons and weights.
"use strict";

const words = (() => {
  const layer = (network, l) => (l === network.activations.length - 1 ? "outputs" : `hidden layer ${l + 1}`);
  const neuron = (network, { layer: l, j }) => (l === network.activations.length - 1 ? `output ${j}` : `neuron ${j} of hidden layer ${l + 1}`);
  const before = (network, { layer: l, k }) => (l === 0 ? `pixel ${k} (row ${Math.floor(k / 28)}, column ${k % 28})` : neuron(network, { layer: l - 1, j: k }));

  // As jaxprop counts: W1 leads into hidden layer 1.
  const weight = ({ layer: l, j, k }) => (k === null ? `b${l + 1}[${j}]` : `W${l + 1}[${j},${k}]`);

  return { layer, neuron, before, weight };
})();
