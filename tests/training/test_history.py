"""``History``: what it shows, draws and becomes; it stays a dict of lists."""

import copy
import pickle
import sys

import numpy as np
import pytest

import xpmlp
from xpmlp.errors import InvalidValueError, MissingExtraError
from xpmlp.training.history import History

VALUES = {
    "loss": [0.9, 0.4, 0.5],
    "accuracy": [0.5, 0.75, 0.7],
    "learning_rate": [1e-3, 1e-3, 1e-5],
    "seconds": [1.0, 0.5, 0.5],
    "val_loss": [1.0, 0.8, 0.9],
    "val_accuracy": [0.4, 0.6, 0.5],
}


class Hidden:
    """Finds none of some modules: as if they were not installed."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules

    def find_spec(self, name: str, *_: object) -> None:
        if name.split(".")[0] in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def _hidden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in request.param]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(request.param), *sys.meta_path])


def hidden(*modules: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("_hidden", [modules], indirect=True, ids=["+".join(modules)])


def test_it_prints_the_first_last_and_best_values() -> None:
    lines = repr(History(VALUES)).splitlines()
    assert lines[0] == "History of 3 epochs, 2.0 s"
    cells = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert cells["val_loss"] == ["1.0000", "0.9000", "0.8000", "in", "epoch", "2"]
    assert cells["learning_rate"] == ["0.001", "1e-05"]
    assert "75.00 % in epoch 2" in repr(History(VALUES))
    assert repr(History()).startswith("History of 0 epochs")


def test_a_notebook_gets_a_table_without_scripts() -> None:
    page = History(VALUES | {"<b>": [1.0]})._repr_html_()
    assert page.count("<table>") == 1
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "<script" not in page


def test_it_stays_a_dict_of_lists() -> None:
    history = History(VALUES)
    assert history == VALUES
    assert pickle.loads(pickle.dumps(history)) == history == copy.deepcopy(history)


def test_a_frame_has_a_row_for_each_epoch() -> None:
    pytest.importorskip("pandas")
    frame = History(VALUES).to_frame()
    assert list(frame.index) == [1, 2, 3]
    assert frame.index.name == "epoch"
    assert frame.loc[2, "val_loss"] == 0.8
    assert History().to_frame().empty


def test_a_frame_of_polars_has_the_epochs_as_a_column() -> None:
    pytest.importorskip("polars")
    frame = History(VALUES).to_frame("polars")
    assert frame.columns == ["epoch", *VALUES]
    assert frame["epoch"].to_list() == [1, 2, 3]
    assert frame["val_loss"].to_list() == VALUES["val_loss"]


@hidden("pandas")
@pytest.mark.usefixtures("_hidden")
def test_polars_is_taken_where_pandas_is_not_installed() -> None:
    polars = pytest.importorskip("polars")
    assert isinstance(History(VALUES).to_frame(), polars.DataFrame)


def test_another_library_of_frames_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"'panda'\. Did you mean 'pandas'"):
        History(VALUES).to_frame("panda")


def test_the_plot_has_loss_and_metric() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    loss, accuracy = History(VALUES).plot()
    assert (loss.get_title(loc="left"), accuracy.get_title(loc="left")) == ("Loss", "Accuracy")
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), VALUES["val_loss"])
    (alone,) = History({"loss": [1.0]}).plot()
    assert alone.get_title(loc="left") == "Loss"
    pyplot.close("all")


@hidden("pandas", "polars")
@pytest.mark.parametrize("library", [None, "pandas", "polars"])
@pytest.mark.usefixtures("_hidden")
def test_a_missing_library_of_frames_is_named(library: str | None) -> None:
    install = f"to_frame needs .* pip install {library or 'pandas'}"
    with pytest.raises(MissingExtraError, match=install):
        History(VALUES).to_frame(library)


@hidden("matplotlib")
@pytest.mark.usefixtures("_hidden")
def test_a_missing_matplotlib_is_named() -> None:
    with pytest.raises(MissingExtraError, match=r"xpmlp\[cli\]"):
        History(VALUES).plot()


def test_fit_prints_its_progress_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    mlp = xpmlp.MLP([2, 2], backend="numpy", seed=0)
    mlp.fit(np.eye(2), [0, 1], epochs=2, progress=True)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("epoch", "1/2", "2/2")
    ]
    mlp.fit(np.eye(2), [0, 1], epochs=1)
    assert not capsys.readouterr().out
    with pytest.raises(xpmlp.errors.XpmlpError, match="progress"):
        mlp.fit(np.eye(2), [0, 1], progress="yes")
