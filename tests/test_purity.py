"""`f` and `jax.jit(f)` do the same: the same numbers with NaNs in the same places, or the same error in the same words.

A pure function looks at what is static (tree, shapes, types) and never at numbers. Each case below is called plainly
and compiled, on good input and on input that was spoiled in one place.
"""

import re
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jax.core import Tracer

import jaxprop as jp

# Eager and compiled programs add up in another order and round between other operations. Here sums have at most 8
# terms and pass through at most 4 layers, so 32 ulps of the largest number of an array are ample.
ULPS = 32

LABELS = jp.Cost(
    lambda a, label: jax.nn.logsumexp(a) - a[label],
    lambda a, label: jax.nn.softmax(a) - jax.nn.one_hot(label, a.size, dtype=a.dtype),
    takes_labels=True,
)
NETWORKS = {
    "sigmoid": (jp.mlp((3, 2)), jp.squared_error),
    "relu": (jp.mlp((3, 4, 2), "relu"), jp.squared_error),
    "pictures": (jp.Network((jp.flatten(), jp.dense(3), jp.tanh(), jp.dense(2)), (2, 2, 1)), LABELS),
}
RNG = np.random.default_rng(0)
SGD = optax.sgd(0.5, momentum=0.9)
ORDER = np.array([[3, 0], [1, 2]], np.int32)
IMAGES, DIGITS = RNG.integers(0, 256, (4, 2, 2), np.uint8), np.array([3, 0, 9, 1], np.int32)
READER = jp.mlp((4, 3, 10), "tanh")


def params_of(network):
    return jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype(np.float32), network.params_like)


def batch_for(network, cost, n=4):
    inputs = RNG.normal(size=(n, *network.in_shape)).astype(np.float32)
    if cost.takes_labels:
        return inputs, RNG.integers(0, 2, n).astype(np.int32)
    return inputs, RNG.uniform(size=(n, *network.out_shape)).astype(np.float32)


# Each case is named after what is public: a pure function, and good arguments for it.
CASES: dict[str, tuple[Callable, tuple]] = {}
for name, (network, cost) in NETWORKS.items():
    params, batch = params_of(network), batch_for(network, cost)
    for rule in (jp.loss, jp.autodiff, jp.backprop, jp.per_example, jp.per_example_nudges):
        CASES[f"{rule.__name__}, {name}"] = (rule(network, cost), (params, batch))
    one = (params, batch[0][0], batch[1][0])
    step = jp.make_step(jp.backprop(network, cost), SGD)
    CASES |= {
        f"wishes, {name}": (jp.wishes(network, cost), one),
        f"Network.apply, {name}": (network.apply, one[:2]),
        f"Network.init, {name}": (network.init, (jax.random.key(0),)),
        f"make_step, {name}": (step, (jp.init_state(params, SGD), batch)),
        f"make_epoch, {name}": (jp.make_epoch(step), (jp.init_state(params, SGD), batch, ORDER)),
        f"make_evaluate, {name}": (jp.make_evaluate(network, cost), (params, batch)),
    }

network, cost = NETWORKS["sigmoid"]
params, batch = params_of(network), batch_for(network, cost)
step = jp.make_step(jp.backprop(network, cost), SGD)
_, grads = jp.per_example(network, cost)(params, batch)
keys, rates = jax.random.split(jax.random.key(0), 2), np.array([0.1, 0.2], np.float32)
own_rates = optax.inject_hyperparams(optax.sgd)(1.0)
CASES |= {
    "squared_error.value": (jp.squared_error.value, (batch[1][0], batch[1][1])),
    "squared_error.gradient": (jp.squared_error.gradient, (batch[1][0], batch[1][1])),
    "per_example_scale": (partial(jp.per_example_scale, jp.per_example(network, cost)), (params, batch)),
    "init_state": (lambda params: jp.init_state(params, SGD), (params,)),
    "count_parameters": (jp.count_parameters, (params,)),
    "hvp": (jp.hvp(jp.backprop(network, cost)), (params, batch, params)),
    "average_nudges": (jp.average_nudges(network, cost), (params, batch)),
    "with_norms": (jp.with_norms(network, cost), (params, batch)),
    "clipped": (jp.clipped(network, cost, 0.1), (params, batch)),
    "with_moments": (jp.with_moments(network, cost), (params, batch)),
    "with_cosines": (jp.with_cosines(network, cost), (params, batch)),
    "with_health": (jp.with_health(network, cost, SGD), (jp.init_state(params, SGD), batch)),
    "init_ensemble": (lambda keys: jp.init_ensemble(network, SGD, keys), (keys,)),
    "init_ensemble, rates": (lambda *ensemble: jp.init_ensemble(network, own_rates, *ensemble), (keys, rates)),
    "make_ensemble_epoch": (jp.make_ensemble_epoch(step), (jp.init_ensemble(network, SGD, keys), batch, ORDER)),
}

