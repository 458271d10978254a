"""Pictures: drawn for every kind of model, readable, and without matplotlib's global state."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.inspect import plots

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
