"""The way from step to step of the running example."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.data.datasets import load_dataset
from lab.running_example import SIZES, best_rate, mini_batches, parameter_name, select, snapshots, whole


@pytest.fixture(scope="module")
def examples() -> jp.Examples:
    return select(load_dataset("digits").train, slice(300))


@pytest.mark.parametrize(
    ("path", "name"), [("[0].W", "W1"), ("[0].W[3, 406]", "W1[3, 406]"), ("[2].b[7]", "b2[7]"), ("[4].b", "b3")]
)
def test_parameters_are_named_as_the_lesson_counts_layers(path, name):
    assert parameter_name(path) == name


def test_a_parameter_of_another_kind_of_network_has_no_such_name():
    with pytest.raises(ValueError, match="is no path"):
        parameter_name("['W1']")


def test_a_best_rate_at_the_edge_of_those_that_were_tried_is_said_to_be_there():
    assert best_rate(1.0, (0.3, 1.0, 3.0)) == "rate 1, the best of 0.3 to 3"
    assert "at their edge" in best_rate(0.3, (0.3, 1.0, 3.0))
    assert "at their edge" in best_rate(3.0, (0.3, 1.0, 3.0))


def test_each_epoch_holds_all_examples_once_in_an_order_of_its_own():
    order = mini_batches(jax.random.key(0), 300, 7)
    assert order.shape == (7, 100)
    first, second = order[:3].ravel(), order[3:6].ravel()
    assert set(first) == set(second) == set(range(300))
    assert not np.array_equal(first, second)


def test_the_mini_batches_are_those_of_a_fit(examples):
    key = jax.random.key(0)
    network = jp.mlp(SIZES)
    optimizer = optax.sgd(1.0)
    epoch = jax.jit(jp.make_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer), jp.as_batch))
    state = jp.init_state(network.init(key), optimizer)
    seen = [metrics.order for _, metrics in jp.fit(epoch, state, examples, key=key, batch_size=100, epochs=2)]
    np.testing.assert_array_equal(mini_batches(key, 300, 6), np.concatenate(seen))


def test_rows_are_selected_from_images_and_labels_alike(examples):
    chosen = select(examples, np.asarray(examples.labels) == 2)
    assert set(np.asarray(chosen.labels)) == {2}
    assert len(chosen.images) == np.sum(np.asarray(examples.labels) == 2)


def test_snapshots_on_the_way_are_places_of_one_training(examples):
    network = jp.mlp(SIZES)
    start = network.init(jax.random.key(0))
    first, third, third_again, sixth = snapshots(network, start, examples, [0, 3, 3, 6], key=jax.random.key(1))
    (straight,) = snapshots(network, start, examples, [6], key=jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, (first, third), (start, third_again))
    jax.tree.map(np.testing.assert_array_equal, sixth, straight)


@pytest.mark.parametrize("double", [False, True])
def test_snapshots_keep_the_float_type_of_the_parameters(examples, double):
    with jax.enable_x64(double):
        start = jp.mlp(SIZES).init(jax.random.key(0))
        (after,) = snapshots(jp.mlp(SIZES), start, examples, [1], key=jax.random.key(1))
        assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.result_type(float)}


def test_the_whole_is_every_example(examples):
    inputs, targets = whole(examples)
    assert inputs.shape == (300, 784)
    np.testing.assert_array_equal(np.argmax(targets, axis=1), examples.labels)
