"""Every layer of the library, the same three ways.

Against `jax.vjp` of its forward pass, on shapes that are drawn: the derivative by each parameter and by the input,
their sums over examples, their norms. In float32, against autodiff's own error. And against loops in plain NumPy, which
share no line with the layer: their slopes are taken by the complex step, without any rule of differentiation.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from jax import lax

import jaxprop as jp
from jaxprop.structured import expand, norm_squared, sum_over_examples


class Case(NamedTuple):
    """A layer, and the shape of one example's input."""

    layer: jp.Layer
    in_shape: tuple[int, ...]


size = st.integers(1, 6)
even = st.integers(1, 3).map(lambda n: 2 * n)
pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
explicit = st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.tuples(st.integers(0, 3), st.integers(0, 3)))


@st.composite
def convolutions(draw) -> Case:
    """Kernels, strides and paddings of all kinds: rows are left over, and the padding may exceed the kernel."""
    kernel, stride = draw(pair), draw(pair)
    padding = draw(st.one_of(st.sampled_from(["SAME", "VALID"]), explicit))
    height, width = (draw(st.integers(k, k + 5)) for k in kernel)
    return Case(jp.conv2d(draw(size), kernel, stride, padding), (height, width, draw(st.integers(1, 3))))


@st.composite
def pools(draw, pool) -> Case:
    k = draw(st.integers(1, 3))
    return Case(pool(k), (draw(st.integers(k, 7)), draw(st.integers(k, 7)), draw(st.integers(1, 3))))


@st.composite
def attentions(draw) -> Case:
    heads = draw(st.integers(1, 3))
    return Case(jp.attention(heads, draw(st.booleans())), (draw(size), heads * draw(st.integers(1, 3))))


# For a norm: a row of one number is its own mean, and one of two has h = 1 and -1 up to eps. There dx is all rounding.
wide = st.integers(3, 6)


@st.composite
def group_norms(draw) -> Case:
    groups = draw(st.integers(1, 3))
    each = draw(wide)
    return Case(jp.group_norm(groups), (*draw(st.lists(size, max_size=2)), groups * each))


def on_any_shape(layer: jp.Layer, last=size):
    return st.tuples(st.lists(size, max_size=1), last).map(lambda parts: Case(layer, (*parts[0], parts[1])))


CASES = {
    "dense": st.tuples(size, size).map(lambda n: Case(jp.dense(n[0]), (n[1],))),
    "conv2d": convolutions(),
    "max_pool": pools(jp.max_pool),
    "avg_pool": pools(jp.avg_pool),
    "layer_norm": on_any_shape(jp.layer_norm(), wide),
    "rms_norm": on_any_shape(jp.rms_norm(), wide),
    "group_norm": group_norms(),
    "sigmoid": on_any_shape(jp.sigmoid()),
    "tanh": on_any_shape(jp.tanh()),
    "relu": on_any_shape(jp.relu()),
    "leaky_relu": on_any_shape(jp.leaky_relu(0.1)),
    "softplus": on_any_shape(jp.softplus()),
    "swish": on_any_shape(jp.swish()),
    "gelu": on_any_shape(jp.gelu()),
    "gelu(exact)": on_any_shape(jp.gelu(exact=True)),
    "swiglu": on_any_shape(jp.swiglu(), even),
    "softmax": on_any_shape(jp.softmax()),
    "embedding": st.tuples(size, size, size).map(lambda n: Case(jp.embedding(n[0], n[1]), (n[2],))),
    "positions": st.tuples(size, size, size).map(lambda n: Case(jp.positions(n[0] + n[1]), (n[0], n[2]))),
    "attention": attentions(),
    "rnn": st.tuples(size, size, size).map(lambda n: Case(jp.rnn(n[0]), n[1:])),
    "lstm": st.tuples(size, size, size).map(lambda n: Case(jp.lstm(n[0]), n[1:])),
    "last": st.tuples(size, size).map(lambda n: Case(jp.last(), n)),
    "flatten": st.tuples(size, size).map(lambda n: Case(jp.flatten(), n)),
    "positionwise": st.tuples(size, size, size).map(lambda n: Case(jp.positionwise(jp.dense(n[0])), n[1:])),
    "positionwise in positionwise": st.tuples(size, size, size).map(
        lambda n: Case(jp.positionwise(jp.positionwise(jp.dense(3))), n)
    ),
    "positionwise(conv2d)": size.map(lambda n: Case(jp.positionwise(jp.conv2d(2, 2, 2)), (n, 3, 4, 2))),
    "positionwise(embedding)": st.tuples(size, size).map(lambda n: Case(jp.positionwise(jp.embedding(3, 2)), n)),
    "residual": size.map(lambda n: Case(jp.residual(jp.chain(jp.dense(n), jp.tanh())), (n,))),
}


