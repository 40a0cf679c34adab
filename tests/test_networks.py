"""Networks: of what layers, known by which name, and what they refuse."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxprop.costs import softmax_cross_entropy, squared_error
from jaxprop.errors import BadInput
from jaxprop.gradients import autodiff, backprop, loss, per_example
from jaxprop.layers import (
    Dense,
    Layer,
    avg_pool,
    chain,
    conv2d,
    dense,
    flatten,
    group_norm,
    identity,
    last,
    lstm,
    positionwise,
    relu,
    rnn,
    sigmoid,
    swish,
    tanh,
)
from jaxprop.networks import Network, count_parameters, lenet, mlp, transformer
from jaxprop.verify.comparison import compare, per_example_scale

NETWORK = mlp((4, 3, 2))
PARAMS = NETWORK.init(jax.random.key(0))
INPUTS, TARGETS = jnp.ones((5, 4)), jnp.ones((5, 2))


# Multi-layer perceptrons


def test_the_network_of_the_lesson_has_13002_parameters():
    assert count_parameters(mlp((784, 16, 16, 10)).init(jax.random.key(0))) == 13_002
    assert count_parameters(mlp((784, 16, 16, 10)).params_like) == 13_002


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
    with pytest.raises(BadInput, match=r"sizes are .*: expected whole numbers above 0, such as at least two of them"):
        mlp(sizes)


def test_an_unknown_activation_is_refused_and_the_known_ones_are_named():
    with pytest.raises(BadInput, match="'swish': expected one of sigmoid, relu, tanh, identity"):
        mlp((4, 3), "swish")  # type: ignore[arg-type]


# Any layers


def image_to_vector() -> Layer:
    """A layer of one's own: (H, W, 1) to a vector, times one scalar parameter."""

    def init(key, in_shape):
        if in_shape[2:] != (1,):
            raise BadInput(f"image_to_vector takes one channel, not an input of shape {in_shape}")
        return {"scale": jnp.ones(())}, (in_shape[0] * in_shape[1],)

    def forward(params, x):
        return params["scale"] * x.reshape(-1), x

    def backward(params, x, dy):
        return {"scale": jnp.sum(x.reshape(-1) * dy)}, (params["scale"] * dy).reshape(x.shape)

    return Layer("image_to_vector", init, forward, backward)


PICTURES = Network((image_to_vector(), dense(5), relu(), dense(3)), (8, 8, 1))


def test_a_network_is_its_layers_and_their_chain_with_inputs_of_any_shape():
    assert isinstance(PICTURES.layers, tuple)
    assert [layer.name for layer in PICTURES.layers] == ["image_to_vector", "dense(5)", "relu", "dense(3)"]
    assert (PICTURES.in_shape, PICTURES.out_shape) == ((8, 8, 1), (3,))
    params, x = PICTURES.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (8, 8, 1))
    y, residuals = PICTURES.layer.forward(params, x)
    np.testing.assert_array_equal(y, PICTURES.apply(params, x))
    by_steps = x
    for layer, layer_params in zip(PICTURES.layers, params, strict=True):
        by_steps, _ = layer.forward(layer_params, by_steps)
    np.testing.assert_array_equal(y, by_steps)
    assert PICTURES.layer.backward(params, residuals, y)[1].shape == (8, 8, 1)


def test_a_network_of_ones_own_layers_has_the_same_gradient_by_both():
    params = PICTURES.init(jax.random.key(0))
    batch = (jax.random.normal(jax.random.key(1), (4, 8, 8, 1)), jax.random.normal(jax.random.key(2), (4, 3)))
    by_jax, by_backprop = (jax.jit(rule(PICTURES, squared_error))(params, batch) for rule in (autodiff, backprop))
    # In float32: sums of 64 terms of size 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), by_backprop, by_jax)


def test_params_like_has_the_tree_shapes_and_types_of_what_init_draws():
    for network in (NETWORK, PICTURES):
        params = network.init(jax.random.key(7))
        assert jax.tree.structure(params) == jax.tree.structure(network.params_like)
        drawn = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(params)]
        assert drawn == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(network.params_like)]
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(NETWORK.params_like))


