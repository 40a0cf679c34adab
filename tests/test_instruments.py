"""What every example says, against `jax.vmap(jax.grad)` of each example's own cost, in float64.

The reference multiplies everything out, and does all further arithmetic in NumPy.
"""

import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop import structured
from jaxprop.instruments import SHUT

# Of the largest number of an array. Sums of some thousand terms of the size 1, each rounded by 1e-16, in another order.
OF_THE_SCALE = 1e-12


class Diagonal(NamedTuple):
    """A structure of one's own, which has the three methods that it must have and no other."""

    d: jax.Array

    def expand(self):
        return self.d[..., None] * jnp.eye(self.d.shape[-1], dtype=self.d.dtype)

    def sum_over_examples(self):
        return jnp.diag(self.d.sum(axis=0))

    def norm_squared(self):
        return jnp.sum(self.d**2)


def diagonal() -> jp.Layer:
    """`y = diag(D) x`."""

    def init(key, in_shape):
        return jnp.diag(jax.random.normal(key, in_shape)), in_shape

    def forward(D, x):
        return jnp.diagonal(D) * x, x

    def backward(D, x, dy):
        return Diagonal(dy * x), jnp.diagonal(D) * dy

    return jp.Layer("diagonal", init, forward, backward)


NETWORKS = {
    "mlp": jp.mlp((7, 5, 4, 3), "relu"),
    # The first convolution has more windows than numbers in its kernel, the last one fewer: both forms of a norm.
    "cnn": jp.Network(
        (
            *(jp.conv2d(4, 3, stride=(2, 1)), jp.group_norm(2), jp.leaky_relu(), jp.max_pool(), jp.avg_pool(1)),
            *(jp.conv2d(5, (2, 3), padding=((1, 0), (1, 2))), jp.softplus(), jp.flatten(), jp.dense(3), jp.sigmoid()),
        ),
        (9, 6, 2),
    ),
    # Its table has more rows than there are positions, its middle more positions than numbers in a matrix.
    "attention": jp.Network(
        (
            *(jp.embedding(11, 4), jp.positions(7), jp.residual(jp.chain(jp.layer_norm(), jp.attention(2, True)))),
            jp.positionwise(jp.chain(jp.dense(12), jp.swiglu(), jp.dense(4), jp.gelu(), jp.dense(5), jp.identity())),
        ),
        (5,),
    ),
    # A table of fewer rows than positions, and matrices larger than the factors.
    "recurrence": jp.Network(
        (
            *(jp.embedding(3, 6), jp.rnn(8), jp.rms_norm()),
            jp.elementwise("half", lambda z: z / 2, lambda z, a: jnp.full_like(z, 0.5)),
            *(jp.lstm(3), jp.last(), jp.swish(), jp.dense(4), jp.tanh(), jp.softmax()),
        ),
        (5,),
    ),
    "own": jp.Network((jp.dense(3), jp.relu(), diagonal()), (2,)),
}
# Outputs count as much as their target says, so that an example whose target is 0 has a gradient of exactly 0.
WEIGHTED = jp.Cost(value=lambda a, y: jnp.sum(y * a**2), gradient=lambda a, y: 2 * y * a)
FORMS = {"mlp": [1, 2, 257], "cnn": [6], "attention": [6], "recurrence": [6], "own": [6]}
CASES = [(name, examples) for name, numbers in FORMS.items() for examples in numbers]


class Found(NamedTuple):
    """What the instruments say, and each example's gradient as JAX derives it."""

    costs: np.ndarray  # (B,)
    own: list  # for each layer of the network, (B, numbers of the layer)
    said: dict

    @property
    def whole(self) -> np.ndarray:
        return np.concatenate(self.own, axis=1)


def flat(layer, examples: int = 0) -> np.ndarray:
    """The numbers of a layer in one row; or in one row for each example."""
    leaves = [np.asarray(leaf).reshape(examples or 1, -1) for leaf in jax.tree.leaves(layer)]
    rows = np.concatenate([np.zeros((examples or 1, 0)), *leaves], axis=1)
    return rows if examples else rows[0]


def one_row(tree) -> np.ndarray:
    return np.concatenate([flat(layer) for layer in tree])


def close(found, expected, scale=None) -> None:
    """scale: of what the numbers were added up from; by default the largest of them."""
    scale = np.max(np.abs(expected), initial=0) if scale is None else scale
    np.testing.assert_allclose(found, expected, rtol=0, atol=OF_THE_SCALE * scale)


