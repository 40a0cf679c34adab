"""The doors, where people and files come in: each answers with finite numbers, or names the culprit in a sentence.

Each property draws a call that is right and then spoils none, one or two of its arguments. 200 calls in every test run,
always the same ones; `pytest -m slow tests/test_doors.py` draws 2,000 others each time.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
# What is passed here is wrong on purpose.

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import jaxprop as jp
from jaxprop.verify.finite import all_finite

# Few shapes, since each new one is compiled for.
NETWORKS = [((3, 2), "sigmoid"), ((3, 4, 2), "relu"), ((784, 3, 10), "tanh")]
WRONG = [None, "a string", [1.0, 2.0], np.array("text"), np.array([{}]), 7, np.float32(0), object()]
NUMBERS = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 1e4, 1e30, -3e38]
DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int32, np.bool_, np.complex64]
WAYS = ("number", "dtype", "shape", "fewer", "empty", "kind")  # in which an array is spoiled
WHOLE = [-1, 0, 1, 2, 3, 7, 10**9, 2.5, np.nan, None, "3", True, np.int64(2)]


def answers(call: Callable[[], Any], *names: str) -> None:
    """The call gives finite numbers, or a `ValueError` with one of these names in its message."""
    try:
        result, said = call(), None
    except ValueError as error:
        result, said = None, str(error)
    assert all_finite(result), "a silent NaN or infinity"
    assert said is None or any(name in said for name in names), f"{said!r} names none of {names}"


def spoiled_array(data: st.DataObject, array: np.ndarray, ways: tuple[str, ...] = WAYS) -> Any:
    """The array with something that may be wrong about it."""
    how = data.draw(st.sampled_from(ways))
    if how == "number":
        changed = np.array(array, np.result_type(array, np.float32) if array.dtype.kind == "f" else array.dtype)
        number = data.draw(st.sampled_from(NUMBERS if changed.dtype.kind == "f" else [0, 9, 10, 200]))
        changed.reshape(-1)[data.draw(st.sampled_from([0, array.size - 1]))] = number
        return changed
    if how == "dtype":
        return array.astype(data.draw(st.sampled_from(DTYPES)))
    if how == "shape":
        return data.draw(st.sampled_from([array[None], array.reshape(-1), array.T, array[..., :-1], array[0]]))
    if how == "fewer":
        return array[:-1]
    return array[:0] if how == "empty" else data.draw(st.sampled_from(WRONG))


def spoiled(data: st.DataObject, tree: Any, ways: tuple[str, ...] = WAYS, others: bool = True) -> Any:
    """The tree with none, one or two of its arrays spoiled; or, seldom, some other tree or none at all."""
    leaves, structure = jax.tree.flatten(tree)
    for i in data.draw(st.lists(st.integers(0, len(leaves) - 1), max_size=2, unique=True)):
        leaves[i] = spoiled_array(data, leaves[i], ways)
    changed = jax.tree.unflatten(structure, leaves)
    other_trees = [(), leaves[:1], None, "text", tuple(leaves) * 2] if others else []
    return data.draw(st.sampled_from([changed] * 12 + other_trees))


def drawn_point(data: st.DataObject, *networks: int) -> tuple[int, Any, tuple]:
    """The number of a network, its parameters and a batch for it, good ones and in host memory."""
    i = data.draw(st.sampled_from(networks))
    sizes, activation = NETWORKS[i]
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    like = jp.mlp(sizes, activation).params_like
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(dtype), like)
    inputs, targets = rng.uniform(size=(2, sizes[0])), np.eye(sizes[-1])[:2]
    return i, params, (inputs.astype(dtype), targets.astype(dtype))


@cache
def function_of(make: Callable, i: int) -> Callable:
    """Made once for each network, so that what it compiles is compiled once."""
    return make(jp.mlp(*NETWORKS[i]), jp.squared_error)


def good_examples(n: int = 6) -> jp.Examples:
    rng = np.random.default_rng(n)
    return jp.Examples(rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.int32))


# The properties


def a_network_of_any_sizes(data: st.DataObject) -> None:
    size = st.sampled_from([*WHOLE[:6], *WHOLE[7:]])
    sizes = data.draw(st.lists(size, max_size=4) | st.lists(st.integers(1, 5), min_size=2, max_size=3) | size)
    activation = data.draw(st.sampled_from(["sigmoid", "relu", "tanh", "identity", "step", None, 3, ["relu"]]))
    answers(lambda: jp.mlp(sizes, activation).init(jax.random.key(0)), "sizes", "activation")


def a_network_of_any_layers(data: st.DataObject) -> None:
    layer = st.sampled_from([jp.dense(3), jp.relu(), jp.flatten(), jp.chain(jp.dense(2)), *[jp.dense, None, "relu", 3]])
    layers = data.draw(st.lists(layer, max_size=4) | st.sampled_from([None, 3, "relu", (jp.dense(2), jp.tanh())]))
    in_shape = data.draw(st.lists(st.sampled_from(WHOLE[:6]), max_size=3) | st.sampled_from([None, 4, "4", (4,), ()]))
    answers(lambda: jp.Network(layers, in_shape).init(jax.random.key(0)), "layer", "in_shape")


def a_gradient_that_is_checked(data: st.DataObject) -> None:
    i, params, batch = drawn_point(data, 0, 1)
    rule = data.draw(st.sampled_from([jp.autodiff, jp.backprop, jp.loss, jp.per_example_nudges]))
    params, batch = spoiled(data, params), spoiled(data, batch)
    answers(lambda: jp.checked(function_of(rule, i))(params, batch), "params", "inputs", "targets", "batch", "example")


def a_comparison(data: st.DataObject) -> None:
    i, params, batch = drawn_point(data, 0, 1)
    rules = [function_of(rule, i) for rule in (jp.autodiff, jp.backprop)]
    params, batch = spoiled(data, params), spoiled(data, batch)
    number = st.sampled_from([None, 0, 1e-4, -1, *NUMBERS, "0.1", [1.0]])
    tolerance, scale = data.draw(number), data.draw(number | st.just(params))

    def compared() -> list[float]:
        found = jp.compare(*rules, params, batch, tolerance=tolerance, scale=scale)
        assert found.agree or found.failures
        return [leaf.max_difference for leaf in found.leaves if leaf.agree and leaf.max_difference is not None]

    names = ("params", "parameter", "inputs", "targets", "batch", "example", "tolerance", "scale", "reference")
    answers(compared, *names)


def a_check(data: st.DataObject) -> None:
    i, params, batch = drawn_point(data, 0)
    rules = [function_of(rule, i) for rule in (jp.autodiff, jp.backprop)]
    probe = jp.Probe("a point", spoiled(data, params), spoiled(data, batch))
    probes = data.draw(st.sampled_from([[probe]] * 5 + [[], None, [params]]))
    answers(lambda: jp.check(*rules, probes).agree, "probe")


def a_pair_of_examples(data: st.DataObject) -> None:
    images, labels = good_examples(3)
    if data.draw(st.booleans()):
        images = spoiled_array(data, images)
    if data.draw(st.booleans()):
        labels = spoiled_array(data, labels)
    in_shape = data.draw(st.sampled_from([None, (784,), (28, 28, 1), (8, 8)]))
    dtype = data.draw(st.sampled_from([None, jnp.float32, jnp.bfloat16, np.float16, jnp.int32, "text"]))

    def batch() -> Any:
        jp.check_examples((images, labels), in_shape)
        inputs, targets = jp.as_batch(images, labels, dtype, in_shape)
        np.testing.assert_array_equal(np.sum(targets, axis=1), 1)
        return inputs, targets

    answers(batch, "images", "labels", "dtype", "examples")


def scores_and_average_nudges(data: st.DataObject) -> None:
    """These look at shapes and types alone, and take nothing but arrays."""
    ways = WAYS[1:-1]
    _, params, _ = drawn_point(data, 2)
    make = data.draw(st.sampled_from([jp.make_evaluate, jp.average_nudges]))
    params, examples = (spoiled(data, tree, ways, others=False) for tree in (params, good_examples(2)))
    answers(lambda: of_digits(make)(params, examples), "params", "images", "labels", "data")


@cache
def of_digits(make: Callable) -> Callable:
    return make(jp.mlp(*NETWORKS[2]), jp.squared_error, jp.as_batch)


@cache
def compiled_epoch(rate: float) -> tuple:
    network, optimizer = jp.mlp((784, 3, 10)), optax.sgd(rate)
    epoch = jax.jit(jp.make_epoch(jp.make_step(jp.backprop(network, jp.squared_error), optimizer), jp.as_batch))
    return epoch, jp.init_state(network.init(jax.random.key(0)), optimizer)


def a_fit(data: st.DataObject) -> None:
    epoch, state = compiled_epoch(data.draw(st.sampled_from([1.0, 1e38, np.nan])))
    numbers = {"batch_size": 3, "epochs": 2, "begin": 0, "steps_per_call": None}
    for name in data.draw(st.lists(st.sampled_from(list(numbers)), max_size=2, unique=True)):
        numbers[name] = data.draw(st.sampled_from(WHOLE))
    if numbers["epochs"] == 10**9:
        numbers["epochs"] = 1  # right, and for years
    if data.draw(st.integers(0, 3)) == 0:
        number = np.float32(data.draw(st.sampled_from(NUMBERS)))
        state = state._replace(params=jax.tree.map(lambda leaf: leaf * number, state.params))
    # How many arrays the data are is between the caller and `to_batch`.
    examples = spoiled(data, good_examples(), others=False)
    if data.draw(st.integers(0, 9)) == 0:
        examples = data.draw(st.sampled_from([None, "text", (), np.ones(3), 7]))

    def fitted() -> Any:
        return [(state.params, metrics.costs) for state, metrics in jp.fit(epoch, state, examples, key=key, **numbers)]

    key = jax.random.key(0)
    answers(fitted, *numbers, "learning_rate", "params", "images", "labels", "examples", "inputs", "data")


def an_order_of_examples(data: st.DataObject) -> None:
    n, batch_size = data.draw(st.integers(0, 20)), data.draw(st.sampled_from(WHOLE))

    def order() -> Any:
        rows = jp.epoch_order(jax.random.key(0), n, batch_size)
        assert rows.shape == (jp.steps_per_epoch(n, batch_size), batch_size)
        return rows

    answers(order, "batch_size")


def a_file_of_parameters(data: st.DataObject, path: Any) -> None:
    sizes, activation = data.draw(st.sampled_from(NETWORKS))
    network = jp.mlp(sizes, activation)
    params = spoiled(data, jax.tree.map(np.asarray, network.init(jax.random.key(0))))
    facts = data.draw(st.sampled_from([(sizes, activation)] * 3 + [(sizes, "step"), ((3,), "relu"), (None, None)]))

    def there_and_back() -> Any:
        jp.save_params(path, network, params, sizes=facts[0], activation=facts[1])
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            path.write_bytes(content)
        for loaded in (jp.load_params(path, network), jp.load_mlp(path)[1]):
            jax.tree.map(np.testing.assert_array_equal, loaded, params)  # a NaN that was saved comes back
        return ()

    answers(there_and_back, "params", "sizes", "activation", path.name)


def a_data_set_of_any_name(data: st.DataObject, path: Any) -> None:
    name = data.draw(st.sampled_from(["digits", "mnist", "letters", "", None, 3, ["digits"]]))
    folder = data.draw(st.sampled_from([path.parent, path.parent / "nowhere", path, "", 3]))
    answers(lambda: jp.load_dataset(name, folder).train.labels, "dataset", "archives", str(folder), "digits")


# So many calls of each in every test run; ten times as many on demand.
CALLS = {
    a_network_of_any_sizes: 15,
    a_network_of_any_layers: 20,
    a_gradient_that_is_checked: 35,
    a_comparison: 30,
    a_check: 10,
    a_pair_of_examples: 20,
    scores_and_average_nudges: 15,
    a_fit: 20,
    an_order_of_examples: 5,
    a_file_of_parameters: 20,
    a_data_set_of_any_name: 10,
}
WITH_A_FILE = (a_file_of_parameters, a_data_set_of_any_name)


def examine(fuzzed: Callable, calls: int, path: Any, **more: Any) -> None:
    # A call that fails is shown as it was drawn: to shrink it takes minutes where each step compiles something.
    once: dict[str, Any] = {"phases": [Phase.generate], "deadline": None, "database": None}

    @settings(max_examples=calls, suppress_health_check=list(HealthCheck), **once, **more)
    @given(st.data())
    def examined(data: st.DataObject) -> None:
        fuzzed(data, path) if fuzzed in WITH_A_FILE else fuzzed(data)

    with np.errstate(all="ignore"):  # what overflows on purpose
        examined()


def test_the_calls_are_200():
    assert sum(CALLS.values()) == 200


@pytest.mark.parametrize("fuzzed", CALLS, ids=lambda fuzzed: fuzzed.__name__)
def test_answers_or_names_what_is_wrong(fuzzed, tmp_path):
    examine(fuzzed, CALLS[fuzzed], tmp_path / "file.npz", derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("fuzzed", CALLS, ids=lambda fuzzed: fuzzed.__name__)
def test_2000_others_do_too(fuzzed, tmp_path):
    examine(fuzzed, 10 * CALLS[fuzzed], tmp_path / "file.npz")
