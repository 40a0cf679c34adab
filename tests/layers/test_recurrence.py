"""Recurrent layers: by hand on paper, and how far a derivative travels through time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp


def test_backpropagation_through_two_positions_worked_by_hand():
    # One neuron. x = (atanh(1/2), 0), W = 1, U = 1, b = 0: h = (1/2, tanh(1/2)).
    # dy = (0, 1): dz[1] = 1 - tanh(1/2)^2 =: s, passed back U dz[1] = s, dz[0] = s (1 - 1/4).
    # dW = dz[0] x[0] + dz[1] x[1] = 3/4 s atanh(1/2); dU = dz[1] h[0] = s / 2; db = 7/4 s; dx = (3/4 s, s).
    layer = jp.rnn(1)
    params = jp.Recurrent(W=jnp.ones((1, 1)), U=jnp.ones((1, 1)), b=jnp.zeros(1))
    a, s = float(np.arctanh(0.5)), float(1 - np.tanh(0.5) ** 2)
    h, residuals = layer.forward(params, jnp.array([[a], [0.0]]))
    np.testing.assert_allclose(h[:, 0], [0.5, np.tanh(0.5)], rtol=1e-6)  # tanh, to a few ulps of float32
    grads, dx = layer.backward(params, residuals, jnp.array([[0.0], [1.0]]))
    assert isinstance(grads.W, jp.OuterSum)
    grads = jp.expand(grads)
    np.testing.assert_allclose(grads.W, [[0.75 * s * a]], rtol=1e-5)
    np.testing.assert_allclose(grads.U, [[s / 2]], rtol=1e-5)
    np.testing.assert_allclose(grads.b, [1.75 * s], rtol=1e-5)
    np.testing.assert_allclose(dx[:, 0], [0.75 * s, s], rtol=1e-5)


def test_one_position_of_an_lstm_worked_by_hand():
    # All weights 0, so the gates are those of their biases: i = o = 1/2, g = 1/2, f = 1/2. c = 1/4, h = tanh(1/4) / 2.
    # dh = 4: dc = 4 * 1/2 * (1 - tanh(1/4)^2) =: d;
    # dz = (d/2 * 1/4, 0 as there is no state before, d/2 * (1 - 1/4), 4 tanh(1/4) * 1/4).
    layer = jp.lstm(1)
    params = jp.Recurrent(jnp.zeros((4, 1)), jnp.zeros((4, 1)), jnp.array([0, 0, float(np.arctanh(0.5)), 0]))
    h, residuals = layer.forward(params, jnp.array([[2.0]]))
    tanh_c = float(np.tanh(0.25))
    np.testing.assert_allclose(h, [[tanh_c / 2]], rtol=1e-6)
    grads, dx = layer.backward(params, residuals, jnp.array([[4.0]]))
    d = 2 * (1 - tanh_c**2)
    dz = np.array([d / 8, 0, d * 3 / 8, tanh_c])
    np.testing.assert_allclose(grads.b, dz, rtol=1e-5)
    np.testing.assert_allclose(jp.expand(grads).W[:, 0], 2 * dz, rtol=1e-5)
    assert not jp.expand(grads).U.any()
    np.testing.assert_array_equal(dx, [[0]])


def test_the_cell_carries_a_derivative_through_time_where_the_state_of_an_rnn_loses_it():
    # Fifty positions, a derivative at the last one alone. The gates of the LSTM are held open: i = 0, f and o = 1.
    T = 50
    recurrent = jp.Recurrent(jnp.ones((1, 1)), jnp.full((1, 1), 0.5), jnp.zeros(1))
    gates = jp.Recurrent(jnp.zeros((4, 1)).at[2, 0].set(1), jnp.zeros((4, 1)), jnp.array([-2.0, 20, 0, 20]))
    reached = {}
    for name, layer, params in (("rnn", jp.rnn(1), recurrent), ("lstm", jp.lstm(1), gates)):
        _, residuals = layer.forward(params, jnp.full((T, 1), 0.1))
        _, dx = layer.backward(params, residuals, jnp.zeros((T, 1)).at[-1].set(1))
        reached[name] = float(dx[0, 0] / dx[-1, 0])
    assert reached["rnn"] < 0.5 ** (T - 1) * 1.01  # each position passes on at most half
    assert reached["lstm"] > 0.9


def test_the_forget_gate_starts_open():
    params, _ = jp.lstm(3).init(jax.random.key(0), (5, 2))
    np.testing.assert_array_equal(params.b, [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("layer", [jp.rnn, jp.lstm])
def test_the_loop_backwards_holds_no_gradient_of_a_weight(layer):
    # Were the weights' gradients summed inside of it, the loop would carry a matrix of theirs from step to step.
    width, T = 5, 7
    params, _ = layer(width).init(jax.random.key(0), (T, 3))
    _, residuals = layer(width).forward(params, jnp.ones((T, 3)))
    program = jax.make_jaxpr(layer(width).backward)(params, residuals, jnp.ones((T, width)))
    (scan,) = [equation for equation in program.jaxpr.eqns if equation.primitive.name == "scan"]
    carried = scan.outvars[: scan.params["num_carry"]]
    assert carried
    assert all(out.aval.shape == (width,) for out in carried)


@pytest.mark.parametrize("layer", [jp.rnn, jp.lstm])
def test_what_does_not_fit_is_named_before_anything_runs(layer):
    with pytest.raises(jp.BadInput, match=r"takes a sequence \(T, numbers\), not an input of shape \(28,\)"):
        layer(3).init(jax.random.key(0), (28,))
    with pytest.raises(jp.BadInput, match=r"the width of an (rnn|lstm) is 0: expected"):
        layer(0)
