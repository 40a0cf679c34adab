"""The museum's exhibits, a file for each family. A new one is one more record in the list of its family."""

from proof.exhibits import activations, convolution, costs, layers, lookups, normalisation, sequences, training

BUGS = [
    *costs.EXHIBITS,
    *activations.EXHIBITS,
    *training.EXHIBITS,
    *normalisation.EXHIBITS,
    *lookups.EXHIBITS,
    *sequences.EXHIBITS,
    *convolution.EXHIBITS,
    *layers.EXHIBITS,
]
NONE = [*activations.NONE, *normalisation.NONE]  # reported as bugs, and right