def test_inputs_and_outputs_may_be_single_numbers():
    network = Network((identity(),), ())
    assert (network.in_shape, network.out_shape, network.params_like) == ((), (), ((),))
    cost, _ = backprop(network, squared_error)(((),), (jnp.array([1.0, 3.0]), jnp.zeros(2)))
    assert cost == 5


def test_a_network_is_known_by_its_layers_and_its_inputs():
    assert repr(mlp((4, 3, 2), "relu")) == "Network([dense(3, gain=1.414), relu, dense(2), sigmoid], in_shape=(4,))"
    assert repr(PICTURES) == "Network([image_to_vector, dense(5), relu, dense(3)], in_shape=(8, 8, 1))"
    assert repr(Network([tanh()], [4])) == "Network([tanh], in_shape=(4,))"  # type: ignore[arg-type]
    assert repr(Network((chain(dense(2), tanh()), dense(1)), (4,))) == (
        "Network([chain(dense(2), tanh), dense(1)], in_shape=(4,))"
    )
    others = [mlp((4, 3, 2)), mlp((4, 3, 2), "tanh"), mlp((5, 3, 2)), mlp((4, 3)), mlp((4, 2, 3))]
    assert len({repr(network) for network in others}) == len(others)
    assert len({NETWORK, NETWORK, PICTURES}) == 2, "jit takes a network as a static argument"


def test_a_network_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NETWORK.in_shape = (5,)  # type: ignore[misc]


# What makes no network


def test_layers_that_are_none_are_refused():
    wrong: list[Any] = [(), (dense(3), jnp.tanh), ("dense(3)",), (dense,), dense(3), None, 3]
    for layers in wrong:
        with pytest.raises(
            BadInput, match=r"layers are .*: expected one or more Layer records, such as jaxprop\.dense"
        ):
            Network(layers, (4,))


@pytest.mark.parametrize("in_shape", [(0,), (-4,), (4.5,), ("4",), (None,), 4, None, "4"])
def test_an_in_shape_of_no_whole_numbers_is_refused(in_shape):
    with pytest.raises(BadInput, match=r"in_shape is .*: expected whole numbers above 0, such as \(784,\)"):
        Network((dense(3),), in_shape)


def test_a_layer_that_cannot_take_what_the_one_before_gives_is_named_at_once():
    with pytest.raises(BadInput, match=r"a dense layer takes a vector, not an input of shape \(28, 28\): put jaxprop"):
        Network((dense(16), sigmoid()), (28, 28))
    with pytest.raises(BadInput, match=r"image_to_vector takes one channel, not an input of shape \(8, 8, 3\)"):
        Network((image_to_vector(), dense(5)), (8, 8, 3))
    with pytest.raises(BadInput, match=r"image_to_vector takes one channel, not an input of shape \(5,\)"):
        Network((dense(5), image_to_vector()), (4,))


# Parameters and batches that do not fit


def as_plain_tuples(params):
    return tuple((p.W, p.b) if isinstance(p, Dense) else p for p in params)


@pytest.mark.parametrize(
    "params",
    [
        mlp((4, 2, 2)).init(jax.random.key(0)),
        PARAMS[:2],
        list(PARAMS),
        as_plain_tuples(PARAMS),
        (PARAMS[0], (), PARAMS[2]._replace(b=None), ()),
        {},
        None,
        "text",
    ],
    ids=["another network", "too few", "a list", "plain tuples", "a missing leaf", "nothing", "None", "text"],
)
def test_parameters_of_another_network_are_refused_in_every_mode(params):
    for rule in (loss, autodiff, backprop, per_example):
        function = rule(NETWORK, squared_error)
        with pytest.raises(BadInput, match=r"params have shapes .*: this network expects"):
            function(params, (INPUTS, TARGETS))
    with pytest.raises(BadInput, match=r"params have shapes .*: this network expects"):
        NETWORK.apply(params, INPUTS[0])
    with pytest.raises(BadInput, match=r"params have shapes .*: this network expects"):
        NETWORK.check_params(params)


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_parameters_that_have_no_gradient_are_refused_and_the_leaf_is_named(dtype):
    params = (PARAMS[0], (), PARAMS[2]._replace(W=PARAMS[2].W.astype(dtype)), ())
    for rule in (autodiff, backprop, per_example):
        for function in (rule(NETWORK, squared_error), jax.jit(rule(NETWORK, squared_error))):
            with pytest.raises(BadInput, match=rf"params are {dtype} at \[2\]\.W: expected floats, which have a grad"):
                function(params, (INPUTS, TARGETS))


