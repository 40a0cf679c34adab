"""A number that is not finite is seen, whatever its type; and the eager door says so in a sentence."""

import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.verify.finite import all_finite

NETWORK = jp.mlp((4, 3, 2), "tanh")
PARAMS = NETWORK.init(jax.random.key(0))
INPUTS, TARGETS = jax.random.normal(jax.random.key(1), (5, 4)), jnp.zeros((5, 2))
NOTHING = ((), ())
GRADIENTS = {rule.__name__: jax.jit(rule(NETWORK, jp.squared_error)) for rule in (jp.autodiff, jp.backprop)}


def test_every_kind_of_number_is_looked_at():
    good = {"f": np.array([-0.0, 3e38], np.float32), "i": jnp.arange(3), "b": True, "none": (), "empty": jnp.zeros(0)}
    assert all_finite(good)
    dtypes = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.complex64)
    for dtype, number in itertools.product(dtypes, (np.nan, np.inf, -np.inf)):
        assert not all_finite({**good, "x": np.array([[0, number]], dtype)})
        with jax.enable_x64(True):
            assert not all_finite({**good, "x": jnp.array([[0, number]], dtype)})


@pytest.mark.parametrize("name", GRADIENTS)
def test_where_all_is_finite_the_result_is_the_same(name):
    expected = GRADIENTS[name](PARAMS, (INPUTS, TARGETS))
    result = jp.checked(GRADIENTS[name])(PARAMS, (INPUTS, TARGETS))
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, result, expected)


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_the_array_that_holds_what_is_not_finite_is_named(name, number):
    checked = jp.checked(GRADIENTS[name])
    bad_params = (PARAMS[0], (), PARAMS[2]._replace(b=PARAMS[2].b.at[1].set(number)), ())
    with pytest.raises(jp.BadInput, match=r"params\[2\]\.b holds a NaN or an infinity: every number must be finite"):
        checked(bad_params, (INPUTS, TARGETS))
    with pytest.raises(jp.BadInput, match=r"batch\[0\] holds a NaN or an infinity"):
        checked(PARAMS, (INPUTS.at[4, 0].set(number), TARGETS))
    with pytest.raises(jp.BadInput, match=r"batch\[1\] holds a NaN or an infinity"):
        checked(PARAMS, (INPUTS, TARGETS.at[0, 0].set(number)))


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_result_that_overflows_is_refused_and_says_how_large_its_causes_are(name):
    """Every number that goes in is finite; (1e30)^2 is beyond float32."""
    large = TARGETS.at[2, 1].set(-1e30)
    said = r"the result is not finite, for params reach .* and the batch 1e\+30: scale them down, or compute in a wider"
    with pytest.raises(jp.BadInput, match=said):
        jp.checked(GRADIENTS[name])(PARAMS, (INPUTS, large))


def test_a_nan_in_the_gradient_alone_is_found():
    def value_and_grad(params, batch):
        return jnp.sum(params["w"]), {"w": jnp.where(params["w"] == 0, jnp.nan, 1.0)}

    checked = jp.checked(value_and_grad)
    assert checked({"w": jnp.ones(3)}, NOTHING)[0] == 3
    with pytest.raises(jp.BadInput, match="the result is not finite, for params reach 1 and the batch 0"):
        checked({"w": jnp.array([1.0, 0.0])}, NOTHING)


def test_inside_jit_it_says_where_it_belongs():
    checked = jp.checked(jp.backprop(NETWORK, jp.squared_error))
    with pytest.raises(jp.BadInput, match=r"checked looks at numbers, which jit does not have yet: expected checked"):
        jax.jit(checked)(PARAMS, (INPUTS, TARGETS))
    with pytest.raises(jp.BadInput, match="checked looks at numbers"):
        jax.jit(lambda params: checked(params, (INPUTS, TARGETS)))(PARAMS)
    with pytest.raises(jp.BadInput, match="checked looks at numbers"):
        jax.vmap(checked, (None, 0))(PARAMS, (INPUTS[:, None], TARGETS[:, None]))


def test_what_the_gradient_itself_refuses_is_said_in_its_own_words():
    with pytest.raises(jp.BadInput, match=r"inputs have shape \(5, 3\): this network expects \(B, 4\)"):
        jp.checked(GRADIENTS["backprop"])(PARAMS, (INPUTS[:, :3], TARGETS))
