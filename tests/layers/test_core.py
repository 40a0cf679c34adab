"""The dense layer and how layers are put together: by hand on paper, and against JAX through `jax.custom_vjp`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.errors import BadInput
from jaxprop.layers import Dense, Layer, chain, dense, positionwise, relu, residual, sigmoid, tanh
from jaxprop.structured import Outer, OuterSum, expand


def as_custom_vjp(layer: Layer):
    """`apply(params, x)` whose derivative, to JAX, is the layer's own backward pass."""
    apply = jax.custom_vjp(lambda params, x: layer.forward(params, x)[0])

    def forward(params, x):
        y, residuals = layer.forward(params, x)
        return y, (params, residuals)

    def backward(kept, dy):
        params, residuals = kept
        dparams, dx = layer.backward(params, residuals, dy)
        return expand(dparams), dx

    apply.defvjp(forward, backward)
    return apply


def test_a_network_worked_by_hand():
    #  x  = (1, 2)
    #  z1 = (1*1 - 1*2 + 3,  2*1 + 1*2 - 1) = (2, 3),   both awake, so a1 = (2, 3)
    #  z2 = (1*2 - 2*3 + 1,  3*2 + 1*3 + 0) = (-3, 9)
    #  y  = (-4, 8): C = 1 + 1 = 2, dC/dz2 = 2 (z2 - y) = (2, 2)
    #  da1 = (1*2 + 3*2, -2*2 + 1*2) = (8, -2), and dz1 is the same
    #  dx  = (1*8 - 2*2, -1*8 - 1*2) = (4, -10)
    network = chain(dense(2), relu(), dense(2))
    params = (
        Dense(W=jnp.array([[1.0, -1.0], [2.0, 1.0]]), b=jnp.array([3.0, -1.0])),
        (),
        Dense(W=jnp.array([[1.0, -2.0], [3.0, 1.0]]), b=jnp.array([1.0, 0.0])),
    )
    z2, residuals = network.forward(params, jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(z2, [-3, 9])

    grads, dx = network.backward(params, residuals, 2 * (z2 - jnp.array([-4.0, 8.0])))
    (dW1, db1), nothing, (dW2, db2) = expand(grads)
    np.testing.assert_array_equal(db2, [2, 2])
    np.testing.assert_array_equal(dW2, [[4, 6], [4, 6]])
    assert nothing == ()
    np.testing.assert_array_equal(db1, [8, -2])
    np.testing.assert_array_equal(dW1, [[8, 16], [-2, -4]])
    np.testing.assert_array_equal(dx, [4, -10])


def test_a_chain_of_no_layers_is_the_identity():
    nothing = chain()
    x, dy = jnp.arange(3.0), jnp.array([5.0, 6.0, 7.0])
    assert repr(nothing) == "chain()"
    assert nothing.init(jax.random.key(0), (3,)) == ((), (3,))
    y, residuals = nothing.forward((), x)
    grads, dx = nothing.backward((), residuals, dy)
    assert grads == ()
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, dy)
    # In a residual it doubles what passes, both ways.
    y, residuals = residual(nothing).forward((), x)
    np.testing.assert_array_equal(y, 2 * x)
    np.testing.assert_array_equal(residual(nothing).backward((), residuals, dy)[1], 2 * dy)


def test_a_relu_that_sleeps_passes_nothing_back():
    # z1 = (1*1 - 3, 1*1 + 1) = (-2, 2): the first neuron sleeps, so neither its bias nor its weights matter.
    network = chain(dense(2), relu(), dense(1))
    params = (Dense(jnp.ones((2, 1)), jnp.array([-3.0, 1.0])), (), Dense(jnp.array([[5.0, 7.0]]), jnp.zeros(1)))
    y, residuals = network.forward(params, jnp.ones(1))
    np.testing.assert_array_equal(y, [14])
    grads, dx = network.backward(params, residuals, jnp.ones(1))
    np.testing.assert_array_equal(grads[0].b, [0, 7])
    np.testing.assert_array_equal(dx, [7])


@pytest.mark.parametrize(
    "layer", [dense(4), chain(dense(4), tanh(), chain(dense(2), sigmoid()))], ids=["dense", "chain"]
)
def test_the_backward_pass_of_a_layer_can_be_handed_to_jax(layer):
    with jax.enable_x64(True):
        params, out_shape = layer.init(jax.random.key(1), (3,))
        x, dy = jnp.array([-0.7, 0.0, 1.3]), jnp.arange(1.0, 1 + out_shape[0])

        def pulled_back(apply):
            y, pull = jax.vjp(apply, params, x)
            return y, pull(dy)

        by_backward = pulled_back(as_custom_vjp(layer))
        by_jax = pulled_back(lambda params, x: layer.forward(params, x)[0])
    # A handful of ulps: the numbers are of size 1 and a few of them are added.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-15), by_backward, by_jax)


