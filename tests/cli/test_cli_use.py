"""``xpmlp evaluate`` and ``predict``, on models that ``train`` made."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.cli import main
from xpmlp.data import images

Capture = pytest.CaptureFixture[str]
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("digits"))
    options = ["--hidden", "128", "--epochs", "20", "--quiet", "--backend", "numpy"]
    assert main(["train", "digits", "--out", folder, *options]) == 0
    return folder


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model of two named classes, and the CSV file it was trained on."""
    folder = tmp_path_factory.mktemp("flowers")
    rng = np.random.default_rng(1)
    lines = ["size,weight,kind"]
    for name, centre in (("rose", -2.0), ("tulip", 2.0)):
        lines += [f"{a},{b},{name}" for a, b in rng.normal(centre, 0.5, (40, 2))]
    (folder / "flowers.csv").write_text("\n".join(lines))
    run, file = str(folder / "run"), str(folder / "flowers.csv")
    options = ["--hidden", "16", "--batch-size", "8", "--quiet", "--backend", "numpy"]
    assert main(["train", file, "--out", run, "--label", "kind", *options]) == 0
    return run, file


def test_evaluate_the_test_part(digits: str, capsys: Capture) -> None:
    assert main(["evaluate", digits, "digits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("359 rows: accuracy ")
    assert len([line for line in lines if line[:1].isdigit()]) == 11
    assert max(map(len, lines)) <= 80


def test_evaluate_agrees_with_the_training(digits: str, capsys: Capture) -> None:
    main(["evaluate", f"{digits}/model.xpmlp", "digits", "--json", "-"])
    said = capsys.readouterr()
    record = json.loads(said.out)
    result = json.loads(Path(digits, "result.json").read_text())
    assert record["accuracy"] == result["test_accuracy"]
    right = sum(row["rows"] * row["recall"] for row in record["classes"])
    assert right == pytest.approx(record["accuracy"] * record["rows"])
    assert sum(row["rows"] for row in record["classes"]) == record["rows"] == 359


def test_evaluate_names_classes_and_warns_of_seen_rows(
    flowers: tuple[str, str], capsys: Capture
) -> None:
    assert main(["evaluate", *flowers]) == 0
    said = capsys.readouterr().out
    assert "the model was trained on part of a file of this name" in said
    assert "rose" in said
    assert "80 rows" in said


def test_evaluate_another_order_of_columns(
    flowers: tuple[str, str], tmp_path: Path, capsys: Capture
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("kind,weight,size\nrose,-2,-2\ntulip,2,2\n")
    assert main(["evaluate", flowers[0], str(other)]) == 0
    assert "accuracy 100.00 %" in capsys.readouterr().out


def test_evaluate_without_labels(flowers: tuple[str, str], tmp_path: Path, capsys: Capture) -> None:
    bare = tmp_path / "bare.csv"
    bare.write_text("size,weight\n-2,-2\n")
    assert main(["evaluate", flowers[0], str(bare)]) == 2
    assert "use xpmlp predict" in capsys.readouterr().err
    assert main(["predict", flowers[0], str(bare)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["1", "rose"]


def test_predict_rows(digits: str, capsys: Capture) -> None:
    assert main(["predict", digits, "digits", "--limit", "5", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    mlp, data = xpmlp.load(f"{digits}/model.xpmlp", backend="numpy"), xpmlp.data.load("digits")
    assert [row["row"] for row in found] == [1, 2, 3, 4, 5]
    assert [int(row["prediction"]) for row in found] == list(mlp.predict(data.X_test[:5]))
    assert [int(row["label"]) for row in found] == list(data.y_test[:5])


def test_predict_values(tmp_path: Path, rng: np.random.Generator, capsys: Capture) -> None:
    mlp = xpmlp.MLP([2, 2], backend="numpy", seed=0)
    X = rng.normal(size=(20, 2))
    mlp.fit(X, X * 2, epochs=1)
    mlp.save(tmp_path / "m.xpmlp")
    np.savez(tmp_path / "d.npz", X=X, y=X * 2)
    arguments = [str(tmp_path / "m.xpmlp"), str(tmp_path / "d.npz")]
    assert main(["predict", *arguments, "--limit", "1"]) == 0
    assert capsys.readouterr().out.count("\n") == 2  # the names of the columns, and a row
    assert main(["evaluate", *arguments]) == 0
    assert "R2" in capsys.readouterr().out


def picture(row: Any, path: Path, light: bool = True) -> str:
    """A large picture of an 8x8 digit, off the centre, as a scanner or a program would make it."""
    ink = np.kron(row.reshape(8, 8), np.ones((20, 20), dtype=np.uint8))
    page = np.zeros((300, 240), dtype=np.uint8)
    page[20:180, 70:230] = ink
    Image.fromarray(255 - page if light else page).save(path)
    return str(path)


@pytest.mark.parametrize("light", [True, False])
def test_predict_pictures(digits: str, tmp_path: Path, light: bool, capsys: Capture) -> None:
    data = xpmlp.data.load("digits")
    mlp = xpmlp.load(f"{digits}/model.xpmlp", backend="numpy")
    sure = np.flatnonzero(mlp.predict_proba(data.X_test).max(axis=1) > 0.99)[:20]
    right = 0
    for index in sure:
        path = picture(data.X_test[index], tmp_path / "digit.png", light)
        assert main(["predict", digits, path, "--json", "-"]) == 0
        said = capsys.readouterr()
        assert ("inverted" in said.err) is light
        found = json.loads(said.out)
        assert len(found["top"]) == 3
        right += found["prediction"] == str(data.y_test[index])
    assert right >= 18


def test_predict_picture_for_people(digits: str, tmp_path: Path, capsys: Capture) -> None:
    path = picture(xpmlp.data.load("digits").X_test[0], tmp_path / "digit.png")
    assert main(["predict", digits, path]) == 0
    said = capsys.readouterr().out
    assert "240x300 pixels to gray, inverted because the background is light" in " ".join(
        said.split()
    )
    assert len([line for line in said.splitlines() if line.endswith(" %")]) == 3


def test_reading_an_image_gives_the_training_form() -> None:
    data = xpmlp.data.load("digits")
    facts = images.pixel_facts(data.X, (8, 8))
    assert facts == {"shape": [8, 8], "maximum": 255, "reach": 1.0}


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16", "LA"])
def test_every_mode_of_picture(mode: str, tmp_path: Path) -> None:
    page = np.full((60, 60), 255, dtype=np.uint8)
    page[15:45, 28:32] = 0
    image = Image.fromarray(page)
    if mode == "I;16":
        image = Image.fromarray(page.astype(np.uint16) * 257)
    elif mode == "RGBA":  # black ink on nothing at all
        image = Image.merge("RGBA", [Image.new("L", (60, 60))] * 3 + [Image.fromarray(255 - page)])
    else:
        image = image.convert(mode)
    image.save(tmp_path / "one.png")
    facts = {"shape": [28, 28], "maximum": 255, "reach": 20 / 28}
    row, done, _ = images.read_image(tmp_path / "one.png", facts, "uint8")
    ink = row.reshape(28, 28)
    assert (row.dtype, row.max()) == (np.uint8, 255)
    assert list(np.flatnonzero(ink.any(axis=1))) == list(range(4, 24))
    assert "inverted" in done


def test_a_picture_for_a_model_of_numbers(tmp_path: Path) -> None:
    page = np.full((60, 60), 255, dtype=np.uint8)
    page[15:45, 28:32] = 0
    Image.fromarray(page).save(tmp_path / "one.png")
    facts = {"shape": [28, 28], "maximum": 2.5, "reach": 20 / 28}
    row, *_ = images.read_image(tmp_path / "one.png", facts, "float32")
    assert (row.dtype, row.max()) == (np.float32, 2.5)


def broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "digit.png"
    if kind == "text":
        path.write_text("not a picture")
    elif kind == "even":
        Image.new("L", (20, 20), 7).save(path)
    elif kind == "huge":
        Image.new("1", (10_000, 10_000)).save(path)
    elif kind == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:1000])
    return path


@pytest.mark.parametrize("kind", ["text", "even", "huge", "cut", "missing"])
def test_broken_pictures_are_one_line(
    digits: str, kind: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["predict", digits, str(broken(tmp_path, kind))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xpmlp: error: ")
    assert error.count("\n") == 1
    assert "digit.png" in error


def test_a_picture_needs_a_model_of_images(
    flowers: tuple[str, str], tmp_path: Path, capsys: Capture
) -> None:
    path = picture(np.ones(64, dtype=np.uint8), tmp_path / "x.png")
    assert main(["predict", flowers[0], path]) == 2
    assert "not trained on images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nothing.xpmlp", "digits"], "nothing.xpmlp: No such file or directory"),
        (["predict", "DIGITS", "nothing.csv"], "no such file: nothing.csv"),
        (["predict", "DIGITS", "digits", "--limit", "0"], "--limit: found 0"),
        (["evaluate", "DIGITS", "xor"], "expected 64"),
        (["evaluate", "DIGITS/picture.png", "digits"], "not a readable xpmlp model file"),
        (["evaluate", "DIGITS", "digits", "--backend", "torhc"], "error: unknown backend 'torhc'"),
        (["evaluate", "DIGITS", "digits", "--label", "5"], "label: found '5' for digits"),
        (["evaluate", "", "digits"], "MODEL: found an empty name"),
        (["evaluate", "EMPTY", "digits"], "(found 0 bytes, fewer than its header: truncated)"),
        (["evaluate", "CUT", "digits"], "(found 100 bytes, fewer than its header: truncated)"),
    ],
)
def test_mistakes_are_one_line(
    digits: str, arguments: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes(Path(digits, "model.xpmlp").read_bytes()[:100])
    names = {"EMPTY": str(tmp_path / "empty"), "CUT": str(tmp_path / "cut")}
    assert main([names.get(a, a.replace("DIGITS", digits)) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xpmlp: error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"classes": ["only one"], "features": 7, "image": {"shape": "8x8"}, "seed": "x"},
        {"classes": "0123456789", "image": [1, 2], "test_fraction": None},
        {"classes": [f"\x1b[31m{k}" for k in range(10)]},
    ],
)
def test_strange_metadata_does_no_harm(
    metadata: dict[str, Any], tmp_path: Path, rng: np.random.Generator, capsys: Capture
) -> None:
    X, y = rng.normal(size=(30, 4)), rng.integers(0, 10, 30)
    mlp = xpmlp.MLP([4, 10], backend="numpy", seed=0)
    mlp.fit(X, y, epochs=1)
    mlp.metadata = metadata
    mlp.save(tmp_path / "m.xpmlp")
    np.savez(tmp_path / "d.npz", X=X)
    assert main(["predict", str(tmp_path / "m.xpmlp"), str(tmp_path / "d.npz")]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_strange_metadata_and_a_known_data_set(tmp_path: Path, capsys: Capture) -> None:
    data = xpmlp.data.load("digits")
    mlp = xpmlp.MLP([64, 10], backend="numpy", seed=0)
    mlp.fit(data.X, data.y, epochs=1)
    mlp.metadata = {"seed": "x", "test_fraction": "all", "image": {"shape": [8.0, 8.0]}}
    mlp.save(tmp_path / "m.xpmlp")
    assert main(["evaluate", str(tmp_path / "m.xpmlp"), "digits"]) == 0
    assert capsys.readouterr().out.startswith("359 rows")
    path = picture(data.X_test[0], tmp_path / "digit.png")
    assert main(["predict", str(tmp_path / "m.xpmlp"), path]) == 2
