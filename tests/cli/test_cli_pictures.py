"""``xpmlp predict`` for pictures; folders of them as data to train and evaluate."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import photos
import pytest

import xpmlp
from xpmlp.cli import main

Capture = pytest.CaptureFixture[str]
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("scipy.ndimage")

TEST = xpmlp.data.load("digits")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of 8 by 8 pixels."""
    folder = str(tmp_path_factory.mktemp("digits"))
    options = ["--hidden", "128", "--epochs", "20", "--quiet", "--backend", "numpy"]
    assert main(["train", "digits", "--out", folder, *options]) == 0
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of digits 0, 1 and 7, in a subfolder of each; a hidden file and a note."""
    folder = tmp_path_factory.mktemp("photographed")
    for digit in (0, 1, 7):
        (folder / str(digit)).mkdir()
        for k, row in enumerate(TEST.X[TEST.y == digit][:20]):
            page = np.pad(photos.ink_of(row)[::4, ::4], 8)
            page = photos.unevenly_lit(0.9 - 0.7 * page) if k % 2 else page
            photos.save(page, folder / str(digit) / f"{k}.png")
    (folder / "0" / ".hidden.png").write_text("not a picture")
    (folder / "7" / "notes.txt").write_text("these are sevens")
    return folder


@pytest.fixture(scope="module")
def of_folder(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    run = str(tmp_path_factory.mktemp("run"))
    options = ["--epochs", "40", "--quiet", "--backend", "numpy"]
    assert main(["train", str(labelled), "--out", run, *options]) == 0
    return run


@pytest.mark.parametrize("form", [photos.unevenly_lit, photos.on_table, lambda page: 1 - page])
@pytest.mark.sampled(3)
def test_photographs_are_read(form: Any, digits: str, tmp_path: Path, capsys: Capture) -> None:
    mlp = xpmlp.load(f"{digits}/model.xpmlp", backend="numpy")
    sure = np.flatnonzero(mlp.predict_proba(TEST.X_test).max(axis=1) > 0.99)[:20]
    for index in sure:
        photos.save(form(photos.on_paper(TEST.X_test[index])), tmp_path / f"{index}.png")
    assert main(["predict", digits, str(tmp_path), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    right = [int(row["prediction"]) == TEST.y_test[int(Path(row["file"]).stem)] for row in found]
    assert len(found) == 20
    assert sum(right) >= 18


def test_several_pictures_are_a_line_each(digits: str, tmp_path: Path, capsys: Capture) -> None:
    files = [
        photos.save(photos.on_paper(TEST.X_test[0]), tmp_path / "one.png"),
        photos.save(photos.on_paper(*TEST.X_test[1:3]), tmp_path / "two.jpg"),
    ]
    assert main(["predict", digits, *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(" %")] == [lines[0], lines[1]]
    assert "one.png" in lines[0]
    assert "several large parts" in lines[2]
    assert main(["predict", digits, *files, "--show"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == lines[0]
    assert shown[11] == lines[1]
    assert shown.count(f"+{'-' * 16}+") == 4
    assert main(["predict", digits, *files, "--json", "-"]) == 0
    one, two = json.loads(capsys.readouterr().out)
    assert one["file"] == files[0]
    assert one["prediction"] == one["top"][0]["class"]
    assert one["warnings"] == []
    assert "several" in two["warnings"][0]


def test_one_picture_keeps_its_form(digits: str, tmp_path: Path, capsys: Capture) -> None:
    path = photos.save(photos.on_paper(TEST.X_test[0]), tmp_path / "one.png")
    assert main(["predict", digits, path, "--json", "-"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"prediction", "probability", "top"}
    assert main(["predict", digits, str(tmp_path), "--json", "-"]) == 0
    assert [row["file"] for row in json.loads(capsys.readouterr().out)] == [path]


def test_a_note_says_why_a_picture_may_be_misread(
    digits: str, tmp_path: Path, capsys: Capture
) -> None:
    path = photos.save(photos.cut_off(photos.on_paper(TEST.X_test[0])), tmp_path / "cut.png")
    assert main(["predict", digits, path, "--json", "-"]) == 0
    said = capsys.readouterr()
    assert "note: the ink reaches the border" in said.err
    assert "reaches the border" in json.loads(said.out)["warnings"][0]


def test_one_bad_picture_does_not_stop_the_others(
    digits: str, tmp_path: Path, capsys: Capture
) -> None:
    photos.save(photos.on_paper(TEST.X_test[0]), tmp_path / "b.png")
    Image.new("L", (20, 20), 7).save(tmp_path / "a.png")
    assert main(["predict", digits, str(tmp_path), "--json", "-"]) == 2
    said = capsys.readouterr()
    bad, good = json.loads(said.out)
    assert "one even color" in bad["error"]
    assert good["file"].endswith("b.png")
    assert "prediction" in good
    assert "xpmlp: warning: " in said.err
    assert "a.png" in said.err


def test_show_draws_what_the_network_sees(digits: str, tmp_path: Path, capsys: Capture) -> None:
    page = np.ones((60, 60))
    page[10:50, 26:34] = 0
    Image.fromarray((255 * page).astype(np.uint8)).save(tmp_path / "one.png")
    assert main(["predict", digits, str(tmp_path / "one.png"), "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    top, bottom = (k for k, line in enumerate(lines) if line == f"+{'-' * 16}+")
    assert lines[top - 1].endswith(" %")
    assert lines[top + 1 : bottom] == [f"|{'':6}{'@' * 4}{'':6}|"] * 8


@pytest.mark.parametrize(("side", "width"), [(28, 58), (60, 62), (200, 69)])
def test_what_is_shown_fits_the_screen(
    side: int, width: int, tmp_path: Path, capsys: Capture
) -> None:
    mlp = xpmlp.MLP([side * side, 2], backend="numpy", seed=0)
    mlp.fit(np.random.default_rng(0).random((4, side * side)), np.arange(4) % 2, epochs=1)
    mlp.metadata = {"image": {"shape": [side, side], "maximum": 1.0, "reach": 0.8}}
    mlp.save(tmp_path / "model.xpmlp")
    path = photos.save(photos.on_paper(TEST.X_test[0]), tmp_path / "one.png")
    assert main(["predict", str(tmp_path / "model.xpmlp"), path, "--show"]) == 0
    drawn = [line for line in capsys.readouterr().out.splitlines() if line[:1] in "+|"]
    assert {len(line) for line in drawn} == {width}
    assert any("@" in line for line in drawn)


def test_a_small_model_says_so(
    digits: str, of_folder: str, tmp_path: Path, capsys: Capture
) -> None:
    path = photos.save(photos.on_paper(TEST.X_test[0]), tmp_path / "one.png")
    assert main(["predict", digits, path, path]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("this model sees 8x8 pixels, which is small") == 1
    assert "xpmlp train mnist" in said
    assert main(["predict", of_folder, path]) == 0
    assert "which is small" not in " ".join(capsys.readouterr().out.split())


def test_a_folder_of_labelled_pictures_is_training_data(
    labelled: Path, of_folder: str, capsys: Capture
) -> None:
    result = json.loads(Path(of_folder, "result.json").read_text())
    assert (result["train_rows"], result["test_rows"]) == (48, 12)
    assert result["test_accuracy"] > 0.8
    assert main(["evaluate", of_folder, str(labelled), "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [(row["class"], row["rows"]) for row in record["classes"]] == [
        (name, 20) for name in "017"
    ]
    assert record["accuracy"] > 0.9
    assert main(["predict", of_folder, str(labelled), "--limit", "2", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [Path(row["file"]).parent.name for row in found] == ["0", "0"]


def test_training_and_prediction_see_the_same_pixels(labelled: Path, of_folder: str) -> None:
    data = xpmlp.data.load(labelled, test_fraction=0)
    path = labelled / "7" / "3.png"
    metadata = xpmlp.load(f"{of_folder}/model.xpmlp", backend="numpy").metadata
    seen = xpmlp.data.images.read_image(path, metadata["image"], "uint8").row
    assert (seen == data.X).all(axis=1).any()


def test_training_says_what_is_done_to_the_pictures(
    labelled: Path, tmp_path: Path, capsys: Capture, undrawn: None
) -> None:
    run = str(tmp_path / "run")
    assert main(["train", str(labelled), "--out", run, "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert f"reading the pictures in {labelled}" in " ".join(said.split())
    assert "cropped to the ink and centered, as xpmlp predict does it" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "MODEL", "EMPTY"], "found a folder, expected one of"),
        (["predict", "MODEL", "EMPTY", "EMPTY"], "found a folder, expected pictures in it: .png"),
        (["predict", "MODEL", "digits", "xor"], "digits: found no picture, expected .png"),
        (["predict", "MODEL", "digits", "--show"], "--show: found digits; only pictures"),
        (["evaluate", "MODEL", "LABELLED", "--label", "x"], "label: found 'x' for the pictures in"),
        (["train", "LABELLED", "--task", "regression"], "their folders are classes, leave it out"),
        (["train", "EMPTY"], "a folder with a subfolder of pictures for each class"),
        (["evaluate", "DIGITS", "OTHER"], "found the label 'x', expected one of the model's"),
        (["train", "GAP"], "found no pictures, expected some (.png"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    digits: str,
    of_folder: str,
    labelled: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("gap/a", "gap/b", "other/x"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("gap/a", "other/x"):
        photos.save(photos.on_paper(TEST.X_test[0]), tmp_path / name / "1.png")
    names = {"MODEL": of_folder, "DIGITS": digits, "LABELLED": str(labelled)}
    names |= {name.upper(): str(tmp_path / name) for name in ("empty", "gap", "other")}
    assert main([names.get(a, a) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xpmlp: error: ")
    assert error.count("\n") == 1
    assert message in error
