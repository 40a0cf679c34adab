"""Backends and precisions: each claim holds, and comes out false when what it measures is broken."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import backends as script
import jaxprop as jp
from backends import BFLOAT16, DEFAULT, HIGHEST, Way, backends, cast, differing, drift, envelope, ways
from jaxprop.data.datasets import load_dataset
from jaxprop.run.devices import select_device
from lab import running_example
from lab.common import Options, run

CPU = {way.precision: way for way in ways(select_device("cpu"))}
NETWORK = jp.mlp(running_example.SIZES)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The exit code of a smoke run, its folder, and what it measured of each precision."""
    out = tmp_path_factory.mktemp("runs")
    measured = []

    def measure(options):
        measured.extend(script.measure(options))
        return measured

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "EXPERIMENT", script.EXPERIMENT._replace(measure=measure))
        code = run(script.main, Options, ["--smoke", "--device", "cpu", "--out", str(out)])
    (folder,) = (out / "backends").iterdir()
    return code, folder, {each.way.precision: each for each in measured}


def test_a_smoke_run_keeps_every_claim_and_leaves_tables_and_a_picture(smoke):
    code, folder, found = smoke
    assert code == 0
    assert list(found) == [HIGHEST, DEFAULT, BFLOAT16]
    results = json.loads((folder / "results.json").read_text())
    assert all(claim["holds"] for claim in results["claims"])
    pictures_and_tables = {"backends.csv", "leaves.csv", "drift.csv", "backends.png"}
    assert {path.name for path in folder.iterdir()} - {"results.json"} == pictures_and_tables


# What is there


def test_every_backend_that_is_present_is_looked_at():
    present = {device.platform for device in backends("auto")}
    assert present == {device.platform for device in jax.devices()} | {"cpu"}


def test_a_backend_that_is_asked_for_is_the_only_one_and_must_be_there(monkeypatch):
    assert [device.platform for device in backends("cpu")] == ["cpu"]

    def absent(name):
        raise jp.BadInput(f"no {name} here")

    monkeypatch.setattr(script, "select_device", absent)
    with pytest.raises(jp.BadInput, match="no gpu here"):
        backends("gpu")
    assert not backends("auto")


@pytest.mark.parametrize(("platform", "bits"), [("cpu", 23), ("gpu", 10), ("tpu", 7)])
def test_the_default_precision_is_that_of_the_backend(platform, bits):
    found = {way.precision: way for way in ways(SimpleNamespace(platform=platform))}
    assert {name: way.bits for name, way in found.items()} == {HIGHEST: 23, DEFAULT: bits, BFLOAT16: 7}
    assert found[DEFAULT].matmul == "default"


def test_the_envelope_is_33_roundings_and_doubles_with_every_bit_that_is_missing():
    assert envelope(23) == 33 / 2**24
    assert 0.98 * script.EXACT < envelope(23) <= script.EXACT
    assert envelope(10) == 2 * envelope(11)


# What breaks a claim. The gradient is compared anew where a gradient is what is broken.


@pytest.fixture(scope="module")
def compare():
    """`compare(network, way)`: the comparisons of backprop through the given network's layers instead of ours."""
    batch = jp.as_batch(*running_example.select(load_dataset("digits").train, slice(20)))
    params = NETWORK.init(jax.random.key(0))
    compare_with_float64 = script.make_comparison(NETWORK)

    def compare(network: jp.Network, way: Way):
        gradients = {"by hand": jp.backprop(network, jp.squared_error)}
        return compare_with_float64(gradients, {"untrained": params}, batch, way)

    return compare


def network_of(change: Callable[[jp.Layer], jp.Layer]) -> jp.Network:
    """The lesson's network with its dense layers changed."""
    layers = [change(layer) if layer.name.startswith("dense") else layer for layer in NETWORK.layers]
    return jp.Network(tuple(layers), NETWORK.in_shape)


def with_factors_of(bits: int) -> Callable[[jp.Layer], jp.Layer]:
    """A dense layer as a tensor core computes it: the factors of each product keep so many bits, sums keep float32."""

    def few(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)

    def forward(params, a):
        return few(params.W) @ few(a) + params.b, a

    def backward(params, a, dz):
        return jp.Dense(jp.Outer(few(dz), few(a)), dz), few(params.W).T @ few(dz)

    return lambda layer: layer._replace(forward=forward, backward=backward)