def test_what_jax_gets_through_custom_vjp_is_the_rule_of_the_layer_itself():
    wrong = tanh()._replace(backward=lambda params, residuals, da: ((), (1 + residuals[1] ** 2) * da))
    slope = jax.grad(lambda z: as_custom_vjp(wrong)((), z))(jnp.float32(1))
    assert slope == pytest.approx(1 + np.tanh(1) ** 2, rel=1e-6)


def test_the_weight_gradient_of_one_example_stays_in_two_factors():
    params = Dense(jnp.ones((2, 3)), jnp.zeros(2))
    grads, _ = dense(2).backward(params, jnp.array([1.0, 2.0, 3.0]), jnp.array([4.0, 5.0]))
    assert isinstance(grads.W, Outer)
    np.testing.assert_array_equal(expand(grads).W, [[4, 8, 12], [5, 10, 15]])


def test_a_chain_in_a_chain_is_the_same_network():
    flat = chain(dense(4), tanh(), dense(2), sigmoid())
    nested = chain(chain(dense(4), tanh()), chain(dense(2), sigmoid()))
    params, out_shape = flat.init(jax.random.key(0), (3,))
    x, dy = jnp.array([1.0, -2.0, 0.5]), jnp.array([1.0, -1.0])
    assert out_shape == (2,)

    y, residuals = flat.forward(params, x)
    grads, dx = flat.backward(params, residuals, dy)
    pairs = params[:2], params[2:]
    y_nested, residuals_nested = nested.forward(pairs, x)
    (first, second), dx_nested = nested.backward(pairs, residuals_nested, dy)
    np.testing.assert_array_equal(y, y_nested)
    np.testing.assert_array_equal(dx, dx_nested)
    jax.tree.map(np.testing.assert_array_equal, grads, (*first, *second))


@pytest.mark.parametrize("gain", [1.0, 2**0.5])
def test_weights_start_as_wide_as_the_fan_in_asks_and_biases_at_0(gain):
    params, out_shape = dense(1000, gain).init(jax.random.key(0), (400,))
    assert out_shape == (1000,)
    assert params.W.shape == (1000, 400)
    # 400,000 draws: the spread of their standard deviation is 1 / sqrt(800,000), and five of those are allowed.
    assert float(jnp.std(params.W)) == pytest.approx(gain / 400**0.5, rel=5 / 800_000**0.5)
    assert not params.b.any()


def test_layers_of_one_chain_start_from_different_numbers():
    params, _ = chain(dense(3), dense(3)).init(jax.random.key(0), (3,))
    assert not jnp.array_equal(params[0].W, params[1].W)


def test_a_dense_layer_refuses_an_image_that_is_not_flat():
    with pytest.raises(BadInput, match=r"\(28, 28\): put jaxprop.flatten\(\) first"):
        dense(16).init(jax.random.key(0), (28, 28))


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (dense(16), "dense(16)"),
        (dense(16, 2**0.5), "dense(16, gain=1.414)"),
        (chain(dense(2), relu(), chain(sigmoid())), "chain(dense(2), relu, chain(sigmoid))"),
    ],
)
def test_a_layer_is_shown_by_its_name_which_says_what_it_was_made_with(layer, name):
    assert layer.name == repr(layer) == name


def test_what_comes_back_through_a_residual_goes_both_ways():
    # y = x + W x with W = (0 1; 0 0): dx = dy + W^T dy.
    layer = residual(dense(2))
    params = Dense(jnp.array([[0.0, 1.0], [0.0, 0.0]]), jnp.zeros(2))
    y, residuals = layer.forward(params, jnp.array([3.0, 5.0]))
    np.testing.assert_array_equal(y, [8, 5])
    grads, dx = layer.backward(params, residuals, jnp.array([10.0, 1.0]))
    np.testing.assert_array_equal(dx, [10, 11])
    np.testing.assert_array_equal(expand(grads).W, [[30, 50], [3, 5]])


def test_a_residual_refuses_a_layer_that_changes_the_shape():
    with pytest.raises(
        BadInput, match=r"residual\(dense\(3\)\) adds its input of shape \(2,\) to an output of shape \(3,\)"
    ):
        residual(dense(3)).init(jax.random.key(0), (2,))


def test_positions_share_their_parameters_and_their_gradients_add_up():
    layer = positionwise(dense(1))
    params, out_shape = layer.init(jax.random.key(0), (2, 3))
    assert out_shape == (2, 1)
    assert params.W.shape == (1, 3)
    _, residuals = layer.forward(params, jnp.array([[1.0, 2, 3], [10, 20, 30]]))
    grads, dx = layer.backward(params, residuals, jnp.array([[1.0], [2.0]]))
    assert isinstance(grads.W, OuterSum)
    np.testing.assert_array_equal(expand(grads).W, [[21, 42, 63]])
    np.testing.assert_array_equal(grads.b, [3])
    np.testing.assert_array_equal(dx, [params.W[0], 2 * params.W[0]])


def test_one_number_has_no_positions():
    with pytest.raises(BadInput, match=r"positionwise\(tanh\) takes a first axis of positions"):
        positionwise(tanh()).init(jax.random.key(0), ())
