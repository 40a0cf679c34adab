"""No backward pass of the library lets JAX differentiate: neither by calling it, nor by a rule that it brings along.

Two ways to find out. JAX's own differentiation is replaced by something that raises, and every layer and cost goes
forwards and backwards. And the program that comes of a backward pass is looked through for what `jax.custom_jvp` and
`jax.custom_vjp` leave in one. Nothing is computed: the programs are traced from shapes alone.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from jax._src.interpreters import ad

import jaxprop as jp
import jaxprop.layers
from jaxprop.structured import expand, norm_squared, sum_over_examples


class Case(NamedTuple):
    """A layer, and the shape of one example's input."""

    layer: jp.Layer
    in_shape: tuple[int, ...]


# One for each function that makes a layer, by its name.
CASES = {
    "attention": Case(jp.attention(2, causal=True), (3, 4)),
    "avg_pool": Case(jp.avg_pool(2), (5, 4, 2)),
    "chain": Case(jp.chain(jp.dense(3), jp.tanh()), (4,)),
    "conv2d": Case(jp.conv2d(2, (3, 2), (2, 1)), (6, 5, 3)),
    "dense": Case(jp.dense(3), (4,)),
    "elementwise": Case(jp.elementwise("cube", lambda z: z**3, lambda z, a: 3 * z**2), (4,)),
    "embedding": Case(jp.embedding(5, 2), (3,)),
    "flatten": Case(jp.flatten(), (2, 3)),
    "gelu": Case(jp.chain(jp.gelu(), jp.gelu(exact=True)), (4,)),
    "group_norm": Case(jp.group_norm(2), (3, 4)),
    "identity": Case(jp.identity(), (4,)),
    "last": Case(jp.last(), (3, 2)),
    "layer_norm": Case(jp.layer_norm(), (3, 4)),
    "leaky_relu": Case(jp.leaky_relu(), (4,)),
    "lstm": Case(jp.lstm(2), (3, 2)),
    "max_pool": Case(jp.max_pool(2), (5, 4, 2)),
    "positions": Case(jp.positions(5), (3, 2)),
    "positionwise": Case(jp.positionwise(jp.dense(3)), (3, 2)),
    "relu": Case(jp.relu(), (4,)),
    "residual": Case(jp.residual(jp.chain(jp.dense(4), jp.tanh())), (4,)),
    "rms_norm": Case(jp.rms_norm(), (3, 4)),
    "rnn": Case(jp.rnn(2), (3, 2)),
    "sigmoid": Case(jp.sigmoid(), (4,)),
    "softmax": Case(jp.softmax(), (4,)),
    "softplus": Case(jp.softplus(), (4,)),
    "swiglu": Case(jp.swiglu(), (3, 4)),
    "swish": Case(jp.swish(), (4,)),
    "tanh": Case(jp.tanh(), (4,)),
}
COSTS = {
    "squared_error": (jp.squared_error, jnp.ones(3)),
    "softmax_cross_entropy": (jp.softmax_cross_entropy, jnp.int32(1)),
    "softmax_cross_entropy, shares": (jp.softmax_cross_entropy, jnp.full(3, 1 / 3)),
}


def test_every_function_that_makes_a_layer_is_here():
    no_makers = ("attend", "attend_backward")  # what attention is made of
    makers = {name for name in jaxprop.layers.__all__ if name[0].islower() and name not in no_makers}
    assert set(CASES) == makers