# The same of digits, which become batches on the way.
network, params, digits = READER, params_of(READER), jp.Examples(IMAGES, DIGITS)
epoch = jp.make_epoch(jp.make_step(jp.autodiff(network, jp.squared_error), SGD), jp.as_batch)
as_labels = partial(jp.as_batch, in_shape=(4, 1), one_hot=False)
CASES |= {
    "as_batch": (jp.as_batch, tuple(digits)),
    "as_batch, labels": (as_labels, tuple(digits)),
    "make_evaluate, digits": (jp.make_evaluate(network, jp.squared_error, jp.as_batch), (params, digits)),
    "average_nudges, digits": (jp.average_nudges(network, jp.squared_error, jp.as_batch), (params, digits)),
    "make_epoch, digits": (epoch, (jp.init_state(params, SGD), digits, ORDER)),
}

# A layer or a gradient by itself does not know which shapes are right. Wrong ones are refused in the words of JAX, of
# which there are two sets, so here only numbers are spoiled.
KNOWS_NO_SHAPES: dict[str, tuple[Callable, tuple]] = {
    "expand": (jp.expand, (grads,)),
    "sum_over_examples": (jp.sum_over_examples, (grads,)),
    "mean_over_examples": (jp.mean_over_examples, (grads,)),
    "norm_squared": (jp.norm_squared, (jax.tree.map(lambda g: g[0], grads),)),
    "noise_scale": (jp.noise_scale, (np.array([3, 1, 2, 2], np.float32), params)),
}
LAYERS = {
    "dense": jp.dense(2),
    "sigmoid": jp.sigmoid(),
    "relu": jp.relu(),
    "tanh": jp.tanh(),
    "identity": jp.identity(),
    "flatten": jp.flatten(),
    "elementwise": jp.elementwise("square", lambda z: z * z, lambda z, a: 2 * z),
    "chain": jp.chain(jp.dense(3), jp.relu(), jp.dense(2)),
}
for name, layer in LAYERS.items():
    layer_params, out_shape = layer.init(jax.random.key(0), (3,))
    x, dy = jax.random.normal(jax.random.key(1), (3,)), jax.random.normal(jax.random.key(2), out_shape)
    KNOWS_NO_SHAPES[f"{name}, forward"] = (layer.forward, (layer_params, x))
    KNOWS_NO_SHAPES[f"{name}, backward"] = (layer.backward, (layer_params, layer.forward(layer_params, x)[1], dy))
    KNOWS_NO_SHAPES[f"requests, {name}"] = (jp.requests(layer), (layer_params, x, dy))
# Those that came later, with the shapes that they take. Nothing new is spoiled here but in the slow run.
LAYERS_OF_TODAY: dict[str, tuple[jp.Layer, tuple[int, ...]]] = {
    "leaky_relu": (jp.leaky_relu(), (3,)),
    "softplus": (jp.softplus(), (3,)),
    "swish": (jp.swish(), (3,)),
    "gelu": (jp.gelu(), (3,)),
    "swiglu": (jp.swiglu(), (4,)),
    "softmax": (jp.softmax(), (3,)),
    "conv2d": (jp.conv2d(1, 2), (2, 2, 1)),
    "max_pool": (jp.max_pool(), (2, 2, 1)),
    "avg_pool": (jp.avg_pool(), (2, 2, 1)),
    "layer_norm": (jp.layer_norm(), (4,)),
    "rms_norm": (jp.rms_norm(), (4,)),
    "group_norm": (jp.group_norm(1), (4,)),
    "embedding": (jp.embedding(3, 2), (2,)),
    "positions": (jp.positions(3), (2, 2)),
    "attention": (jp.attention(1), (2, 2)),
    "rnn": (jp.rnn(2), (2, 2)),
    "lstm": (jp.lstm(2), (2, 2)),
    "last": (jp.last(), (2, 2)),
    "positionwise": (jp.positionwise(jp.dense(2)), (2, 2)),
    "residual": (jp.residual(jp.dense(3)), (3,)),
}
LATER: dict[str, tuple[Callable, tuple]] = {}
for name, (layer, in_shape) in LAYERS_OF_TODAY.items():
    layer_params, out_shape = layer.init(jax.random.key(0), in_shape)
    x, dy = jax.random.normal(jax.random.key(1), in_shape), jax.random.normal(jax.random.key(2), out_shape)
    x = jnp.array([2, 0]) if layer.takes_integers else x
    LATER[f"{name}, forward"] = (layer.forward, (layer_params, x))
    LATER[f"{name}, backward"] = (layer.backward, (layer_params, layer.forward(layer_params, x)[1], dy))
