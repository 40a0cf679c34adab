"""A checkpoint is all of a run, or it is noticed; and there is always an older good one."""

import os
import random
import resource
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxprop as jp
from jaxprop.errors import BadInput
from jaxprop.files import load_arrays, save_arrays
from jaxprop.run.checkpoints import (
    Checkpoint,
    check_unchanged,
    fingerprint,
    last_step,
    newest_checkpoint,
    restore,
    save_checkpoint,
)

SIZES = (7, 4, 3)
CONFIG = {"sizes": list(SIZES), "optimizer": "adam", "learning_rate": 0.1, "archives": None, "schedule": "cosine"}


def some_state(seed: int = 0, sizes=SIZES, optimizer=None) -> jp.State:
    """A state in which no number is what it was at the start."""
    state = jp.init_state(jp.mlp(sizes).init(jax.random.key(seed)), optimizer or optax.adam(0.1))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(1, 9, leaf.shape), leaf.dtype), state)


def some_checkpoint(step: int = 12, **state) -> Checkpoint:
    rows = [{"epoch": 1, "train_cost": 0.1 + 0.2, "seconds": 1e-3}]
    return Checkpoint(some_state(step, **state), jax.random.key(5), step, rows, 0.1, CONFIG, {"commit": None})


def bits(tree) -> list[tuple]:
    return [(leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


def names(run: Path) -> list[str]:
    return sorted(os.listdir(run / "checkpoints"))


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with the two checkpoints of steps 9 and 12."""
    save_checkpoint(tmp_path, some_checkpoint(9), previous=None)
    save_checkpoint(tmp_path, some_checkpoint(12), previous=9)
    return tmp_path


def test_a_run_can_go_on_from_its_beginning(tmp_path):
    save_checkpoint(tmp_path, some_checkpoint(0), previous=None)
    assert newest_checkpoint(tmp_path).facts["step"] == 0


@pytest.mark.parametrize("optimizer", [optax.sgd(1.0), optax.sgd(1.0, momentum=0.9), optax.adam(0.1)])
def test_a_checkpoint_comes_back_bit_for_bit(tmp_path, optimizer):
    saved = some_checkpoint(optimizer=optimizer)
    save_checkpoint(tmp_path, saved, previous=None)
    loaded = restore(newest_checkpoint(tmp_path), some_state(99, optimizer=optimizer))
    assert jax.tree.structure(loaded.state) == jax.tree.structure(saved.state)
    assert bits(loaded.state) == bits(saved.state)
    assert loaded[2:] == saved[2:]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_the_key_comes_back_with_its_kind_and_gives_the_same_orders(tmp_path, impl):
    saved = some_checkpoint()._replace(key=jax.random.key(5, impl=impl))
    save_checkpoint(tmp_path, saved, previous=None)
    key = restore(newest_checkpoint(tmp_path), some_state()).key
    assert key == saved.key
    assert (
        jp.epoch_order(jax.random.fold_in(key, 3), 50, 5) == jp.epoch_order(jax.random.fold_in(saved.key, 3), 50, 5)
    ).all()


def test_the_file_says_what_it_is_and_names_its_arrays_by_their_place_in_the_state(run):
    arrays, facts = load_arrays(run / "checkpoints" / "step-12.npz")
    parts = ("params", "opt_state[0].mu", "opt_state[0].nu")
    layers = {"[0].W": (4, 7), "[0].b": (4,), "[2].W": (3, 4), "[2].b": (3,)}
    expected = {f"state.{part}{name}": shape for part in parts for name, shape in layers.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes == {**expected, "state.opt_state[0].count": (), "key": (2,)}
    assert facts["kind"] == "checkpoint of a training run, with the layers of its network"
    assert (facts["step"], facts["config"], facts["origin"]) == (12, CONFIG, {"commit": None})


def test_the_last_two_are_kept_and_told_apart_by_number_and_not_by_text(run):
    assert names(run) == ["step-12.npz", "step-9.npz"]
    assert newest_checkpoint(run).facts["step"] == 12
    save_checkpoint(run, some_checkpoint(100), previous=12)
    assert names(run) == ["step-100.npz", "step-12.npz"]
    assert newest_checkpoint(run).facts["step"] == 100


def test_an_old_one_goes_only_when_the_new_one_is_in_place(run, monkeypatch):
    monkeypatch.setattr(os, "replace", lambda *args: pytest.fail("the power failed"))
    with pytest.raises(pytest.fail.Exception):
        save_checkpoint(run, some_checkpoint(15), previous=12)
    assert names(run) == ["step-12.npz", "step-9.npz"]


def test_what_a_killed_process_was_writing_is_no_checkpoint(run):
    (run / "checkpoints" / ".step-15.npz.0123abcd.tmp").write_bytes(b"half")
    (run / "checkpoints" / "step-15.npz.tmp").write_bytes(b"half")
    found = newest_checkpoint(run)
    assert (found.path.name, found.passed_over) == ("step-12.npz", [])


# Damage


def test_an_older_good_one_is_used_with_a_line_that_says_so_and_outlives_the_damaged_one(run):
    damaged = run / "checkpoints" / "step-12.npz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = newest_checkpoint(run)
    assert found.path.name == "step-9.npz"
    (line,) = found.passed_over
    assert line.startswith(f"{damaged} does not end with jaxprop's checksum: it was cut short")
    assert bits(restore(found, some_state()).state) == bits(some_state(9))
    save_checkpoint(run, some_checkpoint(11), previous=9)
    assert names(run) == ["step-11.npz", "step-9.npz"]


def damages(whole: bytes, n: int):
    """n files with one flipped bit each, and n that were cut short."""
    rng = random.Random(0)
    for _ in range(n):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        yield bytes(flipped)
        yield whole[: rng.randrange(len(whole))]


@pytest.mark.parametrize("times", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_and_truncations_are_noticed_every_time(run, times):
    path = run / "checkpoints" / "step-12.npz"
    for damaged in damages(path.read_bytes(), times):
        path.write_bytes(damaged)
        found = newest_checkpoint(run)
        assert found.path.name == "step-9.npz"
        assert len(found.passed_over) == 1


def test_where_no_checkpoint_is_whole_all_reasons_are_given(run):
    for name in names(run):
        (run / "checkpoints" / name).write_bytes(b"")
    with pytest.raises(
        BadInput, match=r"has no checkpoint that can be used: .*step-12\.npz is not .*step-9\.npz is not"
    ):
        newest_checkpoint(run)


def test_a_file_of_another_kind_is_passed_over(run):
    save_arrays(run / "checkpoints" / "step-99.npz", {"W": np.zeros(3)}, {"dataset": "digits"})
    found = newest_checkpoint(run)
    assert found.path.name == "step-12.npz"
    assert found.passed_over == [
        f"{run}/checkpoints/step-99.npz is no checkpoint of a training run, with the layers of its network"
    ]


def change_facts(path: Path, change) -> None:
    """The same checkpoint with other facts, and a right checksum."""
    arrays, about = load_arrays(path)
    change(about)
    save_arrays(path, arrays, about)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *((lambda about, name=name: about.pop(name), f"has no '{name}'") for name in ("config", "step", "rows", "key")),
        *((lambda about, name=name: about.pop(name), f"has no '{name}'") for name in ("origin", "seconds")),
        (lambda about: about.update(config=[]), "has a list as 'config'"),
        (lambda about: about.update(step="12"), "has a str as 'step'"),
        (lambda about: about.update(step=True), "has a bool as 'step'"),
        (lambda about: about.update(step=-1), "is named after another step than the one that is in it"),
        (lambda about: about.update(step=11), "is named after another step than the one that is in it"),
        *(
            (lambda about, row=row: about.update(rows=[row]), "has a row that is not one of numbers")
            for row in (3, {"seconds": None}, {"seconds": True}, {"train_cost": "low"}, {"train_cost": 10**400})
        ),
        (lambda about: about.update(seconds=-1), "has seconds that are not between 0 and 1e+10"),
        (lambda about: about.update(seconds=10**400), "has seconds that are not between 0 and 1e+10"),
        (lambda about: about.update(rows=[{"seconds": -1}]), "has seconds that are not between 0 and 1e+10"),
        (lambda about: about.update(key="nonsense"), "holds no key of random numbers as 'key'"),
        (lambda about: about.update(key=5), "has no 'key'"),
        (lambda about: about.update(keys=5), "has a int as 'keys'"),
        (lambda about: about.update(keys={"key": "threefry2x32"}), "has 'key' among the keys of its state"),
        (lambda about: about.update(keys={"state.x": "threefry2x32"}), "has no 'state.x'"),
        (
            lambda about: about.update(keys={"state.params[0].W": "rbg"}),
            "holds no key of random numbers as 'state.params",
        ),
    ],
)
def test_a_checkpoint_with_wrong_content_is_passed_over_for_the_older_one(run, change, reason):
    path = run / "checkpoints" / "step-12.npz"
    change_facts(path, change)
    found = newest_checkpoint(run)
    assert found.path.name == "step-9.npz"
    (line,) = found.passed_over
    assert line.startswith(f"{path} {reason}")


def test_a_checkpoint_with_many_keys_of_its_order_is_passed_over(run):
    path = run / "checkpoints" / "step-12.npz"
    arrays, about = load_arrays(path)
    save_arrays(path, {**arrays, "key": np.zeros((3, 2), np.uint32)}, about)
    assert newest_checkpoint(run).passed_over == [f"{path} holds many keys of random numbers as 'key'"]


def test_a_checkpoint_that_the_caller_cannot_go_on_from_is_passed_over(run):
    def check(found):
        if found.facts["step"] > most:
            raise BadInput(f"expected a step of at most {most}")

    most = 10
    found = newest_checkpoint(run, check)
    assert found.path.name == "step-9.npz"
    assert found.passed_over == [f"{run}/checkpoints/step-12.npz: expected a step of at most 10"]
    most = 5
    with pytest.raises(BadInput, match=r"no checkpoint that can be used: .*step-12\.npz: .*step-9\.npz: expected"):
        newest_checkpoint(run, check)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_only_has_the_name_of_a_checkpoint_is_passed_over_and_left_alone(run, make):
    path = run / "checkpoints" / "step-99.npz"
    make(path)
    found = newest_checkpoint(run)
    assert found.path.name == "step-12.npz"
    assert found.passed_over[0].startswith(f"cannot read {path}: ")
    save_checkpoint(run, some_checkpoint(15), previous=12)
    assert names(run) == ["step-12.npz", "step-15.npz", "step-99.npz"]


def test_a_folder_in_the_place_of_a_checkpoint_is_named(run):
    (run / "checkpoints" / "step-15.npz").mkdir()
    with pytest.raises(
        BadInput, match=r"cannot write .*step-15\.npz: Is a directory; .*remove the folder of that name"
    ):
        save_checkpoint(run, some_checkpoint(15), previous=12)


def test_a_run_that_has_vanished_is_not_begun_again_by_its_next_checkpoint(tmp_path):
    with pytest.raises(BadInput, match=r"cannot make the folder .*gone/checkpoints: No such file or directory"):
        save_checkpoint(tmp_path / "gone", some_checkpoint(15), previous=12)
    assert not list(tmp_path.iterdir())


def test_a_key_of_random_numbers_in_the_optimizer_comes_back(tmp_path):
    optimizer = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(3)), optax.sgd(0.1))
    state: Any = jp.init_state(jp.mlp(SIZES).init(jax.random.key(0)), optimizer)
    save_checkpoint(tmp_path, some_checkpoint()._replace(state=state), previous=None)
    loaded: Any = restore(newest_checkpoint(tmp_path), state).state
    key, expected = loaded.opt_state[0].rng_key, state.opt_state[0].rng_key
    assert key.dtype == expected.dtype
    assert key == expected
    other = state._replace(opt_state=(state.opt_state[0]._replace(rng_key=jnp.zeros(2)), *state.opt_state[1:]))
    with pytest.raises(BadInput, match=r"rng_key was key<fry> of shape \(\) in .* and is float32 of shape \(2,\) now"):
        restore(newest_checkpoint(tmp_path), other)


def test_the_last_step_is_known_by_name(run, tmp_path):
    assert last_step(run) == 12
    assert last_step(tmp_path / "nowhere") is None


def test_a_run_of_an_older_version_is_told_as_such(run):
    for path in (run / "checkpoints").iterdir():
        arrays, about = load_arrays(path)
        save_arrays(path, arrays, {**about, "kind": "checkpoint of a training run"})
    with pytest.raises(
        BadInput, match=r"was begun by an older version of jaxprop: go on with that one, or begin another"
    ):
        newest_checkpoint(run)


@pytest.mark.parametrize("folder", ["", "nowhere", "file"])
def test_a_folder_without_checkpoints_is_refused(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"has no checkpoint: name the folder of a run that was begun"):
        newest_checkpoint(tmp_path / folder)


# A disk that refuses


def test_a_full_disk_leaves_the_old_checkpoints_and_says_so(run):
    """A real limit of the system on the size of a file, since filling a disk would take a disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(BadInput, match=r"cannot write .*step-15\.npz: File too large; free some space"):
            save_checkpoint(run, some_checkpoint(15), previous=12)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(run) == ["step-12.npz", "step-9.npz"]
    assert bits(restore(newest_checkpoint(run), some_state()).state) == bits(some_state(12))


def test_a_read_only_folder_leaves_the_old_checkpoints_and_says_so(run):
    """Root may write everywhere, so root becomes somebody else meanwhile."""
    (run / "checkpoints").chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(BadInput, match=r"cannot .*checkpoints.*: Permission denied; choose a place"):
            save_checkpoint(run, some_checkpoint(15), previous=12)
    finally:
        os.seteuid(user)
        (run / "checkpoints").chmod(0o755)
    assert names(run) == ["step-12.npz", "step-9.npz"]
    assert newest_checkpoint(run).path.name == "step-12.npz"


# A checkpoint of something else


@pytest.mark.parametrize(
    ("like", "complaint"),
    [
        ({"sizes": (7, 5, 3)}, r"\[0\]\.W was float32 of shape \(4, 7\) in .* and is float32 of shape \(5, 7\) now"),
        ({"sizes": (7, 3)}, r"\[0\]\.W was float32 of shape \(4, 7\) in .* and is float32 of shape \(3, 7\) now"),
        ({"sizes": (7, 4, 3, 3)}, r"\[4\]\.W was nothing in .* and is float32 of shape \(3, 3\) now"),
        (
            {"optimizer": optax.sgd(1.0)},
            r"state\.opt_state\[0\]\.count was int32 of shape \(\) in .* and is nothing now",
        ),
    ],
)
def test_a_checkpoint_of_another_network_or_optimizer_is_refused_and_the_array_named(run, like, complaint):
    with pytest.raises(BadInput, match=complaint):
        restore(newest_checkpoint(run), some_state(**like))


def test_a_checkpoint_of_another_precision_is_refused(run):
    with jax.enable_x64(True), pytest.raises(BadInput, match=r"was float32 of shape \(4, 7\) in .* and is float64"):
        restore(newest_checkpoint(run), some_state())


def test_float64_comes_back_where_it_is_enabled(tmp_path):
    with jax.enable_x64(True):
        save_checkpoint(tmp_path, some_checkpoint(), previous=None)
        assert bits(restore(newest_checkpoint(tmp_path), some_state()).state) == bits(some_state(12))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"optimizer": "sgd"}, "optimizer was 'adam' in .*step-12.npz and is 'sgd' now: a run goes on as it began"),
        ({"sizes": [7, 5, 3]}, r"sizes was \[7, 4, 3\] in .* and is \[7, 5, 3\] now"),
        ({"learning_rate": 0.10000000000000002}, "learning_rate was 0.1 in .* and is 0.10000000000000002 now"),
        ({"archives": "somewhere"}, "archives was None in .* and is 'somewhere' now"),
        ({"new": 1}, "new was None in .* and is 1 now"),
    ],
)
def test_a_setting_that_is_not_what_it_was_is_named(run, change, complaint):
    check_unchanged(newest_checkpoint(run), CONFIG)
    check_unchanged(newest_checkpoint(run), {"schedule": "cosine"})
    with pytest.raises(BadInput, match=complaint):
        check_unchanged(newest_checkpoint(run), {**CONFIG, **change})


def test_other_examples_have_another_fingerprint():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (250, 4, 4), np.uint8), rng.integers(0, 10, 250).astype(np.int32)
    first = fingerprint(jp.Examples(images, labels))
    assert first == fingerprint(jp.Examples(jnp.asarray(images), jnp.asarray(labels)))
    brighter, relabelled = images.copy(), labels.copy()
    brighter[200, 0, 0] ^= 1
    relabelled[7] = (labels[7] + 1) % 10
    others = [(brighter, labels), (images, relabelled), (images[:-1], labels[:-1]), (images.reshape(250, 2, 8), labels)]
    assert len({first, *(fingerprint(jp.Examples(*other)) for other in others)}) == 5


def test_a_checkpoint_holds_no_number_that_json_does_not_know(tmp_path):
    bad = some_checkpoint()._replace(rows=[{"epoch": 1, "train_cost": float("nan")}])
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path, bad, previous=None)
    assert not names(tmp_path)