def test_a_loss_takes_complex_parameters_for_a_complex_step_and_no_whole_ones():
    params = jax.tree.map(lambda leaf: leaf + 0j, PARAMS)
    assert jnp.iscomplexobj(loss(NETWORK, squared_error)(params, (INPUTS, TARGETS)))
    whole = jax.tree.map(lambda leaf: leaf.astype(int), PARAMS)
    with pytest.raises(BadInput, match=r"params are int32 at \[0\]\.W"):
        loss(NETWORK, squared_error)(whole, (INPUTS, TARGETS))


@pytest.mark.parametrize(
    ("batch", "complaint"),
    [
        ((INPUTS[:, :3], TARGETS), r"inputs have shape \(5, 3\): this network expects \(B, 4\) with B at least 1"),
        ((INPUTS[0], TARGETS), r"inputs have shape \(4,\)"),
        ((INPUTS[..., None], TARGETS), r"inputs have shape \(5, 4, 1\)"),
        ((INPUTS[0, 0], TARGETS), r"inputs have shape \(\)"),
        ((INPUTS[:0], TARGETS[:0]), "B at least 1"),
        ((INPUTS, TARGETS[:4]), r"a batch of 5 inputs came with targets of shape \(4, 2\): expected one for each"),
        ((INPUTS, TARGETS[0, 0]), r"5 inputs came with targets of shape \(\)"),
        ((INPUTS, TARGETS[:, :1]), r"an example's target has shape \(1,\) and its outputs \(2,\)"),
        ((INPUTS, TARGETS.astype(int)), "targets are int32: the squared error expects floats"),
        ((INPUTS.astype(jnp.uint8), TARGETS), "inputs are uint8: expected floats; jaxprop.as_batch makes them"),
        ((INPUTS + 0j, TARGETS), "inputs are complex64: expected floats"),
        ((INPUTS.tolist(), TARGETS), "inputs are a list: expected an array"),
        ((INPUTS, None), "targets are a NoneType: expected an array"),
        ((INPUTS, memoryview(b"three")), "targets are a memoryview: expected an array"),  # has a shape, and no dtype
        ((INPUTS, TARGETS, TARGETS), r"batch is a tuple: expected a pair \(inputs, targets\)"),
        (None, r"batch is a NoneType: expected a pair"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_by_every_gradient(batch, complaint):
    for rule in (loss, autodiff, backprop, per_example):
        with pytest.raises(BadInput, match=complaint):
            rule(NETWORK, squared_error)(PARAMS, batch)


@pytest.mark.parametrize("shape", [(5, 4), (3,), (), (4, 1)])
def test_an_input_that_is_none_of_one_example_is_refused(shape):
    for apply in (NETWORK.apply, jax.jit(NETWORK.apply)):
        with pytest.raises(BadInput, match=r"an input has shape \(.*\): this network expects \(4,\), of one example"):
            apply(PARAMS, jnp.ones(shape))


def test_a_batch_given_to_apply_is_told_how_batches_are_done():
    inputs, hint = (
        jnp.ones((5, 4)),
        r"of one example; of a batch, jax\.vmap\(network\.apply, \(None, 0\)\)\(params, inputs\)$",
    )
    with pytest.raises(BadInput, match=hint):
        NETWORK.apply(PARAMS, inputs)
    assert jax.vmap(NETWORK.apply, (None, 0))(PARAMS, inputs).shape == (5, *NETWORK.out_shape)
    with pytest.raises(BadInput, match=r"of one example$"):
        NETWORK.apply(PARAMS, jnp.ones((4, 5)))


def test_shapes_are_checked_under_jit_and_constant_batches_may_be_closed_over():
    with pytest.raises(BadInput, match="inputs have shape"):
        jax.jit(backprop(NETWORK, squared_error))(PARAMS, (INPUTS[:, :3], TARGETS))
    with pytest.raises(BadInput, match="inputs have shape"):
        jax.jit(lambda params: backprop(NETWORK, squared_error)(params, (np.ones((5, 3), np.float32), TARGETS)))(PARAMS)
    value, _ = jax.jit(lambda params: backprop(NETWORK, squared_error)(params, (INPUTS, TARGETS)))(PARAMS)
    assert value > 0


# Networks of today

READER_OF_ROWS = Network((rnn(4), last(), dense(3)), (5, 2))
WITH_GATES = Network((positionwise(dense(4)), lstm(3), last(), dense(3)), (5, 2))
OF_PICTURES = Network((conv2d(4), group_norm(2), swish(), avg_pool(2), flatten(), dense(3)), (5, 4, 1))
OF_TODAY = {
    "rnn": (READER_OF_ROWS, 1e-13),
    "lstm": (WITH_GATES, 1e-13),
    "lenet": (lenet((12, 13, 1), classes=3), 1e-13),
    "pictures": (OF_PICTURES, 1e-13),
    # Through attention: differences of numbers that may be nearly equal.
    "transformer": (transformer(tokens=5, length=6, classes=3, width=4, heads=2), 1e-12),
}


# Of LeNet it takes long; tests/test_instruments.py has a smaller network of its layers.
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "lenet" else name for name in OF_TODAY]
)
def test_the_gradient_by_hand_of_a_network_of_today_is_that_of_autodiff(name):
    network, tolerance = OF_TODAY[name]
    random = np.random.RandomState(0)
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)) / 2, network.params_like)
        inputs = random.randint(5, size=(4, 6)) if name == "transformer" else random.normal(size=(4, *network.in_shape))
        labels = random.randint(3, size=(4, *network.out_shape[:-1]))
        by_hand, by_jax = (jax.jit(rule(network, softmax_cross_entropy)) for rule in (backprop, autodiff))
        scale = per_example_scale(jax.jit(per_example(network, softmax_cross_entropy)), params, (inputs, labels))
        found = compare(by_jax, by_hand, params, (inputs, labels), tolerance=tolerance, scale=scale)
    assert found, found