def shapes(case: Case, examples: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """Of the parameters, and of an example's inputs or those of some examples."""
    kind = jnp.int32 if case.layer.takes_integers else jnp.float32
    params = jax.eval_shape(lambda key: case.layer.init(key, case.in_shape)[0], jax.random.key(0))
    return params, jax.ShapeDtypeStruct((*examples, *case.in_shape), kind)


def there_and_back(layer: jp.Layer) -> Callable:
    """`f(params, x)`: the gradients of a batch in all their forms, and that by its inputs."""

    def f(params: Any, x: jax.Array) -> Any:
        def one(x: jax.Array) -> Any:
            y, residuals = layer.forward(params, x)
            return layer.backward(params, residuals, y)

        dparams, dx = jax.vmap(one)(x)
        return dx, expand(dparams), sum_over_examples(dparams), jax.vmap(norm_squared)((dparams, jnp.ones(len(x))))

    return f


@pytest.fixture
def no_differentiation(monkeypatch):
    """Whoever differentiates by JAX from now on gets an error, by any name: all ways lead through these two traces.

    They are no part of JAX's public face, so that the trap itself is tested below.
    """

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("JAX was asked to differentiate")

    for trace in (ad.JVPTrace, ad.LinearizeTrace):
        monkeypatch.setattr(trace, "__init__", refuse)


# As a module that has imported them by name before has them.
BY_NAME = {
    "vjp": lambda z, da, vjp=jax.vjp: vjp(jnp.tanh, z)[1](da)[0],
    "grad": lambda z, da, grad=jax.grad: grad(lambda z: jnp.sum(jnp.tanh(z) * da))(z),
    "jvp": lambda z, da, jvp=jax.jvp: jvp(jnp.tanh, (z,), (da,))[1],
    "linearize": lambda z, da, linearize=jax.linearize: linearize(jnp.tanh, z)[1](da),
}


@pytest.mark.usefixtures("no_differentiation")
@pytest.mark.parametrize("name", BY_NAME)
def test_the_trap_catches_whoever_differentiates(name):
    wrong = jp.tanh()._replace(
        forward=lambda params, z: (jnp.tanh(z), z),
        backward=lambda params, z, da: ((), BY_NAME[name](z, da)),
    )
    with pytest.raises(AssertionError, match="JAX was asked to differentiate"):
        jax.make_jaxpr(there_and_back(wrong))(*shapes(Case(wrong, (3,)), (2,)))


@pytest.mark.usefixtures("no_differentiation")
@pytest.mark.parametrize("name", CASES)
def test_no_layer_differentiates(name):
    jax.make_jaxpr(there_and_back(CASES[name].layer))(*shapes(CASES[name], (2,)))


@pytest.mark.usefixtures("no_differentiation")
@pytest.mark.parametrize("name", COSTS)
def test_no_cost_differentiates(name):
    cost, target = COSTS[name]
    jax.make_jaxpr(cost.gradient)(jnp.arange(3.0), target)


@pytest.mark.usefixtures("no_differentiation")
def test_backprop_of_a_whole_network_differentiates_nowhere():
    network = jp.transformer(tokens=4, length=3, classes=3, width=4, heads=2, depth=1)
    batch = jnp.zeros((2, 3), int), jnp.zeros((2, 3), int)
    jax.make_jaxpr(jp.backprop(network, jp.softmax_cross_entropy))(network.params_like, batch)


def rules_in(jaxpr: Any) -> Iterator[str]:
    """The functions with a derivative rule in a program, within the functions that it calls too."""
    for equation in jaxpr.eqns:
        if "custom_jvp" in equation.primitive.name or "custom_vjp" in equation.primitive.name:
            yield equation.primitive.name
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from rules_in(inner)


def backward_alone(case: Case) -> Any:
    """The program of the backward pass, from residuals that are given."""
    params, x = shapes(case)
    y, residuals = jax.eval_shape(case.layer.forward, params, x)
    return jax.make_jaxpr(case.layer.backward)(params, residuals, y).jaxpr


def test_a_rule_in_a_backward_pass_would_be_seen():
    @jax.custom_jvp
    def own(z):
        return jnp.tanh(z)

    own.defjvps(lambda dz, a, z: (1 - a * a) * dz)
    found = list(rules_in(jax.make_jaxpr(jax.vmap(lambda z: own(z) + 1))(jnp.ones(3)).jaxpr))
    assert len(found) == 1


@pytest.mark.parametrize("name", CASES)
def test_no_backward_pass_holds_a_rule(name):
    assert not list(rules_in(backward_alone(CASES[name])))


@pytest.mark.parametrize("name", COSTS)
def test_no_gradient_of_a_cost_holds_a_rule(name):
    cost, target = COSTS[name]
    assert not list(rules_in(jax.make_jaxpr(cost.gradient)(jnp.arange(3.0), target).jaxpr))
