"""The gallery is made of what lies in the runs folder, and of nothing else."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.common import run
from lesson import gallery

CLAIM = {
    "statement": "L1",
    "claim": "what |g| is",
    "measured": 0.98765,
    "relation": "within",
    "reference": 1.0,
    "tolerance": 0.05,
    "because": "reasons",
    "holds": True,
}


def leave_run(out, script, stamp, *claims, noisy=False, **changes):
    """What a run of an experiment leaves, in a folder of its own; its picture is all of one colour, or noise."""
    folder = out / script / f"{stamp}-seed{changes.get('seed', 0)}"
    folder.mkdir(parents=True)
    results = {"dataset": "mnist", "seed": 0, "smoke": False, "figures": True, "claims": [CLAIM | c for c in claims]}
    results |= {"finding": "The water is <deep>.", "look_at": {"waves": "How high they are."}}
    results |= {"device": {"kind": "cpu"}, "versions": {"jax": "0.10"}, "commit": "0123456789abcdef"} | changes
    (folder / "results.json").write_text(json.dumps(results))
    pixels = np.zeros((600, 1000, 3), np.uint8)
    if noisy:
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    Image.fromarray(pixels).save(folder / "waves.png")
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder for experiments with two scripts of two statements, and another for their runs."""
    here = tmp_path / "experiments"
    (here / "lesson").mkdir(parents=True)
    (here / "lesson" / "sea.py").write_text('"""L1: the <sea> is deep.\n\nMore.\n"""\n')
    (here / "lesson" / "sky.py").write_text('"""L1, L2: the sky is high."""\n')
    monkeypatch.setattr(gallery, "EXPERIMENTS", here)
    monkeypatch.setattr(gallery, "LESSON", here / "lesson")
    monkeypatch.setattr(gallery, "STATEMENTS", {"L1": "Depth.", "L2": "Height."})
    monkeypatch.setattr(gallery, "SCRIPTS", {"sea": ("waves",), "sky": ()})
    monkeypatch.setattr(gallery, "BEYOND", {})
    return tmp_path


def make(place, *options):
    return run(gallery.main, gallery.GalleryOptions, ["--out", str(place / "runs"), *options])


def page(place):
    return (place / "experiments" / "README.md").read_text()


def sections(place):
    """The sections of the page, by what comes before the colon of their headings."""
    _, *found = re.split(r"^## ", page(place), flags=re.M)
    return {text.partition("\n")[0].partition(":")[0]: text for text in found}


def test_a_section_has_what_is_said_and_claimed_and_measured_and_the_command_and_a_picture(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {}, seed=3)
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place) == 0
    section = sections(place)["L1"]
    assert section.startswith(r"L1: the \<sea> is deep")
    assert "\n> **L1** Depth.\n" in section
    assert "\nThe water is \\<deep>.\n" in section
    assert 'deep">\n\n*How high they are.*\n' in section
    assert "\n- L1: what \\|g\\| is: measured **0.9877**, expected 1 ± 0.05\n" in section
    assert "\nuv run experiments/lesson/sea.py --dataset mnist --seed 3\n" in section
    assert 'src="gallery/sea-waves.png"' in section
    assert 'alt="waves: the &lt;sea&gt; is deep"' in section
    assert "| `sea.py` | 3 | cpu | 0.10 | 0123456 |" in sections(place)["The runs"]


def test_a_section_says_all_statements_that_its_script_makes_claims_about(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {}, {"claim": "and more"})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"}, {"claim": "from above"})
    assert make(place) == 0
    sea, sky = sections(place)["L1"], sections(place)["L1, L2"]
    assert sea.index("what") < sea.index("and more")
    assert "L2" not in sea
    assert "> **L1** Depth.\n>\n> **L2** Height.\n" in sky
    assert "- L2: what" in sky
    assert "- L1: from above" in sky
    assert "<img" not in sky


def test_every_link_of_the_page_leads_somewhere(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place) == 0
    links = re.findall(r"\]\((?!http)([^)]+)\)", page(place))
    assert {"proof/", "benchmarking/", "lab/", "lesson/", "gallery/desk.html"} <= set(links)
    assert all((Path(gallery.__file__).parent.parent / link).exists() for link in links)
    pictures = re.findall(r'src="([^"]+)"', page(place))
    assert pictures == ["gallery/sea-waves.png"]
    assert all((place / "experiments" / picture).is_file() for picture in pictures)


