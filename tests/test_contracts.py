"""A layer or a cost that does not keep its contract is named, by shapes alone, before anything is computed."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp

GOOD = jp.dense(5)


def with_function(**changes) -> jp.Layer:
    """A dense layer with one of its functions exchanged."""
    return GOOD._replace(name="mine", **changes)


BROKEN = [
    ({"init": lambda key, shape: (GOOD.init(key, shape)[0], (6,))}, r"output of shape \(5,\), where init said \(6,\)"),
    ({"init": lambda key, shape: GOOD.init(key, shape)[0].W}, r"init returned a .*: expected \(params, out_shape\)"),
    ({"init": lambda key, shape: (3.0, (5,))}, "its parameters hold a float: expected arrays"),
    ({"forward": lambda params, a: params.W @ a}, r"forward returned a .*: expected \(y, residuals\)"),
    ({"forward": lambda params, a: (1.0, a)}, "its outputs hold a float: expected arrays"),
    ({"backward": lambda params, a, dz: dz @ params.W}, r"backward returned a .*: expected \(dparams, dx\)"),
    (
        {"backward": lambda params, a, dz: (GOOD.backward(params, a, dz)[0], dz)},
        r"derivative by the input of shape \(5,\): expected \(4,\), as the input",
    ),
    (
        {"backward": lambda params, a, dz: (jp.Dense(jp.Outer(a, dz), dz), dz @ params.W)},
        r"by the parameters of shapes Dense\(W=\(4, 5\), b=\(5,\)\): expected Dense\(W=\(5, 4\), b=\(5,\)\)",
    ),
    ({"backward": lambda params, a, dz: ((jp.Outer(dz, a), dz), dz @ params.W)}, "derivatives by the parameters"),
    (
        {"forward": lambda params, a: (params.W.T @ a, a)},
        r"one of its functions fails on an input of shape \(4,\): dot",
    ),
    ({"backward": lambda params, a, dz: ((), dz @ params.W)}, r"by the parameters of shapes \(\): expected Dense"),
]


@pytest.mark.parametrize(("changes", "complaint"), BROKEN, ids=[str(i) for i in range(len(BROKEN))])
def test_a_layer_whose_functions_do_not_fit_each_other_is_named_with_its_place(changes, complaint):
    with pytest.raises(jp.BadInput, match=r"layer 1 \(mine\): .*" + complaint):
        jp.Network((jp.tanh(), with_function(**changes)), (4,))


def test_a_layer_that_refuses_what_the_one_before_gives_is_named_too():
    with pytest.raises(
        jp.BadInput, match=r"layer 1 \(dense\(3\)\): a dense layer takes a vector, not .* \(2, 2\): put"
    ):
        jp.Network((jp.tanh(), jp.dense(3)), (2, 2))


def test_a_layer_that_keeps_its_contract_is_taken_whatever_its_shapes():
    def rows(params, residuals, dy):
        return (), jnp.broadcast_to(dy, (3, 4))

    row_sums = jp.Layer("sum", lambda key, shape: ((), shape[1:]), lambda params, x: (x.sum(0), ()), rows)
    network = jp.Network((row_sums, GOOD), (3, 4))
    assert network.out_shape == (5,)
    assert [leaf.shape for leaf in jax.tree.leaves(network.params_like)] == [(5, 4), (5,)]


def value(outputs, target):
    return jnp.sum((outputs - target) ** 2)


def gradient(outputs, target):
    return 2 * (outputs - target)


@pytest.mark.parametrize(
    ("cost", "complaint"),
    [
        (
            jp.Cost(lambda a, y: (a - y) ** 2, gradient),
            r"the cost of one example has shape \(2,\): expected one number",
        ),
        (jp.Cost(value, lambda a, y: jnp.sum(a - y)), r"gradient for one example has shape \(\): .* outputs, \(2,\)"),
        (jp.Cost(value, lambda a, y: (a - y)[:1]), r"gradient for one example has shape \(1,\): .* outputs, \(2,\)"),
    ],
)
def test_a_cost_of_other_shapes_would_broadcast_and_is_refused(cost, complaint):
    network = jp.mlp((3, 2))
    params = network.init(jax.random.key(0))
    batch = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    for way in (jp.backprop(network, cost), jax.jit(jp.backprop(network, cost))):
        with pytest.raises(jp.BadInput, match=complaint):
            way(params, batch)
    if cost.value is value:
        with pytest.raises(jp.BadInput, match=complaint):
            jp.wishes(network, cost)(params, batch[0][0], batch[1][0])
    else:
        for way in (jp.loss(network, cost), jp.autodiff(network, cost)):
            with pytest.raises(jp.BadInput, match=complaint):
                way(params, batch)
        with pytest.raises(jp.BadInput, match=complaint):
            jp.make_evaluate(network, cost)(params, batch)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(eq=False)
class NeverEqual:
    """A container of parameters that is equal to nothing but itself."""

    w: Any


def test_parameters_may_lie_in_any_container():
    def init(key, shape):
        return NeverEqual(jnp.full(shape, 2.0)), shape

    def backward(params, x, dy):
        return NeverEqual(dy * x), dy * params.w

    scale = jp.Layer("scale", init, lambda params, x: (params.w * x, x), backward)
    network = jp.Network((scale,), (3,))
    params, batch = network.init(jax.random.key(0)), (jnp.ones((2, 3)), jnp.zeros((2, 3)))
    reference, candidate = jp.autodiff(network, jp.squared_error), jp.backprop(network, jp.squared_error)
    assert jp.compare(reference, candidate, params, batch).agree
    with pytest.raises(jp.BadInput, match="params have shapes"):
        candidate((NeverEqual(jnp.ones(4)),), batch)
