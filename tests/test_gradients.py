"""The gradient by the backward functions against JAX's: everywhere, in both float types, under every transformation.

Differences are measured by the largest of mean_i |g_i|, so that cancellation between examples is no error. 1e-13 of it
is 450 ulps: a few for each of the at most some hundred terms, and layers, that an element is summed up from.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxprop as jp
from jaxprop.costs import Cost, squared_error
from jaxprop.gradients import autodiff, backprop, loss, per_example
from jaxprop.layers import Dense, dense, tanh
from jaxprop.networks import Network, mlp
from jaxprop.structured import Outer, expand
from jaxprop.verify.comparison import compare, per_example_scale
from jaxprop.verify.oracles import in_float64
from jaxprop.verify.suite import random_point

ACTIVATIONS = ("sigmoid", "relu", "tanh", "identity")
LESSON = mlp((784, 16, 16, 10))


@st.composite
def networks(draw) -> Network:
    """Depths 1 to 5, widths 1 to 64."""
    return mlp(draw(st.lists(st.integers(1, 64), min_size=2, max_size=6)), draw(st.sampled_from(ACTIVATIONS)))


def as_arrays(point, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), point)


def some_point(network: Network, examples: int, seed: int = 0):
    """Parameters and a batch, in float32."""
    return as_arrays(random_point(network, np.random.RandomState(seed), examples), jnp.float32)


def agrees_in_float64(network: Network, by_jax, params, batch) -> None:
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        params, batch = as_arrays((params, batch), jnp.float64)
        both = jax.jit(
            lambda *point: (
                backprop(network, squared_error)(*point),
                per_example_scale(per_example(network, squared_error), *point),
            )
        )
        value_and_grads, scale = both(params, batch)
        comparison = compare(by_jax, lambda *_: value_and_grads, params, batch, tolerance=1e-13, scale=scale)
    assert comparison.agree, f"\n{comparison}"


# Do the two agree?


@settings(max_examples=12, deadline=None, derandomize=True)
@given(network=networks(), examples=st.integers(1, 32), seed=st.integers(0, 2**32 - 1))
def test_backprop_and_autodiff_agree_on_any_network(network, examples, seed):
    by_jax = jax.jit(autodiff(network, squared_error))
    agrees_in_float64(network, by_jax, *random_point(network, np.random.RandomState(seed), examples))


def test_they_agree_on_the_network_of_the_lesson():
    agrees_in_float64(
        LESSON, jax.jit(autodiff(LESSON, squared_error)), *random_point(LESSON, np.random.RandomState(0), 16)
    )


@pytest.mark.parametrize("seed", [pytest.param(s, marks=pytest.mark.slow) if s >= 3 else s for s in range(200)])
def test_they_agree_on_deep_and_wide_networks(seed):
    """Depth 1 to 8, width 1 to 512, batch 1 to 256. In float32 backprop may err twice as autodiff errs, or by 1e-6."""
    random = np.random.RandomState(seed)
    sizes = np.exp(random.uniform(0, np.log(512.99), random.randint(2, 10))).astype(int)
    network = mlp(sizes.tolist(), ACTIVATIONS[seed % 4])
    params, batch = random_point(network, random, int(np.exp(random.uniform(0, np.log(256.99)))))
    by_jax, by_backprop = (jax.jit(rule(network, squared_error)) for rule in (autodiff, backprop))
    agrees_in_float64(network, by_jax, params, batch)

    point = as_arrays((params, batch), jnp.float32)
    with jax.default_matmul_precision("highest"):
        gradients = [function(*point)[1] for function in (in_float64(by_jax), by_jax, by_backprop)]
    truth, of_jax, of_backprop = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)], dtype=np.float64) for grads in gradients
    )
    allowed = max(2 * np.linalg.norm(of_jax - truth), 1e-6 * np.linalg.norm(truth))
    assert np.linalg.norm(of_backprop - truth) <= allowed


def test_float32_loses_no_more_than_its_rounding_on_the_network_of_the_lesson():
    params = LESSON.init(jax.random.key(0))
    inputs = jax.nn.relu(jax.random.uniform(jax.random.key(1), (16, 784), minval=-4))  # four pixels of five are black
    truth, by_backprop = in_float64(jax.jit(autodiff(LESSON, squared_error))), jax.jit(backprop(LESSON, squared_error))
    # 2e-6 of each leaf's largest element: 17 ulps, for sums of 784 terms.
    comparison = compare(truth, by_backprop, params, (inputs, jnp.eye(16, 10)), tolerance=2e-6)
    assert comparison.agree, f"\n{comparison}"
    assert comparison.dtype == "float32"
    assert any(leaf.max_difference for leaf in comparison.leaves), "float32 cannot hit the float64 truth everywhere"


def cross_entropy() -> Cost:
    """Of a softmax, for targets that are one whole number each. Its gradient is softmax(a) - onehot(label)."""
    return Cost(
        value=lambda a, label: jax.nn.logsumexp(a) - a[label],
        gradient=lambda a, label: jax.nn.softmax(a) - jax.nn.one_hot(label, a.size, dtype=a.dtype),
        takes_labels=True,
    )


def test_targets_may_be_labels_where_the_cost_takes_these():
    network, cost = Network((dense(5), tanh(), dense(3)), (4,)), cross_entropy()
    params, (inputs, labels) = random_point(network, np.random.RandomState(0), 6, cost=cost)
    assert (labels.dtype, labels.shape) == (np.int32, (6,))
    with jax.enable_x64(True):
        point = as_arrays(params, jnp.float64), (jnp.asarray(inputs), jnp.asarray(labels))
        by_jax, by_backprop = (jax.jit(rule(network, cost)) for rule in (autodiff, backprop))
        comparison = compare(by_jax, by_backprop, *point)
    assert comparison.agree, f"\n{comparison}"


# Each of them by itself


def test_the_value_beside_the_gradient_is_the_loss():
    network = mlp((4, 3, 2))
    params, batch = network.init(jax.random.key(0)), (jnp.ones((5, 4)), jnp.zeros((5, 2)))
    expected = float(jax.jit(loss(network, squared_error))(params, batch))
    for rule in (autodiff, backprop):
        value, grads = jax.jit(rule(network, squared_error))(params, batch)
        # One ulp apart is fair: each program is compiled, and its sums ordered, by itself.
        assert float(value) == pytest.approx(expected, rel=1e-6)
        assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)


def test_nothing_in_backprop_calls_the_differentiation_of_jax(monkeypatch):
    class DifferentiatedError(Exception):
        pass

    def refuse(*args, **kwargs):
        raise DifferentiatedError

    for name in (
        "grad",
        "value_and_grad",
        "vjp",
        "jvp",
        "linearize",
        "linear_transpose",
        "custom_vjp",
        "custom_jvp",
        "jacfwd",
        "jacrev",
        "hessian",
        "custom_gradient",
    ):
        monkeypatch.setattr(jax, name, refuse)
    network = mlp((3, 2, 2), "relu")
    params, batch = some_point(network, 2)
    with pytest.raises(DifferentiatedError):
        autodiff(network, squared_error)(params, batch)
    value, grads = jax.jit(backprop(network, squared_error))(params, batch)
    assert value > 0
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(grads))


def test_the_gradient_of_each_example_is_the_gradient_of_a_batch_of_one():
    network = mlp((5, 4, 3), "tanh")
    params, batch = some_point(network, 3)
    values, grads = jax.jit(per_example(network, squared_error))(params, batch)
    assert values.shape == (3,)
    assert isinstance(grads[0].W, Outer)
    alone = jax.jit(backprop(network, squared_error))
    for i in range(3):
        value, grads_alone = alone(params, jax.tree.map(lambda x: x[i : i + 1], batch))  # noqa: B023
        # Sums of a few terms of size 1 or less: some ulps of float32.
        np.testing.assert_allclose(values[i], value, rtol=1e-6)
        each = jax.tree.map(lambda g: g[i], expand(grads))  # noqa: B023
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), each, grads_alone)


def test_it_can_be_mapped_over_several_networks():
    network = mlp((5, 4, 3), "relu")
    points = [some_point(network, 2, seed) for seed in range(3)]
    batch = points[0][1]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params for params, _ in points))
    value_and_grad = backprop(network, squared_error)
    together = jax.jit(jax.vmap(value_and_grad, (0, None)))(stacked, batch)
    one_by_one = [jax.jit(value_and_grad)(params, batch) for params, _ in points]
    for i, alone in enumerate(one_by_one):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-7), together, alone)  # noqa: B023


def test_it_can_be_scanned():
    network = mlp((5, 4, 3), "sigmoid")
    params, batch = some_point(network, 2)
    value_and_grad = backprop(network, squared_error)

    def step(params, _):
        value, grads = value_and_grad(params, batch)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), value

    scanned, values = jax.lax.scan(step, params, length=5)
    looped = params
    for i in range(5):
        looped, value = jax.jit(step)(looped, None)
        np.testing.assert_allclose(values[i], value, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), scanned, looped)
    assert values[-1] < values[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_has_the_type_of_the_parameters_and_no_switch_is_touched(dtype):
    network = mlp((3, 2))
    with jax.enable_x64(dtype == "float64"):
        params, batch = as_arrays(random_point(network, np.random.RandomState(0), 2), dtype)
        results = jax.jit(backprop(network, squared_error))(params, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype(dtype)}
    assert jnp.ones(1).dtype == "float32", "the x64 switch was left on"


# The points where JAX and the mathematics part ways


def test_at_a_kink_the_chain_rule_can_miss_the_derivative_of_a_smooth_function():
    # relu(x) - relu(-x) is x, whose derivative is 1 everywhere. At 0 autodiff adds two slopes, both 0 by convention.
    def same_as_x(x):
        return jax.nn.relu(x) - jax.nn.relu(-x)

    assert jax.grad(same_as_x)(1.0) == jax.grad(same_as_x)(-1.0) == 1
    assert jax.grad(same_as_x)(0.0) == 0
    h = 0.125
    assert (same_as_x(h) - same_as_x(-h)) / (2 * h) == 1


def test_a_maximum_with_0_has_slope_one_half_at_0_where_relu_has_0():
    # Both are max(x, 0). `jnp.maximum` halves the slope between its two arguments where they tie.
    assert jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0) == 0.5
    assert jax.grad(jax.nn.relu)(0.0) == 0


def test_both_gradients_make_the_same_choice_where_a_relu_sits_exactly_at_0():
    network = mlp((1, 1, 1), "relu")
    params = (Dense(jnp.ones((1, 1)), jnp.zeros(1)), (), Dense(jnp.ones((1, 1)), jnp.zeros(1)), ())
    batch = (jnp.zeros((1, 1)), jnp.ones((1, 1)))
    for rule in (autodiff, backprop):
        _, grads = jax.jit(rule(network, squared_error))(params, batch)
        assert grads[0].b == 0
        assert grads[2].b != 0


# Numbers that are not finite go through


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("inputs", np.nan),
        *(("parameters", number) for number in (np.nan, np.inf, 1e30)),
        *(("targets", number) for number in (np.nan, -np.inf, 1e30)),
    ],
)
def test_what_is_not_finite_or_overflows_comes_out_as_such_and_raises_nothing(where, number):
    """1e30 squared is beyond float32. Who wants an error instead asks for it, by `jaxprop.checked`."""
    network = Network((dense(3), tanh(), dense(2)), (4,))
    params, (inputs, targets) = some_point(network, 3)
    if where == "parameters":
        params = (params[0], (), params[2]._replace(b=params[2].b.at[0].set(number)))
    elif where == "inputs":
        inputs = inputs.at[1, 2].set(number)
    else:
        targets = targets.at[1, 1].set(number)
    for rule in (loss, autodiff, backprop, per_example):
        result = jax.jit(rule(network, squared_error))(params, (inputs, targets))
        cost, *_ = jax.tree.leaves(result)
        assert not jnp.isfinite(cost).all()


AT = jp.Layer(
    "first one off",
    lambda key, shape: (jnp.ones(shape), shape),
    lambda params, x: (params.at[0].set(0) * x.at[0].set(1), x),
    lambda params, x, dy: ((dy * x.at[0].set(1)).at[0].set(0), dy * params.at[0].set(0)),
)


def test_numpys_parameters_and_inputs_reach_the_layers_as_jaxs():
    """As they do under jit: a layer that works compiled works plainly."""
    network, params = jp.Network((AT,), (2,)), (np.full(2, 3.0, np.float32),)
    batch = np.ones((4, 2), np.float32), np.zeros((4, 2), np.float32)
    ways = [jp.loss, jp.autodiff, jp.backprop, jp.per_example, jp.make_evaluate, jp.average_nudges]
    for way in ways:
        function = way(network, jp.squared_error)
        jax.tree.map(np.testing.assert_array_equal, function(params, batch), jax.jit(function)(params, batch))
    assert network.apply(params, batch[0][0])[1] == 3
    found = jp.wishes(network, jp.squared_error)(params, batch[0][0], batch[1][0])[0]
    nudge_y: Any = np.asarray(found.nudge_y)
    assert jp.requests(AT)(params[0], batch[0][0], nudge_y).shape == (2, 2)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("rule", [jp.autodiff, jp.backprop])
def test_a_gradient_has_the_types_of_the_parameters_whatever_the_batch_has(rule, dtype):
    """Or an optimizer with a state could not go on: its velocity has the types of the parameters."""
    network, momentum = jp.mlp((3, 4, 2)), optax.sgd(0.1, momentum=0.9)
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), network.init(jax.random.key(0)))
    data = np.ones((6, 3), np.float32), np.zeros((6, 2), np.float32)
    _, grads = rule(network, jp.squared_error)(params, data)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(dtype)}
    epoch = jax.jit(jp.make_epoch(jp.make_step(rule(network, jp.squared_error), momentum)))
    calls = jp.fit(epoch, jp.init_state(params, momentum), data, key=jax.random.key(1), batch_size=3, epochs=1)
    assert [metrics.step for _, metrics in calls] == [2]