def draw(network: jp.Network, examples: int):
    """Parameters and a batch; the first of many examples has a gradient of 0."""
    rng = np.random.default_rng(examples)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), network.params_like)
    if network.layers[0].takes_integers:
        inputs = jnp.asarray(rng.integers(0, 3, (examples, *network.in_shape)))
    else:
        inputs = jnp.asarray(rng.normal(size=(examples, *network.in_shape)))
    targets = rng.normal(size=(examples, *network.out_shape))
    if examples > 1:
        targets[0] = 0
    return params, (inputs, jnp.asarray(targets))


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}, {case[1]} examples")
def found(request) -> Found:
    name, examples = request.param
    network, cost = NETWORKS[name], WEIGHTED
    with jax.enable_x64(True):
        params, batch = draw(network, examples)

        def of_one(params, x, y):
            return cost.value(network.apply(params, x), y)

        costs, grads = jax.jit(jax.vmap(jax.value_and_grad(of_one), (None, 0, 0)))(params, *batch)
        own = [flat(layer, examples) for layer in grads]
        norms = np.sort(np.linalg.norm(np.concatenate(own, axis=1), axis=1))
        learns = [np.linalg.norm(layer, axis=1) for layer in own if layer.shape[1]]
        limits = {"between": float(np.mean(norms)), "a layer": tuple(float(np.mean(layer)) for layer in learns)}
        if examples == 257:  # for the others, one limit is enough: how a gradient is shortened is one line
            limits |= {"below": float(norms[norms > 0][0] / 2), "above": float(2 * norms[-1])}

        def everything(params, batch):
            said = {
                "norms": jp.with_norms(network, cost)(params, batch),
                "cosines": jp.with_cosines(network, cost)(params, batch),
                **{limit: jp.clipped(network, cost, limits[limit])(params, batch) for limit in limits},
            }
            if examples > 1:
                said["moments"] = jp.with_moments(network, cost)(params, batch)
                (_, mean), norms = said["norms"]
                said["noise"] = jp.noise_scale(norms.whole, mean)
            return said

        with pytest.MonkeyPatch.context() as patch:
            # So that the 257 examples are squared in blocks with a rest, which else only happens to wider layers.
            patch.setattr(structured, "SQUARES", 256)
            said = jax.tree.map(np.asarray, jax.jit(everything)(params, batch))
        return Found(np.asarray(costs), own, {**said, "limits": limits})


def test_every_layer_of_the_library_is_looked_at():
    def names(layers):
        return " ".join(layer.name for layer in layers)

    all_of_them = " ".join(names(network.layers) for network in NETWORKS.values()) + " half elementwise"
    makers = [name for name, made in vars(jp).items() if inspect.isfunction(made) and "layers" in made.__module__]
    layers = [name for name in makers if inspect.signature(getattr(jp, name)).return_annotation is jp.Layer]
    assert len(layers) > 20
    assert [name for name in layers if name not in all_of_them and name != "chain"] == []


def test_the_gradient_is_the_mean_and_the_norms_are_those_of_each_examples_own(found):
    (cost, grads), norms = found.said["norms"]
    close(one_row(grads), found.whole.mean(axis=0), scale=np.abs(found.whole).max())
    # A Gram matrix gives the square, to the rounding of the largest term: so that is what is compared.
    squares = np.sum(found.whole**2, axis=1)
    close(norms.whole**2, squares)
    close(norms.layers**2, [np.sum(layer**2, axis=1) for layer in found.own], scale=squares.max())
    close(cost, found.costs.mean(), scale=np.abs(found.costs).max())
    if len(squares) > 1:
        assert norms.whole[0] == 0


def test_no_example_pulls_with_more_than_the_limit(found):
    lengths = np.linalg.norm(found.whole, axis=1)
    clipped = {"below": np.sum(lengths > 0), "above": 0}
    for limit in found.said["limits"].keys() - {"a layer"}:
        (_, grads), norms = found.said[limit]
        shorter = np.array([min(1, found.said["limits"][limit] / length) if length else 1 for length in lengths])
        close(one_row(grads), (shorter[:, None] * found.whole).mean(axis=0), scale=np.abs(found.whole).max())
        close(norms.whole**2, lengths**2)  # before they were clipped
        if limit in clipped:
            assert np.sum(shorter < 1) == clipped[limit]
        elif len(lengths) > 1:
            assert 0 < np.sum(shorter < 1) < len(lengths)


