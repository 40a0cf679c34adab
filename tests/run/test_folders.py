import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

import train
from jaxprop.errors import BadInput
from jaxprop.files import remove_half_written
from jaxprop.run import folders


def test_a_run_folder_says_when_and_from_which_seed_and_is_never_shared(tmp_path):
    made = [folders.new_run_folder(tmp_path, "train", seed=7) for _ in range(3)]
    assert len(set(made)) == 3
    for folder in made:
        assert folder.parent == tmp_path / "train"
        assert re.fullmatch(r"\d{8}T\d{6}Z-seed7(-\d+)?", folder.name)


def test_a_place_where_no_folder_can_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match=r"no run folder can be made in .*file"):
        folders.new_run_folder(tmp_path / "file", "train", seed=0)


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_a_folder_for_what_belongs_together_is_whole_or_not_there(tmp_path, stop):
    with folders.whole_run_folder(tmp_path, "forward", seed=7) as whole:
        (whole / "results.json").touch()

    def draw(folder):
        (folder / "figure.png").touch()
        raise stop

    with pytest.raises(stop), folders.whole_run_folder(tmp_path, "forward", seed=7) as half:
        draw(half)
    assert list((tmp_path / "forward").iterdir()) == [whole]


def test_a_process_that_ends_at_once_removes_the_folder_that_is_not_whole(tmp_path):
    with folders.whole_run_folder(tmp_path, "forward", seed=7) as whole:
        (whole / "results.json").touch()

    def end(half):
        (half / "figure.png").touch()
        remove_half_written()
        assert list((tmp_path / "forward").iterdir()) == [whole]
        half.mkdir()  # so that the block, which is cleaning up too, finds something to remove
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), folders.whole_run_folder(tmp_path, "forward", seed=7) as half:
        end(half)
    assert list((tmp_path / "forward").iterdir()) == [whole]


def test_no_script_makes_a_run_folder_that_could_stay_half():
    scripts = [path for path in Path(train.__file__).parent.rglob("*.py") if "run_folder(" in path.read_text()]
    assert len(scripts) >= 6
    assert not [path for path in scripts if "new_run_folder" in path.read_text()]


def test_json_holds_no_nan(tmp_path):
    folders.write_json(tmp_path / "good.json", {"cost": 0.5})
    assert json.loads((tmp_path / "good.json").read_text()) == {"cost": 0.5}
    with pytest.raises(ValueError, match="JSON"):
        folders.write_json(tmp_path / "bad.json", {"cost": float("nan")})
    assert not (tmp_path / "bad.json").exists()


def test_a_csv_has_a_header_and_a_row_for_each_mapping(tmp_path):
    folders.write_csv(tmp_path / "metrics.csv", [{"epoch": 1, "cost": 0.5}, {"epoch": 2, "cost": 0.25}])
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert rows == [{"epoch": "1", "cost": "0.5"}, {"epoch": "2", "cost": "0.25"}]


def test_a_result_says_where_it_came_from():
    facts = folders.provenance(jax.devices()[0])
    assert facts["versions"]["jax"] == jax.__version__
    assert facts["device"]["platform"] == jax.devices()[0].platform
    assert facts["commit"] is None or re.fullmatch("[0-9a-f]{40}", facts["commit"])


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git here")
def test_the_commit_is_that_of_the_checkout_and_of_no_repository_further_up(tmp_path, monkeypatch):
    def git(*command):
        return subprocess.run(["git", "-C", tmp_path, *command], check=True, capture_output=True, text=True).stdout

    git("init")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-m", "empty")
    commit = git("rev-parse", "HEAD").strip()
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "jaxprop" / "run" / "folders.py"))
    assert folders.provenance(jax.devices()[0])["commit"] == commit
    monkeypatch.setattr(folders, "__file__", str(tmp_path / "site-packages" / "jaxprop" / "run" / "folders.py"))
    assert folders.provenance(jax.devices()[0])["commit"] is None
