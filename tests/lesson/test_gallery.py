"""The gallery is made of what lies in the runs folder, and of nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lesson import gallery
from lab import gallery_page
from lab.common import run
from lesson.statements import SCRIPTS, STATEMENTS, Statement

CLAIM = {
    "statement": "L1", "claim": "what |g| is", "measured": 0.98765, "relation": "within", "reference": 1.0,
    "tolerance": 0.05, "because": "reasons", "holds": True,
}  # fmt: skip


def leave_run(out, script, stamp, *claims, picture="waves.png", title="Waves & <noise>", **changes):
    """What a run of an experiment leaves, in a folder of its own."""
    folder = out / script / f"{stamp}-seed{changes.get('seed', 0)}"
    folder.mkdir(parents=True)
    results = {"dataset": "mnist", "seed": 0, "smoke": False, "figures": True, "claims": [CLAIM | c for c in claims]}
    results |= {"device": {"kind": "cpu"}, "versions": {"jax": "0.10"}, "commit": "0123456789abcdef"} | changes
    (folder / "results.json").write_text(json.dumps(results))
    noise = np.random.default_rng(0).integers(0, 256, (600, 1000, 3), np.uint8)
    about = PngImagePlugin.PngInfo()
    about.add_text("Title", title)
    Image.fromarray(noise).save(folder / picture, pnginfo=about)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder for experiments with two scripts, and another for their runs; two statements."""
    here = tmp_path / "experiments"
    here.mkdir()
    (here / "sea.py").write_text('"""L1: the sea is deep.\n\nMore.\n"""\n')
    (here / "sky.py").write_text('"""L2: the sky is high."""\n')
    for module in (gallery, gallery_page):
        monkeypatch.setattr(module, "HERE", here)
        statements = {"L1": Statement("Depth.", "sea", "waves"), "L2": Statement("Height.", "sea", "waves")}
        monkeypatch.setattr(module, "STATEMENTS", statements)
    monkeypatch.setattr(gallery, "SCRIPTS", ("sea", "sky"))
    return tmp_path


def make(place, *options):
    return run(gallery.main, gallery.GalleryOptions, ["--out", str(place / "runs"), *options])


def rows(place):
    """The table rows of the page, by the statement that they begin with."""
    lines = (place / "experiments" / "README.md").read_text().splitlines()
    return {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| L")}


def test_a_row_has_what_is_said_and_claimed_and_measured_and_the_command_and_a_picture(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {}, seed=3)
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place) == 0
    row = rows(place)["L1"]
    assert "*Depth.*" in row
    assert r"what \|g\| is: **0.9877**, expected within 1 ± 0.05" in row
    assert "`uv run experiments/sea.py --dataset mnist --seed 3`" in row
    assert 'src="gallery/sea-waves.png"' in row
    assert 'alt="Waves &amp; &lt;noise&gt; (the sea is deep.)"' in row
    assert row.replace(r"\|", "").count("|") == 4  # three cells
    assert "| `sea.py` | 3 | cpu | 0.10 | 0123456 |" in (place / "experiments" / "README.md").read_text()


def test_a_statement_collects_the_claims_and_commands_of_every_script(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {}, {"claim": "and more"})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"claim": "from above"}, {"statement": "L2"})
    assert make(place) == 0
    row = rows(place)["L1"]
    assert row.index("what") < row.index("and more") < row.index("from above")
    assert "experiments/sea.py" in row
    assert "experiments/sky.py" in row
    assert "experiments/sea.py" not in rows(place)["L2"]


def test_pictures_are_copied_small(place):
    """Noise is the hardest picture to make small."""
    folder = leave_run(place / "runs", "sea", "20260102T000000Z", {})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    make(place)
    (copy,) = (place / "experiments" / "gallery").iterdir()
    assert (folder / "waves.png").stat().st_size > 1_000_000
    assert copy.stat().st_size <= 100_000
    with Image.open(copy) as picture:
        assert picture.width / picture.height == pytest.approx(1000 / 600, rel=0.01)