def test_each_layer_can_have_its_own_limit(found):
    (_, grads), _ = found.said["a layer"]
    limits = iter(found.said["limits"]["a layer"])
    for layer, own in zip(grads, found.own, strict=True):
        if own.shape[1]:
            limit = next(limits)
            lengths = np.linalg.norm(own, axis=1, keepdims=True)
            shorter = np.where(lengths > limit, limit / np.where(lengths == 0, 1, lengths), 1)
            close(flat(layer), (shorter * own).mean(axis=0), scale=np.abs(own).max())


def test_the_moments_are_those_of_the_examples_own_gradients(found):
    if len(found.whole) == 1:
        return  # it has no variance: another test says what it gets
    (_, grads), moments = found.said["moments"]
    close(one_row(grads), found.whole.mean(axis=0), scale=np.abs(found.whole).max())
    second = np.mean(found.whole**2, axis=0)
    close(one_row(moments.second), second)
    close(one_row(moments.variance), np.var(found.whole, axis=0, ddof=1), scale=second.max())


def test_the_cosines_are_those_with_the_mean(found):
    (_, grads), cosines = found.said["cosines"]
    mean = found.whole.mean(axis=0)
    close(one_row(grads), mean, scale=np.abs(found.whole).max())
    lengths = np.linalg.norm(found.whole, axis=1) * np.linalg.norm(mean)
    close(cosines * lengths, found.whole @ mean, scale=lengths.max())
    if len(lengths) > 1:
        assert cosines[0] == 0
    else:
        close(cosines, [1.0])


def test_the_noise_scale_is_what_the_covariance_says(found):
    if len(found.whole) == 1:
        return  # it has no noise: another test says what it gets
    noise, n = found.said["noise"], len(found.whole)
    trace = np.sum(np.var(found.whole, axis=0, ddof=1))
    squared = np.sum(found.whole.mean(axis=0) ** 2) - trace / n
    close(noise.trace, trace)
    close(noise.gradient_squared, squared, scale=trace)
    assert noise.scale == (np.inf if noise.gradient_squared <= 0 else noise.trace / noise.gradient_squared)


# The noise scale by itself


def test_its_two_parts_are_unbiased():
    """Gradients of a known mean and covariance: over many batches of three, the averages are those."""
    truth, spread, batches = jnp.array([1.0, 2.0]), jnp.array([3.0, 1.0]), 40_000
    gradients = truth + spread * jax.random.normal(jax.random.key(0), (batches, 3, 2))
    noise = jax.jit(jax.vmap(lambda g: jp.noise_scale(jnp.linalg.norm(g, axis=1), g.mean(axis=0))))(gradients)
    # Trace 10, squared norm 5. Five standard errors of the averages, which the batches themselves give.
    for name, expected in (("trace", 10.0), ("gradient_squared", 5.0)):
        numbers = getattr(noise, name)
        assert abs(numbers.mean() - expected) < 5 * numbers.std() / batches**0.5
    assert not abs(jnp.sum(gradients.mean(axis=1) ** 2, axis=-1).mean() - 5) < 0.5  # that of the mean alone is not


def test_where_the_noise_hides_the_gradient_no_batch_is_large_enough():
    opposite = jnp.array([1.0, 1.0])
    assert jp.noise_scale(opposite, {"W": jnp.zeros(3)}).scale == jnp.inf
    assert jp.noise_scale(opposite, {"W": jnp.array([1.0, 0.0, 0.0])}).scale == 0  # equal gradients: no noise at all
    assert jp.noise_scale(jnp.zeros(2), {"W": jnp.zeros(3)}).scale == jnp.inf  # no gradient either, and no NaN


# What is refused, in a sentence


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf"), None, "1", (1.0, 0.0, 1.0)])
def test_a_limit_is_a_number_above_0(limit):
    with pytest.raises(jp.BadInput, match="expected a finite number above 0"):
        jp.clipped(NETWORKS["mlp"], jp.squared_error, limit)


def test_each_layer_that_learns_has_a_limit():
    with pytest.raises(jp.BadInput, match="2 limits were given: this network has 3 layers with parameters"):
        jp.clipped(NETWORKS["mlp"], jp.squared_error, (1.0, 2.0))


