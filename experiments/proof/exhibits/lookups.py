"""Embeddings and dropout: real bugs in backward passes that choose, and must choose the same again."""

import jax.numpy as jnp
import numpy as np

from proof.exhibits.frame import exhibit

IDS = np.array([1, 3, 3, 0, 3], np.int32)
KEPT = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 1]], np.float32)
PROBABILITY = 0.5  # of being kept


def embedding(params):
    return params["E"][IDS]


def into_rows(scatter):
    """scatter: `(zeros, dy) -> dE`."""
    return lambda params, dy: {"E": scatter(jnp.zeros_like(params["E"]), dy)}


def added(zeros, dy):
    return zeros.at[IDS].add(dy)


def added_in_halves(zeros, dy):
    total = zeros.astype(jnp.bfloat16)
    for i, row in zip(IDS, dy, strict=True):
        total = total.at[i].add(row.astype(jnp.bfloat16))
    return total.astype(zeros.dtype)


def dropped(params):
    """With inputs that are exactly 0 here and there, as after a ReLU."""
    return jnp.maximum(params["x"], 0) * KEPT / PROBABILITY


def dropout_backward(slope):
    """slope: of the output by the rectified input, from (that input, the output)."""

    def backward(params, dy):
        h = jnp.maximum(params["x"], 0)
        return {"x": jnp.where(params["x"] > 0, dy * slope(h, h * KEPT / PROBABILITY), 0)}

    return backward


def dropout(params):
    return params["x"] * params["gate"] * KEPT / PROBABILITY


def compared(params, dy):
    """What was dropped is told by comparing output and input; where the input is 0 it is taken for kept."""
    x, gate = params["x"], params["gate"]
    h = x * gate
    y = h * KEPT / PROBABILITY
    dh = dy * jnp.where(h == 0, 1, y / jnp.where(h == 0, 1, h))
    return {"x": dh * gate, "gate": dh * x}


def by_the_mask(params, dy):
    dh = dy * KEPT / PROBABILITY
    return {"x": dh * params["gate"], "gate": dh * params["x"]}


def closed(exhibit):
    """The same with gates that are exactly 0 here and there: the input of the dropout is 0, and its gradient is not."""

    def points():
        return [
            probe._replace(params=probe.params | {"gate": probe.params["gate"] * np.array([0, 1, 1, 0])})
            for probe in exhibit.points()
        ]

    return exhibit._replace(points=points)


TABLE = {"E": (5, 3)}

EXHIBITS = [
    exhibit(
        "embedding: repeats overwrite each other",
        "A word that occurs twice gets the gradient of one of its places: expected their sum.",
        "FluxML/Zygote.jl/issues/821",
        "pymc-devs/pytensor/pull/2242",
        operation=embedding,
        shipped=into_rows(lambda zeros, dy: zeros.at[IDS].set(dy)),
        mended=into_rows(added),
        shapes=TABLE,
        dy=(5, 3),
        wrong="E",
    ),
    exhibit(
        "embedding: gathered where it is scattered",
        "The backward pass reads rows of the upstream gradient by the indices: expected to add them into these rows.",
        "ooples/AiDotNet.Tensors/pull/894",
        operation=embedding,
        shipped=into_rows(lambda zeros, dy: dy[IDS]),
        mended=into_rows(added),
        shapes=TABLE,
        dy=(5, 3),
        wrong="E",
    ),
    exhibit(
        "embedding: everything into row 0",
        "The backward pass has no indices any more, and adds all gradients into the first row.",
        "tsotchke/eshkol/pull/392",
        operation=embedding,
        shipped=into_rows(lambda zeros, dy: zeros.at[0].set(jnp.sum(dy, axis=0))),
        mended=into_rows(added),
        shapes=TABLE,
        dy=(5, 3),
        wrong="E",
    ),
    exhibit(
        "embedding: added up in half precision",
        "What occurs often is added up in bfloat16, which soon takes no small number any more.",
        "tenstorrent/tt-metal/pull/53386",
        operation=embedding,
        shipped=into_rows(added_in_halves),
        mended=into_rows(added),
        shapes=TABLE,
        dy=(5, 3),
        wrong="E",
    ),
    exhibit(
        "dropout: the mask forgotten",
        "The gradient is divided by the probability, but what was dropped gets one too.",
        "ddbourgin/numpy-ml/issues/94",
        operation=dropped,
        shipped=dropout_backward(lambda h, y: 1 / PROBABILITY),
        mended=dropout_backward(lambda h, y: KEPT / PROBABILITY),
        shapes={"x": (3, 4)},
        dy=(3, 4),
        wrong="x",
    ),
    exhibit(
        "dropout: as if it were not there",
        "The hidden layer's gradient is computed as if every neuron had been kept.",
        "rohitg00/ai-engineering-from-scratch/pull/17",
        operation=dropped,
        shipped=dropout_backward(lambda h, y: 1),
        mended=dropout_backward(lambda h, y: KEPT / PROBABILITY),
        shapes={"x": (3, 4)},
        dy=(3, 4),
        wrong="x",
    ),
    closed(
        exhibit(
            "dropout: zeros taken for kept",
            "The mask is read off the outputs, and an input that is 0 and was dropped passes its gradient on.",
            "kaldi-asr/kaldi/issues/3890",
            operation=dropout,
            shipped=compared,
            mended=by_the_mask,
            shapes={"x": (3, 4), "gate": (3, 4)},
            dy=(3, 4),
            wrong=["gate"],
        )
    ),
]
