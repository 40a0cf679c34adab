"""A file of parameters says which network they are of, and is believed only as far as it is whole."""

import pickle
import random
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxprop.errors import BadInput
from jaxprop.files import load_arrays, save_arrays
from jaxprop.layers import dense, elementwise, flatten, relu, tanh
from jaxprop.networks import Activation, Network, mlp
from jaxprop.run.parameters import describe_params, load_mlp, load_params, save_params
from jaxprop.verify.comparison import by_path

SIZES = (5, 4, 3)
NETWORK = mlp(SIZES)
FACTS = {"sizes": SIZES, "activation": "sigmoid"}
OTHER_KIND = Network((flatten(), dense(4), tanh(), dense(2)), (3, 2, 1))


def some_params(network=NETWORK, seed=0):
    return network.init(jax.random.key(seed))


def same(a, b) -> bool:
    """The same tree with the same bits."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(
        x.dtype == y.dtype and x.shape == y.shape and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "params.npz"
    save_params(path, NETWORK, some_params(), **FACTS)
    return path


def test_parameters_come_back_and_so_does_an_mlp(path):
    assert same(load_params(path, NETWORK), some_params())
    network, loaded = load_mlp(path)
    assert repr(network) == repr(NETWORK)
    assert same(loaded, some_params())
    x = jnp.linspace(-1, 1, SIZES[0])
    assert (network.apply(loaded, x) == NETWORK.apply(some_params(), x)).all()


@settings(max_examples=25, deadline=None)  # the first one traces for longer than the others
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=5),
    st.sampled_from(get_args(Activation)),
    st.sampled_from([np.float16, np.float32]),
)
def test_any_parameters_of_any_mlp_come_back(tmp_path_factory, sizes, activation, dtype):
    path, network = tmp_path_factory.mktemp("params") / "params.npz", mlp(sizes, activation)
    params = jax.tree.map(
        lambda leaf: np.linspace(-1, 1, leaf.size, dtype=dtype).reshape(leaf.shape), network.params_like
    )
    save_params(path, network, params, sizes=sizes, activation=activation)
    for loaded in (load_params(path, network), load_mlp(path)[1]):
        assert same(loaded, params)


def test_a_network_of_any_layers_is_known_again_by_its_repr(tmp_path):
    path, params = tmp_path / "params.npz", some_params(OTHER_KIND)
    save_params(path, OTHER_KIND, params)
    assert same(load_params(path, OTHER_KIND), params)
    with pytest.raises(
        BadInput, match=r"is of Network\(\[flatten, .*, which is code: give that network to jaxprop.load"
    ):
        load_mlp(path)


def test_a_network_without_parameters_has_none_to_save(tmp_path):
    nothing = Network((relu(),), (3,))
    with pytest.raises(BadInput, match="params are nothing: expected one of float16, float32, float64"):
        save_params(tmp_path / "params.npz", nothing, ((),))


@pytest.mark.parametrize(
    "other",
    [
        mlp(SIZES, "tanh"),  # has the same shapes
        mlp((5, 4, 2)),
        Network((dense(4), elementwise("sigmoid2", jnp.sin, lambda z, a: jnp.cos(z)), *NETWORK.layers[2:]), (5,)),
    ],
)
def test_a_file_of_another_network_is_refused_though_the_shapes_may_fit(path, other):
    with pytest.raises(BadInput, match=r"is of Network\(\[dense\(4\), sigmoid, .*: expected parameters of Network\(\["):
        load_params(path, other)


def test_the_file_says_what_it_is_and_names_the_arrays_by_their_place_in_the_tree(path):
    arrays, about = load_arrays(path)
    assert {name: array.shape for name, array in arrays.items()} == {
        "[0].W": (4, 5),
        "[0].b": (4,),
        "[2].W": (3, 4),
        "[2].b": (3,),
    }
    assert arrays.keys() == by_path(NETWORK.params_like).keys()
    assert about == {
        "network": "Network([dense(4), sigmoid, dense(3), sigmoid], in_shape=(5,))",
        "sizes": [5, 4, 3],
        "activation": "sigmoid",
        "dtype": "float32",
        "jaxprop": about["jaxprop"],
    }


def test_facts_of_ones_own_are_kept_beside_it(tmp_path):
    save_params(tmp_path / "params.npz", NETWORK, some_params(), epochs=3, note="é")
    _, about = load_arrays(tmp_path / "params.npz")
    assert (about["epochs"], about["note"], about["network"]) == (3, "é", repr(NETWORK))


LINEAR = Network((dense(4, gain=2**0.5), relu(), dense(3)), (5,))


@pytest.mark.parametrize(
    ("network", "facts", "message"),
    [
        (
            LINEAR,
            {"sizes": SIZES, "activation": "relu"},
            r"describe Network\(\[dense\(4, gain=1.414\), relu, dense\(3\), sigmoid\]",
        ),
        (
            NETWORK,
            {"sizes": SIZES, "activation": "tanh"},
            r"'tanh' describe Network\(.*, and this is Network\(.*: leave",
        ),
        (NETWORK, {"sizes": (5, 3), "activation": "sigmoid"}, r"sizes \(5, 3\) and activation 'sigmoid' describe"),
        (NETWORK, {"sizes": (5, -3), "activation": "sigmoid"}, r"sizes are \(5, -3\): expected"),
        (NETWORK, {"sizes": SIZES}, "sizes is given alone: .* give both or none"),
        (NETWORK, {"activation": "sigmoid"}, "activation is given alone"),
        (NETWORK, {"seen": {1, 2}}, "the fact seen is a set .*: expected what JSON holds"),
        (NETWORK, {"rate": np.float32(0.5)}, "the fact rate is a float32 "),
        (NETWORK, {"cost": float("nan")}, "the fact cost is a float .*: expected what JSON holds: .* finite numbers"),
        (NETWORK, {"dtype": "float32"}, "dtype is given as a fact: the file says that by itself"),
    ],
)
def test_facts_that_are_not_true_of_the_network_or_cannot_be_written_are_refused(tmp_path, network, facts, message):
    """A network with linear outputs has the shapes of one with sigmoids, and would come back as that."""
    with pytest.raises(BadInput, match=message):
        save_params(tmp_path / "params.npz", network, some_params(network), **facts)
    assert not list(tmp_path.iterdir())


def test_a_file_says_what_it_holds_before_it_is_loaded(tmp_path):
    with jax.enable_x64(True):
        save_params(tmp_path / "params.npz", NETWORK, some_params(), **FACTS, dataset="digits")
    said = describe_params(tmp_path / "params.npz")
    assert (said["dtype"], said["dataset"], said["sizes"]) == ("float64", "digits", [5, 4, 3])


def test_the_same_parameters_give_the_same_file(path, tmp_path):
    save_params(tmp_path / "again.npz", NETWORK, some_params(), activation="sigmoid", sizes=list(SIZES))
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()
    save_params(tmp_path / "other.npz", NETWORK, some_params(seed=1), **FACTS)
    assert (tmp_path / "other.npz").read_bytes() != path.read_bytes()


def test_float64_comes_back_where_it_is_enabled_and_is_not_rounded_where_it_is_not(tmp_path):
    with jax.enable_x64(True):
        params = some_params()
        save_params(tmp_path / "params.npz", NETWORK, params)
        loaded = load_params(tmp_path / "params.npz", NETWORK)
        assert same(loaded, params)
        assert loaded[0].W.dtype == jnp.float64
    with pytest.raises(
        BadInput, match=r"holds float64, which .* jax.enable_x64\(True\), or run a script with JAX_ENABLE_X64=1"
    ):
        load_params(tmp_path / "params.npz", NETWORK)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            some_params(mlp((5, 4, 2))),
            r"params: float32 of shape \(2, 4\) at \[2\]\.W, where Network\(.*\) has float32 of shape \(3, 4\);",
        ),
        (some_params(mlp((5, 3))), r"params: float32 of shape \(3, 5\) at \[0\]\.W, where"),
        ((), "params are nothing: expected one of float16, float32, float64"),
        (
            tuple((p.W, p.b) if p else () for p in some_params()),
            r"params: nothing at \[0\]\.W, where|at \[0\]\[0\], where",
        ),
        (jax.tree.map(lambda x: x.astype(jnp.bfloat16), some_params()), "params are bfloat16: expected one of"),
        (jax.tree.map(lambda x: x.astype(jnp.int32), some_params()), "params are int32: expected one of"),
        (some_params()[:2] + jax.tree.map(lambda x: x.astype(jnp.float16), some_params()[2:]), "float16 and float32"),
    ],
)
def test_parameters_of_another_network_are_not_saved(tmp_path, params, message):
    with pytest.raises(BadInput, match=message):
        save_params(tmp_path / "params.npz", NETWORK, params)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [5, 4, 4]}, r"is of Network\(.*: expected parameters of Network\(\[dense\(4\), sigmoid, dense\(4\)"),
        ({"sizes": [5, 3]}, r"is of Network\(.*: expected parameters of Network\(\[dense\(3\), sigmoid\]"),
        ({"activation": "tanh"}, r"is of Network\(.*: expected parameters of Network\(\[dense\(4\), tanh"),
        ({"sizes": 5}, r"describes no network that jaxprop knows: sizes are 5"),
        ({"sizes": [5, -4, 3]}, r"describes no network that jaxprop knows: sizes are"),
        ({"activation": "step"}, r"describes no network that jaxprop knows: activation is 'step'"),
        ({"activation": ["sigmoid"]}, r"describes no network that jaxprop knows: activation is"),
        ({"dtype": "float64"}, r"float32 of shape \(4, 5\) at \[0\]\.W, where .* has float64"),
        ({"dtype": "object"}, r"are object: expected one of float16, float32, float64"),
        ({"network": "Network([relu], in_shape=(5,))"}, r"is of Network\(\[relu\], .*: expected parameters of"),
    ],
)
def test_a_file_of_another_network_than_it_says_is_refused(path, change, message):
    arrays, about = load_arrays(path)
    save_arrays(path, arrays, about | change)
    with pytest.raises(BadInput, match=message):
        load_mlp(path)


@pytest.mark.parametrize("name", ["network", "dtype", "jaxprop"])
@pytest.mark.parametrize("value", [None, 3, ["float32"], {}])
def test_a_file_that_does_not_say_in_texts_what_it_is_is_refused(path, name, value):
    arrays, about = load_arrays(path)
    save_arrays(path, arrays, about | {name: value})
    for load in (describe_params, load_mlp, lambda path: load_params(path, NETWORK)):
        with pytest.raises(BadInput, match=rf"has .* as '{name}': expected a text"):
            load(path)


def test_a_file_with_more_or_fewer_arrays_than_the_network_has_is_refused(path):
    arrays, about = load_arrays(path)
    save_arrays(path, arrays | {"[4].W": np.zeros((2, 3), np.float32)}, about)
    with pytest.raises(BadInput, match=r"float32 of shape \(2, 3\) at \[4\]\.W, where .* has nothing"):
        load_params(path, NETWORK)
    save_arrays(path, {name: arrays[name] for name in arrays if name != "[0].b"}, about)
    with pytest.raises(BadInput, match=r"nothing at \[0\]\.b, where .* has float32 of shape \(4,\)"):
        load_params(path, NETWORK)
    save_arrays(path, arrays | {"[0].W": arrays["[0].W"].T}, about)
    with pytest.raises(
        BadInput, match=r"float32 of shape \(5, 4\) at \[0\]\.W, where .* has float32 of shape \(4, 5\)"
    ):
        load_params(path, NETWORK)


def test_a_good_file_of_something_else_is_refused(path):
    save_arrays(path, {"train_labels": np.zeros(3)}, {"dataset": "digits"})
    for load in (load_mlp, lambda path: load_params(path, NETWORK)):
        with pytest.raises(BadInput, match=r"does not name its network: name a file of jaxprop\.save_params"):
            load(path)


def test_a_file_of_an_older_version_is_told_as_such(path):
    arrays, about = load_arrays(path)
    save_arrays(path, arrays, {name: fact for name, fact in about.items() if name != "network"})
    with pytest.raises(BadInput, match=r"does not name its network \(it has those of an older version\)"):
        load_mlp(path)


def test_a_thousand_flipped_bits_and_a_thousand_truncations_are_noticed_every_time(path):
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(1000):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        for damaged in (flipped, whole[: rng.randrange(len(whole))]):
            path.write_bytes(damaged)
            with pytest.raises(BadInput, match="restore it from a copy, or make it again"):
                load_params(path, NETWORK)


def test_a_pickle_is_refused(path):
    path.write_bytes(pickle.dumps(jax.tree.map(np.asarray, some_params())))
    with pytest.raises(BadInput, match="looks like a pickle"):
        load_params(path, NETWORK)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"cannot read .*params\.npz: No such file"):
        load_params(tmp_path / "params.npz", NETWORK)
