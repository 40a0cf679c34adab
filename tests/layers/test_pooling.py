"""Pooling: who gets the derivative where numbers are equal, and what stands behind the last window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxprop as jp


def dx_of(layer, x, dy):
    _, residuals = layer.forward((), x)
    dparams, dx = layer.backward((), residuals, dy)
    assert dparams == ()
    return dx[..., 0]


def test_the_largest_number_of_a_window_gets_all():
    x = jnp.array([[1.0, 2, 0, 7], [3, 0, 1, 0]])[..., None]
    y, _ = jp.max_pool(2).forward((), x)
    np.testing.assert_array_equal(y[..., 0], [[3, 7]])
    np.testing.assert_array_equal(
        dx_of(jp.max_pool(2), x, jnp.array([[[10.0], [20.0]]])), [[0, 0, 0, 20], [10, 0, 0, 0]]
    )


@pytest.mark.parametrize(
    ("window", "takes"),
    [
        ([[0, 0], [0, 0]], [[1, 0], [0, 0]]),  # blank, as most windows of a digit
        ([[0, 5], [5, 5]], [[0, 1], [0, 0]]),
        ([[0, 1], [5, 5]], [[0, 0], [1, 0]]),
        ([[-0.0, 0.0], [-1, 0.0]], [[1, 0], [0, 0]]),
    ],
)
def test_of_equal_numbers_the_first_in_the_order_of_reading_gets_all_as_autodiff_has_it(window, takes):
    x, dy = jnp.array(window, float)[..., None], jnp.ones((1, 1, 1))
    np.testing.assert_array_equal(dx_of(jp.max_pool(2), x, dy), takes)
    _, pull = jax.vjp(lambda x: jp.max_pool(2).forward((), x)[0], x)
    np.testing.assert_array_equal(pull(dy)[0][..., 0], takes)


def test_most_windows_of_a_digit_are_ties():
    # In such windows the convention decides all.
    images = jp.load_dataset("digits").train.images[:200].astype(np.float32)
    windows = images.reshape(200, 14, 2, 14, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4)
    tied = (windows == windows.max(axis=1, keepdims=True)).sum(axis=1) > 1
    assert tied.mean() > 0.5


def test_the_largest_of_negative_numbers_is_one_of_them():
    x = jnp.array([[-4.0, -2], [-3, -9]])[..., None]
    np.testing.assert_array_equal(jp.max_pool(2).forward((), x)[0], [[[-2]]])
    np.testing.assert_array_equal(dx_of(jp.max_pool(2), x, jnp.array([[[5.0]]])), [[0, 5], [0, 0]])


def test_every_number_of_a_window_gets_its_part_of_a_mean():
    x = jnp.array([[1.0, 2, 0, 7], [3, 0, 1, 0]])[..., None]
    y, _ = jp.avg_pool(2).forward((), x)
    np.testing.assert_array_equal(y[..., 0], [[1.5, 2]])
    np.testing.assert_array_equal(dx_of(jp.avg_pool(2), x, jnp.array([[[4.0], [8.0]]])), [[1, 1, 2, 2], [1, 1, 2, 2]])


@pytest.mark.parametrize("pool", [jp.max_pool, jp.avg_pool])
@pytest.mark.parametrize("remainder", [0, 1, 2])
def test_what_stands_behind_the_last_whole_window_gets_nothing(pool, remainder):
    layer, n = pool(3), 6 + remainder
    assert layer.init(jax.random.key(0), (n, 3, 1)) == ((), (2, 1, 1))
    x = jnp.arange(3.0 * n).reshape(n, 3, 1)
    dx = dx_of(layer, x, jnp.ones((2, 1, 1)))
    assert float(dx.sum()) == pytest.approx(2)
    assert not dx[6:].any()


@pytest.mark.parametrize("pool", [jp.max_pool, jp.avg_pool])
def test_what_does_not_fit_is_named_before_anything_runs(pool):
    name = pool.__name__
    with pytest.raises(jp.BadInput, match=rf"the windows of {name}\(3\) do not fit into a picture of 2 x 8"):
        pool(3).init(jax.random.key(0), (2, 8, 1))
    with pytest.raises(jp.BadInput, match=rf"{name}\(2\) takes \(height, width, channels\), not .* \(8, 8\)"):
        pool(2).init(jax.random.key(0), (8, 8))
    with pytest.raises(jp.BadInput, match=f"the windows of {name} are 0 wide"):
        pool(0)