def test_one_example_has_no_variance_and_no_noise():
    network = NETWORKS["mlp"]
    params = network.params_like
    with pytest.raises(jp.BadInput, match="the batch has 1 example: a variance takes two at least"):
        jax.eval_shape(jp.with_moments(network, jp.squared_error), params, (jnp.ones((1, 7)), jnp.ones((1, 3))))
    with pytest.raises(jp.BadInput, match="the batch has 1 example: a noise scale takes two at least"):
        jp.noise_scale(jnp.ones(1), params)
    with pytest.raises(jp.BadInput, match=r"norms have shape \(3, 4\)"):
        jp.noise_scale(jnp.ones((3, 4)), params)


# The health of the layers


def test_the_panel_says_what_the_next_step_would_do():
    """Activations are seen wherever they are: by themselves, in a chain, in a residual, at each position."""
    at_each = jp.positionwise(jp.tanh())
    parts = (jp.dense(4), jp.relu(), jp.residual(jp.chain(jp.dense(4), at_each, jp.dense(4), jp.relu())), jp.dense(2))
    network, optimizer = jp.Network((*parts, jp.sigmoid()), (3,)), optax.adam(0.01)
    draw = np.random.default_rng(0).normal
    params = jax.tree.map(lambda leaf: jnp.asarray(draw(size=leaf.shape), leaf.dtype), network.params_like)
    # The first neuron sleeps, whatever comes; the second is awake. The outputs are far out on the sigmoid, or are not.
    W, b = jnp.asarray(params[0].W).at[:2].set(0), jnp.array([-1.0, 1.0, 0.0, 0.0])
    # Inside, one tanh of four is far out, and two of the ReLU sleep.
    inner, _, outer, _ = params[2]
    inside = (jp.Dense(inner.W, jnp.array([50.0, 0, 0, 0])), (), jp.Dense(0 * outer.W, jnp.array([-1.0, 1, -1, 1])), ())
    params = (jp.Dense(W, b), (), inside, jp.Dense(jnp.zeros((2, 4)), jnp.array([10.0, 0.0])), ())
    state = jp.init_state(params, optimizer)
    batch = (jnp.asarray(draw(size=(5, 3)), jnp.float32), jnp.full((5, 2), 0.5))
    (cost, grads), norms, health = jax.jit(jp.with_health(network, jp.squared_error, optimizer))(state, batch)

    after, expected = jax.jit(jp.make_step(jp.backprop(network, jp.squared_error), optimizer))(state, batch)
    assert cost == expected
    for layer in (0, 2, 3):
        moved = np.linalg.norm(one_row((after.params[layer],)) - one_row((params[layer],)))
        # Two subtractions of numbers that are near each other: float32 leaves five digits of an update of 0.01.
        np.testing.assert_allclose(
            health.update_ratio[layer], moved / np.linalg.norm(one_row((params[layer],))), rtol=1e-4
        )
        np.testing.assert_allclose(health.gradient_norm[layer], np.linalg.norm(one_row((grads[layer],))), rtol=1e-6)
    assert (health.update_ratio[jnp.array([1, 4])] == 0).all()
    assert norms.whole.shape == (5,)

    z = np.asarray(batch[0]) @ np.asarray(W).T + np.asarray(b)
    np.testing.assert_allclose(health.shut, np.array([0, np.mean(z <= 0), 3 / 8, 0, 0.5]), rtol=1e-6)
    dead = np.mean(np.all(z <= 0, axis=0))
    np.testing.assert_allclose(health.dead, np.array([0, dead, 3 / 8, 0, 0.5]), rtol=1e-6)
    assert dead >= 0.25
    assert SHUT == 0.01


def test_it_trains_inside_a_scan():
    """Clipped gradients are a gradient like others: `make_step` and `make_epoch` take them."""
    network = jp.mlp((2, 3, 1))
    gradient = jp.clipped(network, jp.squared_error, 0.1)
    step = jp.make_step(lambda params, batch: gradient(params, batch)[0], optax.sgd(1.0))
    state = jp.init_state(network.init(jax.random.key(0)), optax.sgd(1.0))
    data = (jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), jnp.array([[0.0], [1.0], [1.0], [0.0]]))
    order = np.tile(np.arange(4, dtype=np.int32), (50, 1))
    after, outcome = jax.jit(jp.make_epoch(step))(state, data, order)
    assert outcome.costs[-1] < outcome.costs[0]
    moved = np.linalg.norm(one_row(after.params) - one_row(state.params))
    assert moved <= 50 * 0.1 * (1 + 1e-5)  # no step is longer than the limit; 50 sums in float32