logits, labels = jax.random.normal(jax.random.key(3), (2, 3)), jnp.array([2, 0], jnp.int32)
heads = jax.random.normal(jax.random.key(4), (3, 2, 1, 2))
attended, weights = jp.attend(heads[0], heads[1], heads[2], jnp.ones((2, 2), bool))
LATER |= {
    "softmax_cross_entropy.value": (jp.softmax_cross_entropy.value, (logits, labels)),
    "softmax_cross_entropy.gradient": (jp.softmax_cross_entropy.gradient, (logits, labels)),
    "attend": (jp.attend, (*heads, jnp.array([[True, False], [True, True]]))),
    "attend_backward": (jp.attend_backward, (*heads, weights, attended)),
    "sum_over_positions": (jp.sum_over_positions, (grads,)),
}
KNOWS_NO_SHAPES |= LATER
CASES |= KNOWS_NO_SHAPES
COMPILED = {name: jax.jit(function) for name, (function, _) in CASES.items()}


def outcome_of(function, arguments):
    """What comes of a call: its result, or the type and the words of its error."""
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


def is_error(outcome) -> bool:
    return isinstance(outcome, tuple) and bool(outcome) and isinstance(outcome[0], type)


def assert_same(plainly, compiled) -> None:
    """Two outcomes are the same, up to rounding."""
    if is_error(plainly) or is_error(compiled):
        assert is_error(plainly), (plainly, compiled)
        assert is_error(compiled), (plainly, compiled)
        assert plainly == compiled
        return
    assert jax.tree.structure(plainly) == jax.tree.structure(compiled)
    for a, b in zip(jax.tree.leaves(plainly), jax.tree.leaves(compiled), strict=True):
        assert_same_array(a, b)


def assert_same_array(a, b) -> None:
    dtype = jnp.result_type(a)
    assert (jnp.shape(a), dtype) == (jnp.shape(b), jnp.result_type(b))
    if not jnp.issubdtype(dtype, jnp.inexact):
        np.testing.assert_array_equal(a, b)
        return
    a, b = (np.asarray(x).astype(np.complex128) for x in (a, b))
    finite = np.isfinite(a)
    np.testing.assert_array_equal(a[~finite], b[~finite])  # a NaN for a NaN, an infinity for one of its sign
    largest = np.abs(a[finite]).max(initial=0)
    np.testing.assert_allclose(b[finite], a[finite], rtol=0, atol=ULPS * float(jnp.finfo(dtype).eps) * largest)


def assert_pure(function, compiled, arguments) -> None:
    with np.errstate(all="ignore"):
        assert_same(outcome_of(function, arguments), outcome_of(compiled, arguments))


# The square of 1e30 is beyond float32 in whatever order a program computes. Twice 3e38, divided by 4 afterwards, is so
# in one order and not in another, and nobody promises which: such numbers are left out.
NUMBERS = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]
# NumPy's int64 is left out: `jax.jit` makes int32 of it before any function is called, and messages name what they see.
DTYPES = [np.float16, jnp.bfloat16, np.int32, np.uint8, np.bool_, np.complex64]
KINDS = ("dtype", "shape", "fewer", "empty", "missing")


def spoiled(leaf: np.ndarray, draw, kinds) -> np.ndarray | None:
    how = draw(st.sampled_from(["number", "number", "number", *kinds]))
    if how == "number":
        numbers = NUMBERS if leaf.dtype.kind == "f" else [0, 9, 12, 200]
        changed = leaf.copy()
        changed.reshape(-1)[draw(st.sampled_from([0, leaf.size - 1]))] = draw(st.sampled_from(numbers))
        return changed
    if how == "dtype":
        return leaf.astype(draw(st.sampled_from(DTYPES)))
    if how == "shape":
        return draw(
            st.sampled_from([leaf[None], leaf.reshape(-1), leaf.T, leaf[..., :-1] if leaf.ndim else leaf[None]])
        )
    if how == "missing":
        return None
    return leaf[: {"fewer": -1, "empty": 0}[how]] if leaf.ndim else leaf[None]