def test_the_newest_full_run_on_the_data_set_counts(place):
    out = place / "runs"
    leave_run(out, "sea", "20260102T000000Z", {"measured": 2.0})
    leave_run(out, "sea", "20260103T000000Z", {"measured": 3.0})
    leave_run(out, "sea", "20260104T000000Z", {"measured": 4.0}, smoke=True)
    leave_run(out, "sea", "20260105T000000Z", {"measured": 5.0}, dataset="digits")
    leave_run(out, "sea", "20260106T000000Z", {"measured": 6.0}, figures=False)
    leave_run(out, "sky", "20260102T000000Z", {"statement": "L2"})
    make(place)
    assert "**3**" in rows(place)["L1"]


def test_a_false_claim_is_shown_and_makes_the_exit_code_1(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {"measured": "nan", "holds": False})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place) == 1
    assert "**nan**, expected within 1 ± 0.05, which is **FALSE**" in rows(place)["L1"]


def test_without_figures_the_page_has_no_pictures(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {}, figures=False)
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place, "--no-figures") == 0
    assert "<img" not in rows(place)["L1"]


def damage_results(place, sea):
    (sea / "results.json").write_text("{")


def damage_picture(place, sea):
    (sea / "waves.png").write_text("not a picture")


def lose_picture(place, sea):
    (sea / "waves.png").unlink()


def lose_run(place, sea):
    (sea / "results.json").unlink()


def lose_claims(place, sea):
    results = json.loads((sea / "results.json").read_text())
    (sea / "results.json").write_text(json.dumps(results | {"claims": []}))


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (damage_results, "is not the results of an experiment"),
        (damage_picture, "waves.png is not a picture"),
        (lose_picture, "waves.png: No such file"),
        (lose_run, "has no run on mnist: uv run experiments/sea.py --dataset mnist makes one"),
        (lose_claims, "no run claims anything about L1"),
    ],
)
def test_what_is_missing_or_damaged_ends_in_one_sentence_and_changes_nothing(place, capsys, harm, complaint):
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    harm(place, leave_run(place / "runs", "sea", "20260102T000000Z", {}))
    (place / "experiments" / "README.md").write_text("as it was")
    before = sorted(place.rglob("*"))
    assert make(place) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert sorted(place.rglob("*")) == before
    assert (place / "experiments" / "README.md").read_text() == "as it was"


SCRIPT = """import sys
from pathlib import Path
Path({asked!r}).open("a").write(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
sys.exit({code})
"""


def test_when_asked_it_runs_every_script_first(place):
    asked = place / "asked.txt"
    for script, code in (("sea", 0), ("sky", 1)):  # 1 is a false claim, which the gallery shows
        path = place / "experiments" / f"{script}.py"
        path.write_text(path.read_text() + SCRIPT.format(asked=str(asked), code=code))
    leave_run(place / "runs", "sea", "20260102T000000Z", {})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place, "--run", "--seed", "4") == 0
    more = f"--dataset mnist --seed 4 --device auto --out {place / 'runs'}"
    assert asked.read_text().splitlines() == [f"sea.py {more}", f"sky.py {more}"]


def test_a_script_that_fails_ends_the_running(place, capsys):
    path = place / "experiments" / "sea.py"
    path.write_text(path.read_text() + SCRIPT.format(asked=str(place / "asked.txt"), code=2))
    assert make(place, "--run") == 2
    assert "experiments/sea.py ended with exit code 2" in capsys.readouterr().err
    assert len((place / "asked.txt").read_text().splitlines()) == 1


def test_every_statement_of_the_lesson_is_there_with_a_script_that_is_run():
    assert list(STATEMENTS) == [f"L{i}" for i in range(1, 21)]
    assert {statement.script for statement in STATEMENTS.values()} <= set(SCRIPTS)
    assert len(set(SCRIPTS)) == len(SCRIPTS)


def test_every_script_begins_with_the_statements_that_it_is_about():
    for script in SCRIPTS:
        first, _, _ = (Path(gallery.__file__).parent / f"{script}.py").read_text().partition("\n")
        assert first.startswith('"""L')
        about, _, subject = first.partition(": ")
        assert set(about.strip('"').replace("and ", "").replace(",", "").split()) - {"to"} <= set(STATEMENTS)
        assert subject.endswith(".")
