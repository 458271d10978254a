"""Pictures: drawn for every kind of model, readable, and without matplotlib's global state."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.data.frame import frame_of
from xpmlp.inspect import plots
from xpmlp.show import figures

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")


def trained(X: Any, y: Any, outputs: int) -> tuple[xpmlp.MLP, xpmlp.History]:
    mlp = xpmlp.MLP([X.shape[1], 8, outputs], backend="numpy", seed=0)
    return mlp, mlp.fit(X, y, epochs=3, validation_data=(X, y))


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_confusion_counts() -> None:
    counts = plots.confusion_counts([0, 0, 1, 2, 2], [0, 1, 1, 2, 0], 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]


def test_the_surest_mistake_comes_first(rng: np.random.Generator) -> None:
    X, y = rng.integers(0, 256, (200, 16)).astype(np.uint8), rng.integers(0, 3, 200)
    mlp, _ = trained(X, y, 3)
    worst = plots.most_wrong(mlp, plots.Part(X, y, "test", ("a", "b", "c"), (4, 4)))
    chances = [chance for _, _, chance in worst]
    assert len(worst) == plots.SHOWN
    assert chances == sorted(chances, reverse=True)
    p = mlp.predict_proba(X)
    for row, predicted, chance in worst:
        assert predicted == p[row].argmax() != y[row]
        assert chance == pytest.approx(p[row].max())
    wrong = p.argmax(axis=1) != y
    assert chances[0] == pytest.approx(p[wrong].max())


def test_nothing_is_wrong_without_images(rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)
    mlp, _ = trained(X, y, 2)
    assert plots.most_wrong(mlp, plots.Part(X, y, "test", ("a", "b"))) == []


KINDS = {
    "images": (16, 3, {"image_shape": (4, 4)}),
    "plane": (2, 3, {"features": ("x$1", "x$2")}),
    "table": (5, 3, {}),
    "many": (5, 40, {}),
    "value": (5, 0, {}),
    "values": (5, -2, {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(6)
def test_a_picture_of_each_kind(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    columns, classes, facts = KINDS[kind]
    X = rng.normal(size=(160, columns))
    if classes > 0:
        y: Any = np.arange(160) % classes
        names = [f"$class {k} 数" for k in range(classes)]
        facts = facts | {"classes": names}
    else:
        y = X[:, 0] * 2 if classes == 0 else X[:, :-classes] * 2
    mlp, history = trained(X, y, classes or 1 if classes >= 0 else -classes)
    path = tmp_path / "picture.png"
    plots.training_picture(path, mlp, history, plots.Part(X, y, **facts), "$title")
    width, height = size(path)
    assert 1200 <= width <= 1400
    assert (height > 600) == (kind in ("images", "plane"))


def test_a_faultless_model_has_no_row_of_mistakes(tmp_path: Path, rng: np.random.Generator) -> None:
    y = np.arange(60) % 2
    X = np.where(y[:, None] == 1, 1.0, -1.0) * np.ones((60, 4))
    mlp = xpmlp.MLP([4, 2], backend="numpy", seed=0)
    history = mlp.fit(X, y, epochs=20, optimizer=xpmlp.Adam(0.1))
    part = plots.Part(X, y, "test", ("a", "b"), (2, 2))
    plots.training_picture(tmp_path / "p.png", mlp, history, part, "t")
    assert size(tmp_path / "p.png")[1] < 600


def test_the_users_matplotlib_is_left_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    X, y = rng.normal(size=(30, 2)), rng.integers(0, 2, 30)
    mlp, history = trained(X, y, 2)
    plots.training_picture(tmp_path / "p.png", mlp, history, plots.Part(X, y, "test", "ab"), "t")
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == loaded


def test_a_failed_picture_leaves_the_old_one(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = rng.normal(size=(30, 2)), rng.integers(0, 2, 30)
    mlp, history = trained(X, y, 2)
    path = tmp_path / "p.png"
    path.write_bytes(b"old")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(xpmlp.errors.MissingExtraError, match=r"xpmlp\[cli\]"):
        plots.training_picture(path, mlp, history, plots.Part(X, y, "test", "ab"), "t")
    assert path.read_bytes() == b"old"


def third_panel() -> tuple[Any, Any]:
    """A figure, and the axes where results are drawn, as `training_picture` makes them."""
    figure = figures.blank(12, 4.4)
    return figure, figure.subplots(1, 3)[2]


def assert_apart(labels: Any) -> None:
    """No label of a tick covers part of the next; turned ones lie beside each other."""
    shown = [label for label in labels if label.get_text()]
    assert len(shown) >= 2
    for one, other in pairwise(shown):
        a, b = one.get_window_extent(), other.get_window_extent()
        angle = np.deg2rad(one.get_rotation())
        across = abs(b.x0 - a.x0) * np.sin(angle) + abs(b.y0 - a.y0) * np.cos(angle)
        height = one.get_fontsize() / 72 * figures.DPI
        assert not a.overlaps(b) or across >= 0.9 * height, (one, other)


VALUES = {
    "usual": (0.0, 1.0),
    "prices": (3.5e7, 4e6),
    "an offset": (1e8, 3.0),
    "huge": (0.0, 1e12),
    "tiny": (1.5e-7, 2e-8),
    "in full": (123456.0, 20.0),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_on_the_axes_can_be_read(kind: str, rng: np.random.Generator) -> None:
    mean, deviation = VALUES[kind]
    y = mean + deviation * rng.normal(size=100)
    with figures.style():
        figure, axes = third_panel()
        plots.predictions(axes, y, y, "test")
        figure.draw_without_rendering()
        for axis, name in ((axes.xaxis, "true"), (axes.yaxis, "predicted")):
            low, high = axis.get_view_interval()
            shown = [
                (text.get_text().replace("−", "-"), place)
                for text, place in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
                if low <= place <= high
            ]
            label = axis.get_label_text()
            power = (
                float(label.split("×")[1].rstrip(")").replace("−", "-")) if "×" in label else 1.0
            )
            assert label.startswith(name)
            assert not axis.offsetText.get_visible()
            for text, place in shown:  # what is written is what is meant, without an offset
                assert float(text) * power == pytest.approx(place, abs=0.01 * (high - low))
        assert_apart(axes.get_xticklabels())
        assert_apart(axes.get_yticklabels())


@pytest.mark.parametrize(
    ("count", "name"),
    [(2, "yes"), (2, "a customer who {}"), (3, "Iris versicolor {}"), (10, "{}"), (30, "class {}")],
)
def test_names_of_classes_beside_the_matrix(count: int, name: str) -> None:
    names = [f"{name.format(k)}{k if name == 'yes' else ''}" for k in range(count)]
    with figures.style():
        figure, axes = third_panel()
        part = plots.Part(np.zeros((1, 1)), np.zeros(1), classes=names)
        plots.confusion(axes, np.eye(count, dtype=int), part)
        figure.draw_without_rendering()
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            assert [label.get_text() for label in labels] == plots.distinct(names, 16)
            assert_apart(labels)
        box = figure.bbox
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            seen = label.get_window_extent()
            assert box.x0 <= seen.x0 < seen.x1 <= box.x1
            assert box.y0 <= seen.y0 < seen.y1 <= box.y1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["rose", "tulip"], ["rose", "tulip"]),
        (["a long name", "short"], ["a long…", "short"]),
        (["Iris var. 1", "Iris var. 2"], ["Iri…. 1", "Iri…. 2"]),
        ([], []),
    ],
)
def test_shortened_names_still_differ(names: list[str], expected: list[str]) -> None:
    assert plots.distinct(names, 8) == expected


@pytest.mark.parametrize("gap", [False, True])
def test_the_plane_of_a_table_of_two_numbers(gap: bool, tmp_path: Path) -> None:
    """In the table's own units; with missing cells there are more than two inputs, and no plane."""
    y = np.arange(60) % 2
    columns = {"far": 1e6 + y + np.arange(60) / 100, "near": y / 10 + np.arange(60) / 1000}
    if gap:
        columns["far"][5] = np.nan
    frame = frame_of(columns)
    table = xpmlp.Table().fit(frame)
    mlp = xpmlp.MLP([table.width, 2], backend="numpy", seed=0, table=table)
    history = mlp.fit(frame, y, epochs=2)
    part = plots.Part(frame, y, "test", ("a", "b"), features=frame.names)
    plots.training_picture(tmp_path / "p.png", mlp, history, part, "t")
    assert (size(tmp_path / "p.png")[1] > 600) is not gap