def test_a_script_beyond_the_lesson_lies_beside_the_page_and_has_its_section_at_the_end(place, monkeypatch):
    """draw_digits.py reads one data set alone, whatever the page is of."""
    monkeypatch.setattr(gallery, "BEYOND", {"draw_digits": ("waves",)})
    (place / "experiments" / "draw_digits.py").write_text('"""A sea that draws."""\n')
    leave_run(place / "runs", "sea", "20260102T000000Z", {})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place) == 2  # no run of it yet
    leave_run(place / "runs", "draw_digits", "20260102T000000Z", {"statement": "drawing"}, dataset="digits")
    assert make(place) == 0
    assert list(sections(place)) == ["The desk", "L1", "L1, L2", "A sea that draws", "The runs"]
    section = sections(place)["A sea that draws"]
    assert section.startswith("A sea that draws\n\nThe water is")
    assert 'alt="waves: A sea that draws"' in section
    assert "\n- drawing: what" in section
    assert "\nuv run experiments/draw_digits.py\n" in section


def test_pictures_are_copied_small(place):
    """Noise is the hardest picture to make small."""
    folder = leave_run(place / "runs", "sea", "20260102T000000Z", {}, noisy=True)
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
    assert "**3**" in sections(place)["L1"]


def test_a_false_claim_is_shown_and_makes_the_exit_code_1(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {"measured": "nan", "holds": False})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place) == 1
    assert "**nan**, expected 1 ± 0.05, so this is **FALSE**" in sections(place)["L1"]


def test_without_figures_the_page_has_no_pictures(place):
    leave_run(place / "runs", "sea", "20260102T000000Z", {}, figures=False)
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place, "--no-figures", "--page", str(place / "elsewhere")) == 0
    assert "<img" not in (place / "elsewhere" / "README.md").read_text()


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
        (lose_run, "has no run on mnist: uv run experiments/lesson/sea.py --dataset mnist makes one"),
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
        path = place / "experiments" / "lesson" / f"{script}.py"
        path.write_text(path.read_text() + SCRIPT.format(asked=str(asked), code=code))
    leave_run(place / "runs", "sea", "20260102T000000Z", {})
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"})
    assert make(place, "--run", "--seed", "4") == 0
    more = f"--dataset mnist --seed 4 --device auto --out {place / 'runs'}"
    assert asked.read_text().splitlines() == [f"sea.py {more}", f"sky.py {more}"]


def test_a_script_that_fails_ends_the_running(place, capsys):
    path = place / "experiments" / "lesson" / "sea.py"
    path.write_text(path.read_text() + SCRIPT.format(asked=str(place / "asked.txt"), code=2))
    assert make(place, "--run") == 2
    assert "experiments/lesson/sea.py ended with exit code 2" in capsys.readouterr().err
    assert len((place / "asked.txt").read_text().splitlines()) == 1


def test_a_run_of_an_earlier_version_which_does_not_say_what_was_found_is_named(place, capsys):
    folder = leave_run(place / "runs", "sea", "20260102T000000Z", {})
    results = json.loads((folder / "results.json").read_text())
    del results["finding"]
    (folder / "results.json").write_text(json.dumps(results))
    assert make(place) == 2
    assert "of an earlier version, which does not say what was found: delete that run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "dataset", "smoke"),
    [(("--dataset", "digits"), "digits", False), (("--smoke",), "mnist", True), (("--no-figures",), "mnist", False)],
)
def test_other_runs_make_a_page_only_in_a_folder_that_is_named(place, capsys, options, dataset, smoke):
    """For the page in experiments/ has pictures of full runs on MNIST."""
    leave_run(place / "runs", "sea", "20260102T000000Z", {}, dataset=dataset, smoke=smoke)
    leave_run(place / "runs", "sky", "20260102T000000Z", {"statement": "L2"}, dataset=dataset, smoke=smoke)
    assert make(place, *options) == 2
    assert "name a folder for it by --page" in capsys.readouterr().err
    assert not (place / "experiments" / "README.md").exists()
    assert make(place, *options, "--page", str(place / "elsewhere")) == 0
    assert not (place / "experiments" / "README.md").exists()
    assert "## L1: the" in (place / "elsewhere" / "README.md").read_text()
    assert (place / "elsewhere" / "gallery" / "sea-waves.png").is_file() is ("--no-figures" not in options)
