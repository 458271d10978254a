"""``History``: what it shows, draws and becomes; it stays a dict of lists."""

import copy
import pickle
import sys

import numpy as np
import pytest

import xpmlp
from xpmlp.errors import MissingExtraError
from xpmlp.training.history import History

VALUES = {
    "loss": [0.9, 0.4, 0.5],
    "accuracy": [0.5, 0.75, 0.7],
    "learning_rate": [1e-3, 1e-3, 1e-5],
    "seconds": [1.0, 0.5, 0.5],
    "val_loss": [1.0, 0.8, 0.9],
    "val_accuracy": [0.4, 0.6, 0.5],
}


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


def test_the_plot_has_loss_and_metric() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    loss, accuracy = History(VALUES).plot()
    assert (loss.get_title(loc="left"), accuracy.get_title(loc="left")) == ("Loss", "Accuracy")
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), VALUES["val_loss"])
    (alone,) = History({"loss": [1.0]}).plot()
    assert alone.get_title(loc="left") == "Loss"
    pyplot.close("all")


@pytest.mark.parametrize(
    ("call", "module", "install"),
    [("to_frame", "pandas", "pip install pandas"), ("plot", "matplotlib", r"xpmlp\[cli\]")],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, call: str, module: str, install: str
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)

    class Hidden:
        def find_spec(self, name: str, *_: object) -> None:
            if name.split(".")[0] == module:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=install):
        getattr(History(VALUES), call)()


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