def test_lenet_halves_a_picture_twice():
    network = lenet()
    assert network.out_shape == (10,)
    # 6 x 25 + 6, 16 x 150 + 16, 400 x 120 + 120, 120 x 84 + 84, 84 x 10 + 10, as LeNet-5 has where all is connected.
    assert count_parameters(network.params_like) == 61_706
    # Weights in front of a ReLU have a mean square of 2 / inputs, those of the outputs half of that. A mean over n
    # squares of normal numbers scatters by sqrt(2 / n), here 1.1 % and 3.9 %: the bound is four of that.
    params = network.init(jax.random.key(0))
    widths = [float(jnp.var(params[i].W) * params[i].W.shape[1]) for i in (7, 11)]
    np.testing.assert_allclose(widths, [2, 1], rtol=0.16)
    with pytest.raises(BadInput, match="kernel of 5 x 5 does not fit into a picture of 4 x 4"):
        lenet((8, 8, 1))


def test_a_transformer_says_nothing_of_a_token_before_it_has_come():
    network = transformer(tokens=5, length=6, classes=3, width=4, heads=2)
    params = network.init(jax.random.key(0))
    apply = jax.jit(network.apply)
    outputs = apply(params, jnp.array([0, 1, 2, 3, 4, 0]))
    changed = apply(params, jnp.array([0, 1, 2, 3, 1, 1]))
    np.testing.assert_array_equal(outputs[:4], changed[:4])
    assert (outputs[4:] != changed[4:]).any()
