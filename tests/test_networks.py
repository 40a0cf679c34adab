"""Networks: their sizes, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.autodiff import loss
from jaxprop.backprop import backprop
from jaxprop.costs import squared_error
from jaxprop.errors import BadInput
from jaxprop.networks import count_parameters, mlp

NETWORK = mlp((4, 3, 2))
PARAMS = NETWORK.init(jax.random.key(0))
INPUTS, TARGETS = jnp.ones((5, 4)), jnp.ones((5, 2))


def test_the_network_of_the_lesson_has_13002_parameters():
    assert count_parameters(mlp((784, 16, 16, 10)).init(jax.random.key(0))) == 13_002


def test_the_outputs_lie_between_0_and_1_whatever_the_hidden_activation():
    for activation in ("sigmoid", "relu", "tanh", "identity"):
        network = mlp((4, 3, 2), activation)
        outputs = network.apply(network.init(jax.random.key(0)), jnp.full(4, -9.0))
        assert outputs.shape == (2,)
        assert ((outputs > 0) & (outputs < 1)).all()


def test_the_hidden_activation_is_the_one_that_was_asked_for():
    x = jnp.array([1.0, -2.0, 0.5, 3.0])
    hidden = PARAMS[0].W @ x + PARAMS[0].b
    expected = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh, "identity": lambda z: z}
    for activation, function in expected.items():
        outputs = jax.nn.sigmoid(PARAMS[2].W @ function(hidden) + PARAMS[2].b)
        np.testing.assert_array_equal(mlp((4, 3, 2), activation).apply(PARAMS, x), outputs)  # type: ignore[arg-type]


def test_relu_weights_start_wider_to_make_up_for_the_half_that_is_cut_off():
    key = jax.random.key(0)
    ratio = mlp((4, 3, 2), "relu").init(key)[0].W / mlp((4, 3, 2), "tanh").init(key)[0].W
    np.testing.assert_allclose(ratio, 2**0.5, rtol=1e-6)


@pytest.mark.parametrize("x64", [False, True])
def test_parameters_are_drawn_in_the_default_float_type(x64):
    with jax.enable_x64(x64):
        dtypes = {leaf.dtype for leaf in jax.tree.leaves(NETWORK.init(jax.random.key(0)))}
    assert dtypes == {jnp.dtype("float64" if x64 else "float32")}


@pytest.mark.parametrize(
    "sizes", [(), (784,), (784, 0, 10), (784, -16, 10), (784, 16.5, 10), (784, "16", 10), (4, None), 7, None]
)
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(BadInput, match="expected at least two whole numbers above 0"):
        mlp(sizes)


def test_an_unknown_activation_is_refused_and_the_known_ones_are_named():
    with pytest.raises(BadInput, match="'swish': expected one of sigmoid, relu, tanh, identity"):
        mlp((4, 3), "swish")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "targets", "complaint"),
    [
        (INPUTS[:, :3], TARGETS, r"inputs have shape \(5, 3\).*expects \(B, 4\)"),
        (INPUTS[0], TARGETS, r"inputs have shape \(4,\)"),
        (INPUTS, TARGETS[:, :1], r"targets have shape \(5, 1\).*expects \(B, 2\)"),
        (INPUTS[:0], TARGETS[:0], "B at least 1"),
        (INPUTS, TARGETS[:4], "5 inputs came with 4 targets"),
        (INPUTS.astype(jnp.uint8), TARGETS, "inputs are uint8: expected floats"),
        (INPUTS.at[2, 1].set(jnp.nan), TARGETS, "inputs hold a NaN or an infinity"),
        (INPUTS, TARGETS.at[0, 0].set(jnp.inf), "targets hold a NaN or an infinity"),
    ],
)
def test_a_batch_that_cannot_be_used_is_refused_by_both_hands(inputs, targets, complaint):
    for function in (loss(NETWORK, squared_error), backprop(NETWORK, squared_error)):
        with pytest.raises(BadInput, match=complaint):
            function(PARAMS, (inputs, targets))


def test_parameters_of_another_network_are_refused():
    with pytest.raises(BadInput, match=r"params have shapes .* this network expects"):
        backprop(NETWORK, squared_error)(mlp((4, 2, 2)).init(jax.random.key(0)), (INPUTS, TARGETS))


def test_shapes_are_checked_under_jit_too():
    with pytest.raises(BadInput, match="inputs have shape"):
        jax.jit(backprop(NETWORK, squared_error))(PARAMS, (INPUTS[:, :3], TARGETS))
