"""Explanations unit by unit, the diagnosis and its changes, digits, the script and the film."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from page import begun, finished
from PIL import Image

import xpmlp
from xpmlp.cli import main
from xpmlp.errors import CheckpointError, InvalidValueError
from xpmlp.inspect.diagnose.course import Finding
from xpmlp.inspect.diagnose.diagnosis import CAUSES, CONSEQUENCES
from xpmlp.play.code import script
from xpmlp.play.film import film
from xpmlp.play.frames import Viewer
from xpmlp.play.network import network_of, optimizer_of, problem_of
from xpmlp.play.reader import Reader, slope
from xpmlp.play.settings import Settings
from xpmlp.play.strokes import ink_of, rewritten
from xpmlp.play.why import diagnosed, explained, remedy, sum_of

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"points": 60, "hidden": [3, 2], "epochs": 30}
PENGUINS = Path(__file__).resolve().parents[2] / "docs" / "data" / "penguins.csv"

# Explanations


def test_every_unit_is_explained_as_pytorch_differentiates_it() -> None:
    torch = pytest.importorskip("torch")
    with begun(SMALL | {"activation": "sigmoid"}) as run:
        run.advance("epoch")
        viewer = Viewer(run)
        found = explained(viewer, {"row": 5})
        x = torch.tensor(run.problem.X[5], dtype=torch.float32)
        target = torch.tensor([float(run.problem.y[5])])
        values = {n: torch.tensor(v) for n, v in viewer.mlp.parameters.items()}
        for value in values.values():
            value.requires_grad_()
        h = x
        for k, layer in enumerate(found["layers"], start=1):
            z = h @ values[f"dense{k}.W"] + values[f"dense{k}.b"]
            units = layer["units"]
            assert_close([u["z"] for u in units], z.detach().numpy(), atol=1e-5)
            assert_close(units[0]["inputs"], h.detach().numpy(), atol=1e-5)
            h = torch.sigmoid(z)
            assert_close([u["a"] for u in units], h.detach().numpy(), atol=1e-5)
        loss = torch.nn.functional.binary_cross_entropy(h, target)
        loss.backward()
        assert found["loss"]["value"] == pytest.approx(float(loss), abs=1e-5)
        assert found["output"][1] == pytest.approx(float(h), abs=1e-5)
        for k, layer in enumerate(found["layers"], start=1):
            slopes = np.array([u["gradients"] for u in layer["units"]]).T
            assert_close(slopes, values[f"dense{k}.W"].grad.numpy(), atol=1e-5)
            of_bias = [u["bias_gradient"] for u in layer["units"]]
            assert_close(of_bias, values[f"dense{k}.b"].grad.numpy(), atol=1e-5)
            assert_close([u["delta"] for u in layer["units"]], of_bias, atol=1e-7)


@pytest.mark.parametrize(
    "given",
    [
        {"normalization": "layer", "dropout": 0.3},
        {"normalization": "batch", "bias": False},
        {"hidden": []},
        {"data": "waves", "loss": "huber", "l2": 0.1},
        {"loss": "mse", "hidden": [3]},
        {"data": "digits", "hidden": [3]},
    ],
)
def test_any_network_has_a_layer_for_each_matrix(given: Any) -> None:
    with begun(SMALL | given) as run:
        found = explained(Viewer(run), {"row": 0})
        sizes = run.mlp.sizes
        assert [len(layer["units"]) for layer in found["layers"]] == list(sizes[1:])
        assert [len(layer["units"][0]["weights"]) for layer in found["layers"]] == list(sizes[:-1])
        assert found["layers"][-1]["name"] == "output"
        assert all(layer["formula"].startswith("z") for layer in found["layers"])


def test_a_point_of_the_plane_is_explained_in_the_table_s_units() -> None:
    given = {"data": "table", "label": "species", "columns": ["bill_length_mm", "body_mass_g"]}
    with begun(given | {"epochs": 1}, PENGUINS) as run:
        viewer = Viewer(run)
        assert run.problem.plane is not None
        place = run.problem.plane.shown[7].tolist()
        of_point = explained(viewer, {"point": place, "target": int(run.problem.y[7])})
        of_row = explained(viewer, {"row": 7})
        assert of_point["output"] == pytest.approx(of_row["output"], abs=1e-5)
        assert explained(viewer, {"point": place})["target"] == 0


@pytest.mark.parametrize(
    "given",
    [
        {}, {"row": -1}, {"row": 60}, {"row": 1.5}, {"row": True}, {"row": "1"}, {"point": [1]},
        {"point": [1, "a"]}, {"point": [1, 1e300]}, {"point": 3}, {"point": [0, 0], "target": 2},
        {"point": [0, 0], "target": 0.5}, {"point": [0, 0], "target": "a"},
    ],
)  # fmt: skip
def test_questions_about_nothing(given: Any) -> None:
    with begun(SMALL) as run, pytest.raises(InvalidValueError, match="found"):
        explained(Viewer(run), given)


def test_there_are_no_points_of_pictures() -> None:
    with (
        begun({"data": "digits", "hidden": [], "epochs": 1}) as run,
        pytest.raises(InvalidValueError, match="on a plane"),
    ):
        explained(Viewer(run), {"point": [0, 0]})


def test_sums_are_written_out() -> None:
    assert sum_of([0.5, -2.0], [0.1, 0.3], 0.25, -0.3) == "0.5·0.1 + (−2)·0.3 + 0.25 = −0.3"
    assert sum_of([1.0] * 9, [1.0] * 9, None, 9.0).count("1·1") == 6


# The diagnosis


def test_every_change_that_the_page_offers_is_valid() -> None:
    names = {
        "learning rate too large", "learning rate too small", "exploding gradients",
        "vanishing gradients", "saturated units", "dead units", "identical units",
        "initial weights too large", "overfitting", "underfitting", "class imbalance",
        "constant output", "unscaled inputs",
    }  # fmt: skip
    assert CAUSES
    assert CONSEQUENCES
    for rate in (1e-6, 0.01, 100.0):
        settings = Settings(learning_rate=rate, hidden=(64,) * 5)
        for name in names:
            patch = remedy(Finding(name, "", ""), settings)
            if patch is not None:
                changed = Settings.checked(settings.as_json() | patch)
                assert changed != settings
    assert remedy(Finding("class imbalance", "", ""), Settings()) is None
    wide = Settings(hidden=(64,) * 6)
    assert remedy(Finding("underfitting", "", ""), wide) is None


def test_making_the_change_helps() -> None:
    given = {"data": "xor", "optimizer": "sgd", "learning_rate": 1e-4, "hidden": [8], "epochs": 60}
    with begun(given) as run:
        assert diagnosed(Viewer(run))["findings"] == []
        finished(run)
        (found,) = diagnosed(Viewer(run))["findings"]
        assert found["what"] == "learning rate too small"
        assert found["evidence"]
        assert found["change"]
    learned = []
    for change in ({}, found["settings"]):
        with begun(given | change) as run:
            finished(run)
            learned.append(run.history["loss"][-1])
            names = {each["what"] for each in diagnosed(Viewer(run))["findings"]}
    assert "learning rate too small" not in names
    assert learned[1] < learned[0] - 0.02


def test_a_run_in_the_middle_is_not_judged_as_if_it_were_over() -> None:
    with begun({"data": "spirals", "hidden": [1], "epochs": 100}) as run:
        for _ in range(3):
            run.advance("epoch")
        assert diagnosed(Viewer(run))["findings"] == []
        finished(run)
        assert "underfitting" in {f["what"] for f in diagnosed(Viewer(run))["findings"]}


# The script

SCRIPTS: dict[str, Any] = {
    "xor": {},
    "spirals": {
        "data": "spirals", "noise": 0.1, "optimizer": "momentum", "schedule": "cosine",
        "clip_norm": 0.5, "dropout": 0.2, "normalization": "batch", "l1": 0.001, "seed": 3,
    },
    "waves": {
        "data": "waves", "loss": "huber", "activation": "relu", "optimizer": "adamw",
        "normalization": "layer", "schedule": "inverse-time", "bias": False, "test_share": 0.0,
    },
    "slip": {"l2": 0.001, "slip": True, "loss": "mse", "optimizer": "sgd"},
    "digits": {"data": "digits", "hidden": [8], "initializer": "he"},
    "table": {"data": "table", "label": "species", "columns": ["sex", "year", "body_mass_g"]},
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_has_the_same_losses(
    name: str,
    backend: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """On NumPy to the bit, on the others to float32's parity."""
    table = tmp_path / "penguins.csv"
    table.write_bytes(PENGUINS.read_bytes())
    monkeypatch.chdir(tmp_path)
    given = {"points": 80, "hidden": [4], "epochs": 3} | SCRIPTS[name]
    with begun(given, table) as run:
        finished(run)
        expected = dict(run.history)
        text = script(run.settings, run.problem, table)
    assert 'backend="numpy"' in text
    found: dict[str, Any] = {"chosen": backend}
    exec(text.replace('backend="numpy"', "backend=chosen"), found)
    assert {*found["history"]} == {*expected}
    for measured in {*expected} - {"seconds"}:
        if request.node.callspec.params["backend"] == "numpy":
            assert found["history"][measured] == expected[measured], measured
        else:
            assert_close(found["history"][measured], expected[measured], rtol=1e-4, atol=1e-5)