def point(case: Case, seed: int, examples: int = 3):
    """Parameters, inputs of some examples, and what comes back for each, of size 1, in float64 on the host.

    No parameter stays at the 0 or the 1 that it starts from, and some inputs are exactly 0.
    """
    random = np.random.RandomState(seed)
    layer, in_shape = case
    params, out_shape = layer.init(jax.random.key(0), in_shape)

    def leaf(shape):
        fan_in = math.prod(shape[:-1]) if len(shape) == 4 else shape[-1] if shape else 1
        return random.normal(size=shape) / fan_in**0.5 if len(shape) > 1 else random.uniform(0.5, 1.5, shape)

    params = jax.tree.map(lambda x: leaf(x.shape), params)
    if layer.takes_integers:
        x = random.randint(0, len(params), (examples, *in_shape))
    else:
        x = random.normal(size=(examples, *in_shape))
        x.reshape(-1)[::5] = 0
    return params, x, random.normal(size=(examples, *out_shape))


def all_backwards(layer: jp.Layer):
    """`f(params, x, dy) -> (dparams, dx)`, by the layer's own backward pass, for a batch, in factors."""

    def one(params, x, dy):
        _, residuals = layer.forward(params, x)
        return layer.backward(params, residuals, dy)

    return jax.vmap(one, (None, 0, 0))


def by_autodiff(layer: jp.Layer):
    """The same by `jax.vjp` of the forward pass."""

    def one(params, x, dy):
        if jnp.issubdtype(x.dtype, jnp.integer):
            return jax.vjp(lambda params: layer.forward(params, x)[0], params)[1](dy)[0], None
        return jax.vjp(lambda params, x: layer.forward(params, x)[0], params, x)[1](dy)

    return jax.vmap(one, (None, 0, 0))


def _sum(grads):
    return jax.tree.map(lambda leaf: leaf.sum(axis=0), grads)


# Of the largest number of an array. Sums here have at most some 100 terms of size 1, and pass through a few more
# operations; 1e-13 is 450 ulps, and what is found is below 2e-15.
TOLERANCE = 1e-13
# Through attention it is ten times that: dS is a difference of numbers that may be nearly equal.
THROUGH_ATTENTION = 1e-12


def scaled(a, b, scale) -> float:
    return float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0) / max(scale, 1e-300))


