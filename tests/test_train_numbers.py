"""Every option of `train.py` that changes numbers, against NumPy that takes the same steps."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxprop as jp
import train
from lab.common import run

SETTING = ["--hidden", "3", "--no-figures", "--gradient", "autodiff", "--epochs", "2"]


def train_here(out: Path, *options: str) -> Path:
    assert run(train.main, train.TrainOptions, [*SETTING, *options, "--out", str(out)]) == 0
    (folder,) = (out / "train").iterdir()
    return folder


def start_of(seed: int) -> list[np.ndarray]:
    """W1, b1, W2 and b2 as they are drawn."""
    init_key, _ = jax.random.split(jax.random.key(seed))
    return [np.array(leaf) for leaf in jax.tree.leaves(jp.mlp((784, 3, 10)).init(init_key))]


def gradient(params: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    W1, b1, W2, b2 = params
    a1 = 1 / (1 + np.exp(-(x @ W1.T + b1)))
    a2 = 1 / (1 + np.exp(-(a1 @ W2.T + b2)))
    dz2 = 2 * (a2 - y) * a2 * (1 - a2) / len(x)
    dz1 = dz2 @ W2 * a1 * (1 - a1)
    return [dz1.T @ x, dz1.sum(axis=0), dz2.T @ a1, dz2.sum(axis=0)]


def by_numpy(params, *, seed=0, rate=2.0, batch_size=100, examples=1500, decay=0.0, momentum=0.0, cosine=False):
    """Two epochs of SGD on the first so many training examples."""
    train = jp.load_dataset("digits").train
    x, y = np.asarray(train.images).reshape(-1, 784) / 255, np.eye(10)[train.labels]
    _, key = jax.random.split(jax.random.key(seed))
    steps = examples // batch_size
    orders = [jp.epoch_order(jax.random.fold_in(key, epoch), examples, batch_size) for epoch in (1, 2)]
    velocity = [np.zeros_like(p) for p in params]
    for t, rows in enumerate(np.concatenate(orders)):
        now = rate * (1 + np.cos(np.pi * t / (2 * steps))) / 2 if cosine else rate
        grads = [g + decay * p for g, p in zip(gradient(params, x[rows], y[rows]), params, strict=True)]
        velocity = [momentum * v + g for v, g in zip(velocity, grads, strict=True)]
        params = [p - now * v for p, v in zip(params, velocity, strict=True)]
    return params


def by_adam(params, *, rate=0.003, batch_size=100):
    """Two epochs of Adam (Kingma and Ba, 2015), with their own numbers 0.9, 0.999 and 1e-8."""
    train = jp.load_dataset("digits").train
    x, y = np.asarray(train.images).reshape(-1, 784) / 255, np.eye(10)[train.labels]
    _, key = jax.random.split(jax.random.key(0))
    m, v = ([np.zeros_like(p) for p in params] for _ in range(2))
    orders = [jp.epoch_order(jax.random.fold_in(key, epoch), 1500, batch_size) for epoch in (1, 2)]
    for t, rows in enumerate(np.concatenate(orders), start=1):
        grads = gradient(params, x[rows], y[rows])
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grads, strict=True)]
        v = [0.999 * a + 0.001 * g**2 for a, g in zip(v, grads, strict=True)]
        steps = [a / (1 - 0.9**t) / (np.sqrt(b / (1 - 0.999**t)) + 1e-8) for a, b in zip(m, v, strict=True)]
        params = [p - rate * s for p, s in zip(params, steps, strict=True)]
    return params


def check_same(folder: Path, expected: list[np.ndarray]) -> None:
    """In float64, to 1e-11 of each array: 30 steps of sums of up to 784 terms, each off by some ulps of 2e-16."""
    found = jax.tree.leaves(jp.load_mlp(folder / "params.npz")[1])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * np.abs(other).max())


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (["--seed", "1", "--validation", "300"], {"seed": 1, "examples": 1200}),
        (["--batch-size", "130", "--learning-rate", "0.7"], {"batch_size": 130, "rate": 0.7}),
        (
            ["--optimizer", "momentum", "--schedule", "cosine", "--weight-decay", "0.01"],
            {"rate": 0.08, "momentum": 0.9, "cosine": True, "decay": 0.01},
        ),
    ],
)
def test_sgd_with_each_of_its_options_takes_the_steps_that_numpy_takes(tmp_path, options, same):
    with jax.enable_x64(True):
        folder = train_here(tmp_path, *options)
        check_same(folder, by_numpy(start_of(same.get("seed", 0)), **same))


def test_adam_takes_the_steps_that_numpy_takes(tmp_path):
    with jax.enable_x64(True):
        check_same(train_here(tmp_path, "--optimizer", "adam"), by_adam(start_of(0)))


def test_init_takes_the_steps_that_numpy_takes_from_there_and_scores_are_those_of_the_held_out_examples(tmp_path):
    with jax.enable_x64(True):
        network, held_out = jp.mlp((784, 3, 10)), 300
        params = [np.cos(np.arange(p.size)).reshape(p.shape) / 10 for p in start_of(0)]
        tree = jax.tree.unflatten(jax.tree.structure(network.params_like), params)
        jp.save_params(tmp_path / "start.npz", network, tree)
        folder = train_here(tmp_path, "--init", str(tmp_path / "start.npz"), "--validation", str(held_out))
        W1, b1, W2, b2 = by_numpy(params, examples=1200)
        check_same(folder, [W1, b1, W2, b2])
    images, labels = (part[-held_out:] for part in jp.load_dataset("digits").train)
    hidden = 1 / (1 + np.exp(-(images.reshape(-1, 784) / 255 @ W1.T + b1)))
    outputs = 1 / (1 + np.exp(-(hidden @ W2.T + b2)))
    results = json.loads((folder / "results.json").read_text())
    cost = ((outputs - np.eye(10)[labels]) ** 2).sum(axis=1).mean()
    assert results["validation_cost"] == pytest.approx(cost, rel=1e-11)  # as above
    assert round(held_out * results["validation_accuracy"]) == (outputs.argmax(axis=1) == labels).sum()