def test_the_script_runs_alone(tmp_path: Path) -> None:
    settings = Settings(epochs=2, points=40)
    (tmp_path / "play.py").write_text(script(settings, problem_of(settings)), "utf-8")
    done = subprocess.run(
        [sys.executable, "play.py"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )  # fmt: skip
    data = problem_of(settings)
    mlp = network_of(settings, data)
    history = mlp.fit(data.X, data.y, epochs=2, batch_size=32, optimizer=optimizer_of(settings))
    assert done.stdout.splitlines()[0] == f"loss of the last epoch: {history['loss'][-1]}"


def test_names_in_a_script_are_quoted(tmp_path: Path) -> None:
    label, column = 'a"b', "c'd\\"
    path = tmp_path / "t.csv"
    rows = [f"{k},{k % 5},{k % 2}" for k in range(40)]
    path.write_text("\n".join(['"c\'d\\",e,"a""b"', *rows]))
    settings = Settings(data="table", label=label, columns=(column, "e"), epochs=1)
    text = script(settings, problem_of(settings, path), path)
    calls: list[Any] = []
    head = text[text.index("data = ") : text.index("mlp = ")]
    exec(head, {"table_points": lambda *a, **k: calls.append((a, k))})
    assert calls[0][0] == ("t.csv",)
    assert (calls[0][1]["label"], calls[0][1]["columns"]) == (label, [column, "e"])


# The film


@pytest.mark.parametrize(
    "given", [{}, {"data": "waves", "test_share": 0.0}, {"data": "digits", "hidden": [2]}]
)
def test_the_film_moves(given: Any) -> None:
    with begun(SMALL | {"epochs": 4} | given) as run:
        viewer = Viewer(run)
        with pytest.raises(InvalidValueError, match="nothing has moved"):
            film(viewer)
        finished(run)
        made = Image.open(io.BytesIO(film(viewer)))
        assert made.format == "GIF"
        assert getattr(made, "n_frames", 1) == 5
        first = np.asarray(made.convert("RGB"))
        made.seek(4)
        assert (np.asarray(made.convert("RGB")) != first).any()


def test_the_film_ends_with_the_network_of_now(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{k % 7},{k % 5},{'abc'[k % 3]}" for k in range(60)]
    path.write_text("\n".join(["u,v,kind", *rows]))
    with begun({"data": "table", "label": "kind", "epochs": 500, "hidden": [2]}, path) as run:
        finished(run)
        assert run.film[-1].epoch < 500
        made = Image.open(io.BytesIO(film(Viewer(run))))
        assert getattr(made, "n_frames", 1) == len(run.film) + 1


# Digits


def drawn(rows: slice, columns: slice) -> list[list[int]]:
    picture = np.zeros((28, 28), int)
    picture[rows, columns] = 255
    found: list[list[int]] = picture.tolist()
    return found


def mnist_like(tmp_path: Path, **given: Any) -> Path:
    path = tmp_path / "m.xpmlp"
    options = {"targets": "labels", "backend": "numpy", "seed": 0} | given
    xpmlp.MLP([options.pop("inputs", 784), 4, 10], **options).save(path)
    return path


@pytest.fixture(scope="module")
def reader() -> Reader:
    made = Reader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xpmlp.play.reader.HANDS", 1)  # it takes as many seconds
        made.train()
        made.train()  # it does already
        made.join()
    return made


def test_it_learns_to_read(reader: Reader) -> None:
    told = reader.state()
    assert (told["status"], told["source"], told["sizes"][0]) == ("ready", "digits", 64)
    assert told["accuracy"] > 0.95
    assert told["epoch"] == told["epochs"]


def test_it_reads_digits_that_are_drawn_large(reader: Reader) -> None:
    """The test digits, each pixel of 8 by 8 as a block on the pad: what it sees are they again."""
    data = xpmlp.data.load_digits()
    right = 0
    for row, label in zip(data.X_test[:60], data.y_test, strict=False):
        block = np.kron(row.reshape(8, 8), np.ones((3, 3))).astype(int)
        pad = np.zeros((28, 28), int)
        pad[2:26, 2:26] = block
        found = reader.read(pad.tolist())
        right += found["digit"] == label
        assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert len(found["hidden"][0]) == reader.state()["sizes"][1]
        assert len(found["seen"]) == len(found["gradient"]) == found["side"] ** 2 == 64
        assert 0 <= min(found["seen"]) <= max(found["seen"]) <= 1
        assert found["note"]
    assert right >= 54


def test_the_slope_is_the_finite_difference(rng: np.random.Generator) -> None:
    mlp = xpmlp.MLP([6, 5, 4], "tanh", targets="labels", dtype="float64", backend="numpy", seed=0)
    x = rng.normal(size=(1, 6))
    W = mlp.parameters

    def margin(x: Any) -> float:
        z = np.tanh(x @ W["dense1.W"] + W["dense1.b"]) @ W["dense2.W"] + W["dense2.b"]
        return float(z[0, 2] - z.mean())

    h = 1e-6 * np.eye(6)
    expected = [(margin(x + h[k]) - margin(x - h[k])) / 2e-6 for k in range(6)]
    assert_close(slope(mlp, x, 2), np.array(expected), atol=1e-8)


def test_a_model_file_takes_its_place(tmp_path: Path) -> None:
    reader = Reader()
    reader.open(mnist_like(tmp_path))
    assert reader.state()["status"] == "ready"
    found = reader.read(drawn(slice(4, 24), slice(12, 16)))
    assert (found["side"], len(found["seen"]), found["note"]) == (28, 784, None)
    seen = np.array(found["seen"]).reshape(28, 28)
    assert seen[14, 13] == 1  # in the middle, 20 pixels high, as MNIST has it
    assert (seen.any(axis=1)).sum() == 20


def test_what_the_model_says_of_its_pictures_counts(tmp_path: Path) -> None:
    path = tmp_path / "m.xpmlp"
    mlp = xpmlp.MLP([784, 10], targets="labels", backend="numpy", seed=0)
    for image, height in (
        ({"shape": [28, 28], "maximum": 255, "reach": 0.5}, 14),
        ({"shape": [14, 56], "maximum": 255, "reach": 0.5}, 20),
        ({"shape": "nonsense"}, 20),
    ):
        mlp.metadata = {"image": image}
        mlp.save(path)
        reader = Reader()
        reader.open(path)
        found = reader.read(drawn(slice(4, 24), slice(12, 16)))
        assert np.array(found["seen"]).reshape(28, 28).any(axis=1).sum() == height


@pytest.mark.parametrize(
    "given", [{"inputs": 100}, {"targets": "multilabel"}, {"targets": "values"}]
)
def test_models_of_something_else(given: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="digits"):
        Reader().open(mnist_like(tmp_path, **given))


@pytest.mark.parametrize(
    "pixels",
    [
        None, [], [[0] * 28] * 27, [[0] * 27] * 28, [[0] * 28] * 28, [["a"] * 28] * 28,
        [[256] * 28] * 28, [[-1] * 28] * 28, [[float("nan")] * 28] * 28, [[True] * 28] * 28,
    ],
)  # fmt: skip
def test_pixels_that_are_none(pixels: Any) -> None:
    with pytest.raises(InvalidValueError, match="pixels"):
        ink_of(pixels)


def test_reading_before_there_is_a_network() -> None:
    with pytest.raises(InvalidValueError, match="no network"):
        Reader().read(drawn(slice(4, 24), slice(12, 16)))


def test_training_that_nobody_wants_any_more_ends() -> None:
    reader = Reader()
    reader.leave()
    reader.train()
    reader.join()
    assert reader.state()["status"] == "empty"


def test_training_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no\ndigits")

    monkeypatch.setattr("xpmlp.play.reader.load_digits", broken)
    reader = Reader()
    reader.train()
    reader.join()
    assert (reader.status, reader.message) == ("failed", "no digits")


def test_other_hands_write_the_same_digits() -> None:
    data = xpmlp.data.load_digits()
    facts = {"shape": [8, 8], "maximum": 255, "reach": 1.0}
    made = rewritten(data.X[:20], facts, 2)
    assert (made.shape, made.dtype) == ((40, 64), np.uint8)
    assert (made[:20] != made[20:]).any(axis=1).all()
    assert (rewritten(data.X[:20], facts, 2) == made).all()
    likeness = [
        np.corrcoef(a, b)[0, 1] for a, b in zip(made, np.tile(data.X[:20], (2, 1)), strict=True)
    ]
    assert np.mean(likeness) > 0.4


# A model taken along


def test_a_model_of_a_table_works_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.xpmlp"
    with begun({"data": "table", "label": "species", "epochs": 40}, PENGUINS) as run:
        finished(run)
        mlp = Viewer(run).look_at(run.last)
        mlp.save(path)
    assert main(["evaluate", str(path), str(PENGUINS)]) == 0
    assert "Adelie" in capsys.readouterr().out