def assert_close(found, wanted, tolerance) -> None:
    """Array by array, within so much of the largest number of an array, or of 1e-3: some derivatives are exactly 0."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert scaled(a, b, max(float(np.max(np.abs(b), initial=0)), 1e-3)) <= tolerance


def check(case, seed, tolerance) -> None:
    params, x, dy = jax.tree.map(jnp.asarray, point(case, seed))

    @jax.jit
    def everything(params, x, dy):
        dparams, dx = all_backwards(case.layer)(params, x, dy)
        norms = jax.vmap(norm_squared)(dparams) if jax.tree.leaves(dparams) else jnp.zeros(len(x))
        wanted = by_autodiff(case.layer)(params, x, dy)
        return (expand(dparams), dx), sum_over_examples(dparams), norms, wanted

    found, total, norms, wanted = everything(params, x, dy)
    assert_close(found, wanted, tolerance)
    assert_close(total, jax.tree.map(lambda leaf: leaf.sum(axis=0), wanted[0]), tolerance)
    zero = jnp.zeros(len(x))
    squares = sum((jnp.sum(leaf**2, axis=range(1, leaf.ndim)) for leaf in jax.tree.leaves(wanted[0])), start=zero)
    assert_close(norms, squares, tolerance)


def examine(name, shapes) -> None:
    tolerance = THROUGH_ATTENTION if name == "attention" else TOLERANCE

    @settings(
        max_examples=shapes,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(CASES[name], st.integers(0, 1000))
    def examined(case, seed):
        with jax.enable_x64(True):
            check(case, seed, tolerance)

    examined()


@pytest.mark.parametrize("name", CASES)
def test_the_backward_pass_is_what_jax_derives(name):
    examine(name, shapes=6 if name == "conv2d" else 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_on_a_hundred_shapes_too(name):
    jax.clear_caches()
    examine(name, shapes=100)


def test_a_derivative_that_is_off_by_a_millionth_is_found(monkeypatch):
    right = jp.tanh()
    crooked = right._replace(
        backward=lambda params, residuals, dy: ((), (1 + 1e-6) * right.backward(params, residuals, dy)[1])
    )
    monkeypatch.setitem(CASES, "tanh", st.just(Case(crooked, (4,))))
    with pytest.raises(AssertionError):
        examine("tanh", shapes=1)


# One of each, for what needs no drawing.
ONE_OF_EACH = {
    "dense": Case(jp.dense(3), (5,)),
    "conv2d": Case(jp.conv2d(2, (3, 2), (2, 1), "SAME"), (6, 5, 3)),
    "conv2d, VALID, rows left over": Case(jp.conv2d(2, 2, 3, "VALID"), (7, 6, 1)),
    "conv2d, padded": Case(jp.conv2d(1, 2, 2, ((2, 0), (1, 3))), (3, 4, 2)),
    "max_pool": Case(jp.max_pool(2), (5, 4, 2)),
    "avg_pool": Case(jp.avg_pool(3), (7, 6, 2)),
    "layer_norm": Case(jp.layer_norm(), (2, 5)),
    "rms_norm": Case(jp.rms_norm(), (2, 5)),
    "group_norm": Case(jp.group_norm(2), (2, 3, 4)),
    "sigmoid": Case(jp.sigmoid(), (6,)),
    "tanh": Case(jp.tanh(), (6,)),
    "relu": Case(jp.relu(), (6,)),
    "leaky_relu": Case(jp.leaky_relu(0.1), (6,)),
    "softplus": Case(jp.softplus(), (6,)),
    "swish": Case(jp.swish(), (6,)),
    "gelu": Case(jp.gelu(), (6,)),
    "gelu(exact)": Case(jp.gelu(exact=True), (6,)),
    "swiglu": Case(jp.swiglu(), (2, 6)),
    "softmax": Case(jp.softmax(), (2, 4)),
    "embedding": Case(jp.embedding(3, 2), (5,)),
    "positions": Case(jp.positions(4), (3, 2)),
    "attention": Case(jp.attention(2), (3, 4)),
    "attention, causal": Case(jp.attention(1, causal=True), (4, 3)),
    "rnn": Case(jp.rnn(3), (4, 2)),
    "lstm": Case(jp.lstm(2), (4, 3)),
    "last": Case(jp.last(), (3, 2)),
    "positionwise": Case(jp.positionwise(jp.dense(2)), (3, 4)),
    "residual": Case(jp.residual(jp.chain(jp.dense(4), jp.tanh())), (4,)),
}


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_in_float32_it_is_no_further_off_than_twice_what_autodiff_is(name):
    # Four ulps are given where autodiff is off by less than two.
    case = ONE_OF_EACH[name]

    @jax.jit
    def both(params, x, dy):
        by_hand, by_jax = (way(case.layer)(params, x, dy) for way in (all_backwards, by_autodiff))
        if jax.tree.leaves(params):
            return sum_over_examples(by_hand[0]), _sum(by_jax[0])
        return by_hand[1], by_jax[1]

    worst = np.zeros(2)
    for seed in range(5):
        at = point(case, seed)
        with jax.enable_x64(True):
            truth = [np.asarray(leaf) for leaf in jax.tree.leaves(both(*at)[1])]
        single = jax.tree.map(lambda leaf: leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf, at)
        for i, grads in enumerate(both(*single)):
            for found, right in zip(jax.tree.leaves(grads), truth, strict=True):
                assert found.dtype == np.float32
                worst[i] = max(worst[i], scaled(found, right, np.abs(right).max()))
    assert worst[0] <= max(2 * worst[1], 4 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_parameters_are_drawn_in_the_default_float_type(name):
    layer, in_shape = ONE_OF_EACH[name]
    for x64, dtype in ((False, jnp.float32), (True, jnp.float64)):
        with jax.enable_x64(x64):
            params = jax.eval_shape(lambda key: layer.init(key, in_shape)[0], jax.random.key(0))
            assert {leaf.dtype for leaf in jax.tree.leaves(params)} <= {jnp.dtype(dtype)}


@pytest.mark.parametrize(
    ("layer", "in_shape", "wanted"),
    [
        (jp.rnn(200), (3, 100), (1 / 100**0.5, 1 / 200**0.5)),
        (jp.lstm(100), (3, 200), (1 / 200**0.5, 1 / 100**0.5)),
        (jp.attention(2), (3, 200), (1 / 200**0.5,) * 4),
        (jp.embedding(200, 100), (3,), (1,)),
        (jp.positions(200), (3, 100), (1,)),
    ],
    ids=repr,
)
def test_matrices_start_as_wide_as_is_said(layer, in_shape, wanted):
    params, _ = layer.init(jax.random.key(0), in_shape)
    spreads = [float(jnp.std(leaf)) for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    # 20,000 draws or more: the spread of their standard deviation is 1 / sqrt(40,000), and five of those are allowed.
    assert spreads == pytest.approx(wanted, rel=5 / 40_000**0.5)


# In plain NumPy, number by number


def windows(x, size, step, around=((0, 0), (0, 0))):
    """Every window of a padded picture, with its row and column."""
    x = np.pad(x, (*around, (0, 0)))
    for row in range((x.shape[0] - size[0]) // step[0] + 1):
        for column in range((x.shape[1] - size[1]) // step[1] + 1):
            top, left = row * step[0], column * step[1]
            yield row, column, x[top : top + size[0], left : left + size[1]]


def convolve(W, b, x, step, around):
    found = {(row, column): window for row, column, window in windows(x, W.shape[:2], step, around)}
    rows, columns = np.array(list(found)).max(axis=0) + 1
    y = np.zeros((rows, columns, len(b)), complex)
    for (row, column), window in found.items():
        for o in range(len(b)):
            y[row, column, o] = b[o] + np.sum(W[..., o] * window)
    return y


def pool(x, size, of_one_channel):
    rows, columns = x.shape[0] // size, x.shape[1] // size
    y = np.zeros((rows, columns, x.shape[2]), complex)
    for row, column, window in windows(x, (size, size), (size, size)):
        for c in range(x.shape[2]):
            y[row, column, c] = of_one_channel(window[..., c].reshape(-1))
    return y


def rows_of(x):
    return x.reshape(-1, x.shape[-1])


def layer_norm(params, x):
    g, b = params
    rows = [g * (row - row.mean()) / np.sqrt(np.mean((row - row.mean()) ** 2) + 1e-5) + b for row in rows_of(x)]
    return np.reshape(rows, x.shape)


def group_norm(params, x, groups=2):
    g, b = params
    parts = [
        (part - part.mean()) / np.sqrt(np.mean((part - part.mean()) ** 2) + 1e-5)
        for part in np.split(x, groups, axis=-1)
    ]
    return g * np.concatenate(parts, axis=-1) + b


def softmax(row):
    e = np.exp(row - row.real.max())
    return e / e.sum()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def attention(params, x, heads, causal):
    Wq, Wk, Wv, Wo = params
    parts = []
    for rows in np.split(np.arange(x.shape[1]), heads):
        q, k, v = x @ Wq[rows].T, x @ Wk[rows].T, x @ Wv[rows].T
        outputs = []
        for t in range(len(x)):
            seen = t + 1 if causal else len(x)
            weights = softmax(np.array([np.sum(q[t] * k[s]) for s in range(seen)]) / np.sqrt(len(rows)))
            outputs.append(sum(weight * v[s] for s, weight in enumerate(weights)))
        parts.append(np.array(outputs))
    return np.concatenate(parts, axis=1) @ Wo.T


def rnn(params, x):
    W, U, b = params
    h, states = np.zeros(len(U)), []
    for row in x:
        h = np.tanh(W @ row + U @ h + b)
        states.append(h)
    return np.array(states)


def lstm(params, x):
    W, U, b = params
    n = len(b) // 4
    h, c, states = np.zeros(n), np.zeros(n), []
    for row in x:
        z = W @ row + U @ h + b
        i, f, g, o = sigmoid(z[:n]), sigmoid(z[n : 2 * n]), np.tanh(z[2 * n : 3 * n]), sigmoid(z[3 * n :])
        c = f * c + i * g
        h = o * np.tanh(c)
        states.append(h)
    return np.array(states)


def cubic_gelu(z):
    return z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))) / 2


IN_NUMPY = {
    "dense": lambda p, x: p[0] @ x + p[1],
    # ceil(6 / 2) rows need (3 - 1) * 2 + 3 = 7 of them, and 5 columns 5 + 1: the odd one at the bottom, at the right.
    "conv2d": lambda p, x: convolve(p.W, p.b, x, (2, 1), ((0, 1), (0, 1))),
    "conv2d, VALID, rows left over": lambda p, x: convolve(p.W, p.b, x, (3, 3), ((0, 0), (0, 0))),
    "conv2d, padded": lambda p, x: convolve(p.W, p.b, x, (2, 2), ((2, 0), (1, 3))),
    "max_pool": lambda p, x: pool(x, 2, lambda numbers: numbers[np.argmax(numbers.real)]),
    "avg_pool": lambda p, x: pool(x, 3, np.mean),
    "layer_norm": layer_norm,
    "rms_norm": lambda g, x: np.reshape([g * row / np.sqrt(np.mean(row**2) + 1e-5) for row in rows_of(x)], x.shape),
    "group_norm": group_norm,
    "sigmoid": lambda p, z: sigmoid(z),
    "tanh": lambda p, z: np.tanh(z),
    "relu": lambda p, z: np.where(z.real > 0, z, 0),
    "leaky_relu": lambda p, z: np.where(z.real >= 0, z, 0.1 * z),
    "softplus": lambda p, z: np.log(1 + np.exp(z)),
    "swish": lambda p, z: z / (1 + np.exp(-z)),
    "gelu": lambda p, z: cubic_gelu(z),
    "gelu(exact)": lambda p, z: z * (1 + scipy.special.erf(z / np.sqrt(2))) / 2,
    "swiglu": lambda p, x: x[..., :3] * sigmoid(x[..., :3]) * x[..., 3:],
    "softmax": lambda p, x: np.array([softmax(row) for row in x]),
    "embedding": lambda E, ids: np.array([E[i] for i in ids]),
    "positions": lambda P, x: np.array([row + P[t] for t, row in enumerate(x)]),
    "attention": lambda p, x: attention(p, x, 2, causal=False),
    "attention, causal": lambda p, x: attention(p, x, 1, causal=True),
    "rnn": rnn,
    "lstm": lstm,
    "last": lambda p, x: x[-1],
    "positionwise": lambda p, x: np.array([p[0] @ row + p[1] for row in x]),
    "residual": lambda p, x: x + np.tanh(p[0][0] @ x + p[0][1]),
}


def slopes(function, tree, dy):
    """The derivative of sum(dy * function(tree)) by every number in a tree, by the complex step: exact to rounding."""
    leaves, structure = jax.tree.flatten(tree)
    found = []
    for n, leaf in enumerate(leaves):
        slope = np.zeros(leaf.shape)
        for at in np.ndindex(leaf.shape):
            moved = leaf.astype(complex)
            moved[at] += 1e-30j
            others = [*leaves[:n], moved, *leaves[n + 1 :]]
            slope[at] = np.sum(dy * function(jax.tree.unflatten(structure, others))).imag / 1e-30
        found.append(slope)
    return jax.tree.unflatten(structure, found)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_it_does_what_loops_in_numpy_do_and_so_do_its_derivatives(name):
    case, in_numpy = ONE_OF_EACH[name], IN_NUMPY[name]
    params, xs, dys = point(case, seed=1, examples=1)
    x, dy = xs[0], dys[0]
    with jax.enable_x64(True):
        y, residuals = case.layer.forward(*jax.tree.map(jnp.asarray, (params, x)))
        dparams, dx = jax.tree.map(np.asarray, expand(case.layer.backward(params, residuals, jnp.asarray(dy))))
    # Sums of some 20 terms of size 1, a few ulps of 2.2e-16 each.
    np.testing.assert_allclose(y, np.real(in_numpy(params, x)), rtol=0, atol=1e-13)
    wanted = slopes(lambda params: in_numpy(params, x), params, dy)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-13), dparams, wanted)
    if case.layer.takes_integers:
        assert dx is None
    else:
        np.testing.assert_allclose(dx, slopes(lambda x: in_numpy(params, x), x, dy), rtol=0, atol=1e-13)


# relu, leaky_relu and max_pool have kinks; JAX's erf is of real numbers alone, and tokens are whole ones.
NOT_ANALYTIC = {"relu", "leaky_relu", "max_pool", "gelu(exact)", "embedding"}
ANALYTIC = {name: case for name, case in ONE_OF_EACH.items() if name not in NOT_ANALYTIC}
# Those of which JAX's own function loses a complex step. The norm of the second is by Gram matrices, of 1 * (4 + 12) to
# 4 * 12 products.
LOST_BY_JAX = {
    "conv2d, padded": ANALYTIC["conv2d, padded"],
    "conv2d, one window": Case(jp.conv2d(4, 2, 1, "VALID"), (2, 2, 3)),
    "softplus": ANALYTIC["softplus"],
}


def assert_a_complex_step_sees_the_slope(case) -> None:
    """All numbers move along one direction: the imaginary part of what comes out is what `jax.jvp` says."""

    def everything(params, x, dy):
        y, residuals = case.layer.forward(params, x)
        dparams, dx = case.layer.backward(params, residuals, dy)
        return y, expand(dparams), dx, norm_squared(dparams)

    def at(seed):
        params, xs, dys = point(case, seed, examples=1)
        return jax.tree.map(jnp.asarray, (params, xs[0], dys[0]))

    @jax.jit
    def both(here, direction):
        moved = jax.tree.map(lambda x, u: lax.complex(x, 1e-30 * u), here, direction)
        by_step = jax.tree.map(lambda leaf: leaf.imag / 1e-30, everything(*moved))
        return by_step, jax.jvp(everything, here, direction)[1]

    with jax.enable_x64(True):
        # Second derivatives are among these: sums of some hundred terms of size 1, of both signs.
        by_step, by_jax = both(at(1), at(2))
        assert_close(by_step, by_jax, 1e-12)


@pytest.mark.parametrize("name", LOST_BY_JAX)
def test_a_complex_step_is_not_lost_in_a_layer_forwards_or_backwards(name):
    assert_a_complex_step_sees_the_slope(LOST_BY_JAX[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ANALYTIC)
def test_nor_in_any_other_analytic_one(name):
    assert_a_complex_step_sees_the_slope(ANALYTIC[name])
