"""Many devices: the claim about the numbers holds, and comes out false when they are others."""

import json
import os
import subprocess
import sys

import pytest

import scaling as script


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The rows of a smoke run in a process of its own, since JAX counts its devices once."""
    out = tmp_path_factory.mktemp("runs")
    options = ["--smoke", "--device", "cpu", "--out", str(out)]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    subprocess.run([sys.executable, script.__file__, *options], check=True, env=environment, stdout=subprocess.DEVNULL)
    (folder,) = (out / "scaling").iterdir()
    assert {path.name for path in folder.iterdir()} == {"results.json", "scaling.csv", "scaling.png"}
    (claim,) = json.loads((folder / "results.json").read_text())["claims"]
    assert claim["holds"]
    header, *rows = (line.split(",") for line in (folder / "scaling.csv").read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_cpu_counts_as_eight_devices_and_every_power_of_two_is_measured(smoke):
    assert [row["devices"] for row in smoke] == ["1", "2", "4", "8"]
    assert all(float(row["ms_a_step"]) > 0 for row in smoke)
    assert float(smoke[0]["efficiency"]) == float(smoke[0]["speedup"]) == 1
    for row in smoke:
        assert float(row["efficiency"]) == pytest.approx(float(row["speedup"]) / int(row["devices"]))


def test_other_parameters_than_those_of_one_device_make_the_claim_false():
    same = script.Scaled("784-16-16-10", 128, 2, "cpu", 1.0, 1.0, furthest=1e-7)
    (claim,) = script.claims([same])
    assert claim.holds
    (claim,) = script.claims([same, same._replace(furthest=2e-5)])
    assert not claim.holds