def off_by(fraction: float) -> Callable[[jp.Layer], jp.Layer]:
    """A dense layer whose backward pass gives a little too much for the weights."""

    def change(layer: jp.Layer) -> jp.Layer:
        def backward(params, a, dz):
            grads, da = layer.backward(params, a, dz)
            return grads._replace(W=jp.Outer(grads.W.dz * (1 + fraction), grads.W.a)), da

        return layer._replace(backward=backward)

    return change


def verdicts(found, **changes: Any) -> list[bool]:
    return [claim.holds for claim in script.claims_of(found._replace(**changes))]


def test_a_gradient_that_is_off_by_a_few_millionths_is_no_exact_one(smoke, compare):
    *_, found = smoke
    broken = compare(network_of(off_by(5e-6)), CPU[HIGHEST])
    assert verdicts(found[HIGHEST], comparisons=broken) == [False, True, True]
    assert verdicts(found[DEFAULT], comparisons=broken) == [False, True, True]


def test_factors_of_ten_bits_stay_inside_the_envelope_of_tensorfloat32_and_those_of_four_do_not(smoke, compare):
    """Here a stand-in is measured for what a GPU does by default."""
    *_, found = smoke
    way = Way(SimpleNamespace(platform="gpu"), DEFAULT, "float32", "default", 10)
    gpu = found[DEFAULT]._replace(way=way)
    for bits, inside in ((10, True), (4, False)):
        comparisons = compare(network_of(with_factors_of(bits)), CPU[DEFAULT])
        assert verdicts(gpu, comparisons=comparisons) == [inside, True]
        assert verdicts(found[HIGHEST], comparisons=comparisons) == [False, True, True], "no float32 product"


def test_bfloat16_is_neither_worse_nor_better_than_its_bits(smoke, compare):
    *_, found = smoke
    assert verdicts(found[BFLOAT16]) == [True, True, True]
    wrong = compare(network_of(off_by(0.2)), CPU[BFLOAT16])
    assert verdicts(found[BFLOAT16], comparisons=wrong) == [False, True, True]
    in_secret_float32 = compare(NETWORK, CPU[HIGHEST])
    assert verdicts(found[BFLOAT16], comparisons=in_secret_float32) == [True, False, True]


def test_a_gradient_with_a_nan_breaks_every_claim_about_it(smoke, compare):
    *_, found = smoke
    comparisons = compare(network_of(off_by(np.nan)), CPU[HIGHEST])
    assert all(verdicts(found[name], comparisons=comparisons)[0] is False for name in found)


def test_parameters_that_drift_like_those_of_bfloat16_are_none_of_float32(smoke):
    *_, found = smoke
    assert verdicts(found[HIGHEST], drift=found[BFLOAT16].drift) == [True, False, True]


def test_another_default_than_the_highest_and_a_training_that_is_not_repeated_are_seen(smoke):
    *_, found = smoke
    assert found[BFLOAT16].not_as_highest > 10_000, "two precisions that differ are seen to"
    assert verdicts(found[DEFAULT], not_as_highest=1) == [True, False, True]
    for each in found.values():
        assert verdicts(each, not_repeated=1) == [*verdicts(each)[:-1], False]


# The measures themselves


def test_drift_is_the_distance_from_the_truth_as_a_fraction_of_its_way():
    start, truth = {"W": np.zeros(2)}, {"W": np.array([0.0, 4.0])}
    assert drift({"W": np.array([3.0, 4.0])}, truth, start) == 3 / 4


def test_parameters_that_differ_in_the_last_bit_differ():
    some = {"W": np.ones(5, np.float32), "b": jnp.zeros(3, jnp.bfloat16)}
    assert differing(some, some) == 0
    assert differing(some, {**some, "W": np.nextafter(some["W"], np.float32(2))}) == 5


def test_what_is_cast_is_of_the_type_and_on_the_device_of_its_way():
    (leaf,) = jax.tree.leaves(cast([np.array([1.0, 1 / 3])], CPU[BFLOAT16]))
    assert (leaf.dtype, leaf.devices()) == (jnp.bfloat16, {CPU[BFLOAT16].device})
