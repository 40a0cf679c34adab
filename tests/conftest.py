"""What the tests share: a cache folder of their own, MNIST or stand-ins for it, and smoke runs of the experiments."""

import gzip
import hashlib
import http.server
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import jaxprop as jp
from jaxprop.data.archives import FAMILY
from jaxprop.data.datasets import Dataset, load_dataset
from jaxprop.files import cache_folder
from lab.common import Options, run


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """No test touches the user's own cache. All tests share this one, so that every data set is made once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert cache_folder().is_relative_to(folder), "this system keeps caches elsewhere: the tests would touch them"
        yield folder


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """What one test has compiled another finds. Each worker keeps its own: JAX does not write there atomically."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    """A cache folder of this test's own, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


@pytest.fixture(scope="session")
def mnist_archives() -> Path:
    """The folder with the four original archives of MNIST."""
    folder = os.environ.get("JAXPROP_ARCHIVES")
    if not folder:
        pytest.skip("JAXPROP_ARCHIVES is not set: it names a folder with the four original archives of MNIST")
    return Path(folder)


@pytest.fixture(scope="session")
def mnist(mnist_archives) -> Dataset:
    return load_dataset("mnist", mnist_archives)


class Host(http.server.ThreadingHTTPServer):
    """A host on this machine that serves the files of a folder, well or badly."""

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.folder = folder
        self.gets: list[str] = []
        self.answer = lambda content: content  # what a GET sends of a file
        self.status = 200

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(http.server.BaseHTTPRequestHandler):
    # Narrower than what the base class declares: it only ever answers for a `Host`.
    server: Host  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.server.gets.append(self.path)
        content = (self.server.folder / self.path[1:]).read_bytes()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(self.server.answer(content))

    def log_message(self, format, *args):
        pass


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Host(tmp_path / "family") as host:
        thread = threading.Thread(target=host.serve_forever, args=(0.01,))
        thread.start()
        yield host
        host.shutdown()
        thread.join()


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def family(host, monkeypatch) -> dict[str, Path]:
    """Stand-ins of 12 + 6 pictures for the three data sets, in a folder each, and a catalogue that knows them."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.checksums import UrlInfo
    from tensorflow_datasets.core.utils import Size

    builders = {}
    for seed, name in enumerate(FAMILY):
        rng, infos = np.random.default_rng(seed), {}
        (host.folder / name).mkdir(parents=True)
        for part, n in (("train", 12), ("t10k", 6)):
            images, labels = rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n, np.uint8)
            for file, array in ((f"{part}-images-idx3-ubyte.gz", images), (f"{part}-labels-idx1-ubyte.gz", labels)):
                content = gzip.compress(idx(array), mtime=0)
                (host.folder / name / file).write_bytes(content)
                infos[f"{host.address}/{name}/{file}"] = UrlInfo(
                    Size(len(content)), hashlib.sha256(content).hexdigest(), file
                )
        builders[name] = SimpleNamespace(url_infos=infos)
    monkeypatch.setattr(tfds, "builder_cls", builders.__getitem__)
    return {name: host.folder / name for name in FAMILY}


class SmokeRun(NamedTuple):
    """What came of `--smoke`."""

    code: int
    folder: Path
    found: Any  # what the script measured

    @property
    def files(self) -> set[str]:
        """The tables and pictures that it left, beside `results.json`."""
        return {path.name for path in self.folder.iterdir()} - {"results.json"}


@pytest.fixture(scope="module")
def smoke(request, tmp_path_factory) -> SmokeRun:
    """A smoke run of the experiment that the module calls `script`: one for all of its tests."""
    script, out, found = request.module.script, tmp_path_factory.mktemp("runs"), []
    experiment = script.EXPERIMENT

    def measure(options):
        found.append(experiment.measure(options))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "EXPERIMENT", experiment._replace(measure=measure))
        code = run(script.main, Options, ["--smoke", "--out", str(out)])
    (folder,) = (out / experiment.name).iterdir()
    results = json.loads((folder / "results.json").read_text())
    claims = results["claims"]
    check_form(claims)
    assert results["finding"].endswith(".")
    assert "nan" not in results["finding"]
    assert {f"{name}.png" for name in results["look_at"]} == {path.name for path in folder.glob("*.png")}
    assert {claim["statement"] for claim in claims} == named_statements(script)
    return SmokeRun(code, folder, found[0])


@pytest.fixture
def check_broken(smoke) -> Callable[[ModuleType, Mapping[int, Callable[[Any], Any]]], None]:
    """`check_broken(script, BROKEN)`: each claim holds, and comes out false when what it measures is another.

    BROKEN: by the number of the claim, what makes other findings of those of the smoke run. No claim may be left out.
    """

    def check(script: ModuleType, broken: Mapping[int, Callable[[Any], Any]]) -> None:
        claims = script.claims(smoke.found)
        assert set(broken) == set(range(len(claims)))
        for number, change in broken.items():
            assert claims[number].holds, claims[number]
            assert not script.claims(change(smoke.found))[number].holds, claims[number]

    return check


@pytest.fixture
def plant(monkeypatch) -> Callable[[str, Callable[[jp.Layer], jp.Layer]], None]:
    """`plant("sigmoid", change)`: in every network that `jaxprop.mlp` makes from now on, such layers are changed."""

    def plant(kind: str, change: Callable[[jp.Layer], jp.Layer]) -> None:
        right = jp.mlp

        def mlp(*arguments: Any, **options: Any) -> jp.Network:
            network = right(*arguments, **options)
            kinds = [layer.name.partition("(")[0] for layer in network.layers]
            assert kind in kinds
            layers = [
                change(layer) if name == kind else layer for name, layer in zip(kinds, network.layers, strict=True)
            ]
            return jp.Network(tuple(layers), network.in_shape)

        monkeypatch.setattr(jp, "mlp", mlp)

    return plant


@pytest.fixture
def uphill(plant) -> None:
    """The backward pass of the sigmoids has the wrong sign."""
    plant("sigmoid", lambda right: right._replace(backward=lambda *arguments: ((), -right.backward(*arguments)[1])))


@pytest.fixture
def slope_forgotten(plant) -> None:
    """The backward pass of the sigmoids is that of the identity: what a person forgets first."""
    plant("sigmoid", lambda right: right._replace(backward=lambda params, residuals, da: ((), da)))


@pytest.fixture
def false_claims(request, tmp_path) -> Callable[[], list[int]]:
    """`false_claims()`: the numbers of the claims that come out false in a smoke run of the module's `script`."""

    def false_claims() -> list[int]:
        code = run(request.module.script.main, Options, ["--smoke", "--no-figures", "--out", str(tmp_path)])
        (results,) = tmp_path.rglob("results.json")
        false = [i for i, claim in enumerate(json.loads(results.read_text())["claims"]) if not claim["holds"]]
        assert code == (1 if false else 0)
        return false

    return false_claims


def check_form(claims: list[dict]) -> None:
    """Every claim has all that readers are promised, and its verdict is the one that its own numbers give."""
    promised = {"statement", "claim", "measured", "relation", "reference", "tolerance", "because", "holds"}
    for claim in claims:
        assert claim.keys() == promised
        assert all(isinstance(claim[word], str) and claim[word] for word in ("statement", "claim", "because"))
        measured, reference, tolerance = (float(claim[word]) for word in ("measured", "reference", "tolerance"))
        holds = {"at least": measured >= reference - tolerance, "at most": measured <= reference + tolerance}
        holds["within"] = all(holds.values())
        assert claim["holds"] is holds[claim["relation"]], claim


def named_statements(script: ModuleType) -> set[str]:
    """The statements of the lesson that the first line of the docstring names, such as "L3, L6 to L8: ..."."""
    names, _ = (script.__doc__ or "").split(":", 1)
    ranges = re.findall(r"L(\d+)(?: to L(\d+))?", names)
    return {f"L{i}" for first, last in ranges for i in range(int(first), int(last or first) + 1)}


@pytest.fixture(scope="session")
def statements_of() -> Callable[[ModuleType], set[str]]:
    return named_statements