@st.composite
def spoiled_arguments(draw, good, kinds):
    """Arguments of which one array was spoiled; keys stay as they are."""
    leaves, structure = jax.tree.flatten(good)
    arrays = [i for i, leaf in enumerate(leaves) if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)]
    if arrays:
        i = draw(st.sampled_from(arrays))
        leaves[i] = spoiled(np.asarray(leaves[i]), draw, kinds)
    return jax.tree.unflatten(structure, leaves)


@pytest.mark.parametrize("name", CASES)
def test_good_input_gives_the_same_numbers_plainly_and_compiled(name):
    function, good = CASES[name]
    assert not is_error(outcome_of(function, good))
    assert_pure(function, COMPILED[name], good)
    assert_pure(function, COMPILED[name], jax.tree.map(as_numpy_makes_it, good))


def as_numpy_makes_it(leaf):
    """In host memory, floats with 64 bits, which JAX takes as float32."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return np.asarray(leaf, np.float64 if leaf.dtype == np.float32 else leaf.dtype)


@pytest.mark.parametrize("name", CASES)
def test_a_nan_in_any_one_array_gives_the_same_plainly_and_compiled(name):
    function, good = CASES[name]
    leaves, structure = jax.tree.flatten(good)
    for i, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            changed = np.array(leaf)
            changed.reshape(-1)[-1] = np.nan
            assert_pure(
                function, COMPILED[name], jax.tree.unflatten(structure, [*leaves[:i], changed, *leaves[i + 1 :]])
            )


def examine(function, compiled, good, kinds=KINDS, calls=10, derandomize=True) -> None:
    """So many calls, each with one array spoiled, always the same ones unless told otherwise."""

    @settings(
        max_examples=calls,
        deadline=None,
        derandomize=derandomize,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(spoiled_arguments(good, kinds))
    def examined(arguments):
        assert_pure(function, compiled, arguments)

    examined()


@pytest.mark.parametrize("name", [name for name in CASES if name not in LATER])
def test_spoiled_input_gives_the_same_plainly_and_compiled(name):
    function, good = CASES[name]
    examine(function, COMPILED[name], good, () if name in KNOWS_NO_SHAPES else KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_100_others_do_too(name):
    jax.clear_caches()  # a plain epoch is a new loop each time, and what is compiled for it piles up
    function, good = CASES[name]
    examine(function, COMPILED[name], good, () if name in KNOWS_NO_SHAPES else KINDS, 100, derandomize=False)


def refuses_nan(x):
    if jnp.isnan(x).any():
        raise jp.BadInput("x holds a NaN")
    return x


def refuses_nan_where_it_can(x):
    """As the gradients here once did: it looks where there are numbers to look at."""
    return x if isinstance(x, Tracer) else refuses_nan(x)


def counts_on_the_host(x):
    return jnp.sum(x) * np.count_nonzero(np.asarray(x))


def hides_nan_where_it_can(x):
    return x if isinstance(x, Tracer) else jnp.nan_to_num(x)


def names_a_tracer(x):
    if x.ndim != 1:
        raise jp.BadInput(f"x is {type(x).__name__}: expected a vector")
    return x


@pytest.mark.parametrize(
    "impure", [refuses_nan, refuses_nan_where_it_can, counts_on_the_host, hides_nan_where_it_can, names_a_tracer]
)
def test_a_function_that_looks_at_numbers_or_at_its_mode_is_found(impure):
    with pytest.raises(AssertionError):
        examine(impure, jax.jit(impure), (np.ones(3, np.float32),), calls=50)


# Of the public functions these are not examined here, and why.
DOORS = {"check", "check_examples", "check_rule", "checked", "compare", "diagnose", "fit", "load_dataset", "load_mlp"}
DOORS |= {"load_params", "newest_checkpoint", "restore", "save_checkpoint", "save_params"}
ON_THE_HOST = {"epoch_order", "follow", "in_float64", "lenet", "mlp", "probe_networks", "probes", "probes_for"}
ON_THE_HOST |= {"steps_per_epoch", "transformer"}
ON_DEVICES = {"in_one_message", "jit_over", "local", "make_mesh", "place"}
COMPILED_BY_ITSELF = {"central_differences", "complex_step", "finite_differences", "forward_mode"}
RECORDS = {name for name in jp.__all__ if isinstance(getattr(jp, name), type)}
EXAMINED = {re.split("[.,]", name)[0] for name in CASES} - RECORDS


def test_every_public_name_is_examined_or_has_its_reason():
    lists = [DOORS, ON_THE_HOST, ON_DEVICES, COMPILED_BY_ITSELF, RECORDS, EXAMINED]
    assert set().union(*lists) == set(jp.__all__)
    assert sum(map(len, lists)) == len(jp.__all__)
