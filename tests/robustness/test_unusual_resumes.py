"""Resuming with what else users do: states of any form, odd folders, NumPy's numbers."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustness.resuming import Run, data, every_step

import xpmlp
from xpmlp.errors import InvalidValueError, XpmlpError


def steps(*numbers: int) -> set[str]:
    return {f"step-{n:09d}.xpmlp" for n in numbers}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Killed(BaseException):
    """The end of a process."""


class KillAt(xpmlp.Callback):
    """Ends the training after so many steps."""

    every = 1

    def __init__(self, step: int) -> None:
        self.step = step

    def on_batch_end(self, training: Any) -> None:
        if training.total == self.step:
            raise Killed


def killed(run: Run, step: int, **more: Any) -> None:
    callbacks = [*more.pop("callbacks", ()), KillAt(step)]
    with pytest.raises(Killed):
        run.fit(callbacks=callbacks, **more)


class Weighed(xpmlp.Callback):
    """Has a state of every kind, and looks at the model in each step."""

    every = 1

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {}

    def on_batch_end(self, training: Any) -> None:
        W = training.mlp.state_dict()["dense1.W"]  # of the last epoch's end
        self.seen = {"sum": self.seen.get("sum", 0.0) + float(W.sum()), "W": W.T, "count": W.size}
        self.seen |= {"big": W.astype(">f8"), "columns": np.asfortranarray(W), "flag": True}

    def state_dict(self) -> dict[str, Any]:
        return self.seen  # empty at first

    def restore(self, training: Any, values: Any) -> None:
        self.seen = {"sum": float(values["sum"]), **{k: v for k, v in values.items() if k != "sum"}}


def test_callbacks_with_a_state_of_any_form(tmp_path: Path) -> None:
    whole = Weighed()
    expected = Run().fit(callbacks=[whole]).facts()
    for step in (1, 10, 24):
        folder = tmp_path / f"{step}"
        killed(Run(), step, checkpoints=folder, checkpoint_every=1, callbacks=[Weighed()])
        again = Weighed()
        found = Run().fit(checkpoints=folder, resume=True, callbacks=[xpmlp.Callback(), again])
        assert found.facts() == expected
        assert again.seen["sum"] == whole.seen["sum"]
        assert np.array_equal(again.seen["columns"], whole.seen["columns"])


def test_two_of_a_kind_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    def pair() -> list[xpmlp.Callback]:
        return [xpmlp.EarlyStopping(9, "val_loss"), xpmlp.EarlyStopping(9, "val_accuracy")]

    killed(Run(), 24, checkpoints=tmp_path, callbacks=pair())
    with pytest.raises(InvalidValueError, match=r"callbacks: 0: monitor: found val_accuracy; it"):
        Run().fit(checkpoints=tmp_path, resume=True, callbacks=pair()[::-1])
    Run().fit(checkpoints=tmp_path, resume=True, callbacks=pair())


def test_an_epoch_that_was_to_be_the_last_is_finished(tmp_path: Path) -> None:
    class Stop(xpmlp.Callback):
        every = 5

        def on_batch_end(self, training: Any) -> None:
            training.stop()

    expected = Run().fit(callbacks=[Stop()]).facts()
    assert expected["counts"][1] == 1
    killed(Run(), 8, checkpoints=tmp_path, checkpoint_every=1, callbacks=[Stop()])
    assert Run().fit(checkpoints=tmp_path, resume=True, callbacks=[Stop()]).facts() == expected


def test_what_fails_in_a_resumed_epoch_leaves_the_weights_of_the_last_whole_one(
    tmp_path: Path,
) -> None:
    run = Run()
    run.fit(epochs=2, optimizer=xpmlp.Adam(0.02))
    expected = run.mlp.state_dict()
    killed(Run(), 25, checkpoints=tmp_path, checkpoint_every=1)
    again = Run()
    killed(again, 28, checkpoints=tmp_path, resume=True)
    assert again.mlp.epochs_trained == 2
    for name, value in again.mlp.state_dict().items():
        assert np.array_equal(value, expected[name])


def test_new_files_stay_though_damaged_ones_have_higher_numbers(tmp_path: Path) -> None:
    """Session after session gets further, and what is sound is not removed for what is not."""
    keep = xpmlp.Checkpoints(tmp_path, every=1, keep=2, best=False)
    killed(Run(), 30, checkpoints=keep)
    newest, _ = keep.files()
    (tmp_path / "step-000000040.xpmlp").write_bytes(b"")
    newest.write_bytes(b"")
    for step in (33, 36):
        killed(Run(), step, checkpoints=keep, resume=True)
        assert keep.saved is not None
        assert keep.saved.exists()
        assert keep.newest().path.name == f"step-{step - 1:09d}.xpmlp"  # type: ignore[union-attr]
    assert Run().fit(checkpoints=keep, resume=True).facts() == Run().fit().facts()


def test_a_folder_of_another_training_takes_none_in(tmp_path: Path) -> None:
    points = every_step(Run(), tmp_path / "one")
    Run(shuffle=False).fit(checkpoints=tmp_path / "other")
    before = names(tmp_path / "other")
    with pytest.raises(InvalidValueError, match=r"another training run in .*other"):
        Run().fit(checkpoints=tmp_path / "other", resume=points[8])
    assert names(tmp_path / "other") == before
    facts = Run().fit(checkpoints=tmp_path / "new", resume=tmp_path / "one").facts()
    assert facts == Run().fit().facts()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_folder_that_cannot_be_one(kind: str, tmp_path: Path) -> None:
    if kind == "file":
        (tmp_path / "c").write_text("precious")
    else:
        (tmp_path / "c").symlink_to(tmp_path / "nothing")
    with pytest.raises(InvalidValueError, match=r"checkpoints: found a file or a broken link at"):
        Run().fit(checkpoints=tmp_path / "c")
    assert os.path.lexists(tmp_path / "c")


def test_the_same_folder_by_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    killed(Run(), 24, checkpoints="c")
    (tmp_path / "d").symlink_to(tmp_path / "c")
    whole = Run().fit().facts()
    assert Run().fit(checkpoints="c", resume=f"../{tmp_path.name}/d").facts() == whole
    with pytest.raises(InvalidValueError, match="resume: found an empty name"):
        Run().fit(checkpoints="c", resume="")
    with pytest.raises(FileNotFoundError):
        Run().fit(checkpoints="new", resume="nowhere")


def test_a_link_to_nothing_gives_way(tmp_path: Path) -> None:
    killed(Run(), 24, checkpoints=tmp_path)
    (tmp_path / "step-000000099.xpmlp").symlink_to(tmp_path / "nothing")
    assert Run().fit(checkpoints=tmp_path, resume=True).facts() == Run().fit().facts()


class Texts(Weighed):
    def state_dict(self) -> dict[str, Any]:
        return {"name": "text"}


class Ragged(Weighed):
    def state_dict(self) -> dict[str, Any]:
        return {"rows": [[1.0], [2.0, 3.0]]}


class Longer(Weighed):
    def state_dict(self) -> dict[str, Any]:
        return {"n": np.ones(3, dtype=np.longdouble)}


class Forgetful(xpmlp.Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"n": 1}


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"callbacks": [Texts()]}, r"Texts.state_dict\(\)\['name'\]: found 'text'; a checkpoint"),
        ({"callbacks": [Ragged()]}, r"Ragged.state_dict\(\)\['rows'\]: found \[\[1.0\], \[2.0"),
        ({"callbacks": [Longer()]}, r"an array cannot be written: .*128|longdouble"),
        ({"callbacks": [Forgetful()]}, r"Forgetful has a state_dict but no restore"),
        ({"callbacks": [xpmlp.Checkpoints("c")]}, r"found Checkpoints; give them as fit\(check"),
        ({"resume": 1}, "resume: found 1; expected a bool or a path"),
        ({"resume": None}, "resume: found None"),
    ],
)
def test_what_cannot_be_kept_is_said_before_the_first_step(
    more: Any, match: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Run()
    with pytest.raises(XpmlpError, match=match):
        run.fit(checkpoints=tmp_path / "new", **more)
    assert run.mlp.epochs_trained == 0
    assert run.mlp.progress is None
    assert not (tmp_path / "new").exists()
    with pytest.raises(XpmlpError, match="checkpoints: found an empty name"):
        xpmlp.Checkpoints("")
    with pytest.raises(XpmlpError, match="pause: found 'x'"):
        xpmlp.Checkpoints("c", pause="x")  # type: ignore[arg-type]


def test_metadata_that_no_file_can_hold_is_said_before_the_first_step(tmp_path: Path) -> None:
    X, y = data()
    mlp = xpmlp.MLP([4, 3], backend="numpy", seed=1)
    mlp.metadata = {"shape": (1, 2)}
    with pytest.raises(InvalidValueError, match="metadata: JSON has text as keys, and lists"):
        mlp.fit(X, y, checkpoints=tmp_path)
    assert mlp.epochs_trained == 0


def test_a_history_of_ones_own_is_numbers(tmp_path: Path) -> None:
    class Matrix(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            training.history.setdefault("confusion", []).append(np.eye(2))

    with pytest.raises(
        XpmlpError, match=r"history\['confusion'\]: found (?s:.*) one number for each"
    ):
        Run().fit(checkpoints=tmp_path, callbacks=[Matrix()])


@dataclass(frozen=True)
class Table(xpmlp.schedules.Schedule):
    """A schedule of one's own, with fields of every kind."""

    ends: tuple[float, ...] = (1.0, np.inf)
    names: dict[str, float] = field(default_factory=lambda: {"late": 0.5})

    def at(self, time: float, total: float) -> float:
        return self.rate * (1.0 if time < self.ends[0] else self.names["late"])


def test_a_schedule_of_ones_own(tmp_path: Path) -> None:
    expected = Run(optimizer=xpmlp.Adam(Table(0.02))).fit().facts()
    killed(Run(optimizer=xpmlp.Adam(Table(0.02))), 24, checkpoints=tmp_path)
    other = Run(optimizer=xpmlp.Adam(Table(0.02, ends=(2.0, np.inf))))
    with pytest.raises(InvalidValueError, match=r"optimizer: learning_rate: ends: found \[2.0"):
        other.fit(checkpoints=tmp_path, resume=True)
    again = Run(optimizer=xpmlp.Adam(Table(0.02)))
    assert again.fit(checkpoints=tmp_path, resume=True).facts() == expected


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    X, y = data()

    def mlp() -> xpmlp.MLP:
        made = xpmlp.MLP(
            [4, 8, 3], dropout=np.float32(0.25), l2=np.float32(1e-3), max_norm=np.int64(2),
            backend="numpy", seed=1,
        )  # fmt: skip
        made.metadata = {"rows": np.int64(60)}
        return made

    given: dict[str, Any] = {"epochs": 2, "optimizer": xpmlp.Adam(np.float32(1e-3))}
    mlp().fit(X, y, checkpoints=tmp_path, **given)
    mlp().fit(X, y, checkpoints=tmp_path, resume=True, **given)
    given["optimizer"] = xpmlp.Adam(xpmlp.schedules.Constant(float(np.float32(1e-3))))
    mlp().fit(X, y, checkpoints=tmp_path, resume=True, **given)


def test_a_folder_that_was_there_stays_and_a_program_may_go_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("there", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(XpmlpError):
        Run().fit(checkpoints=tmp_path / "there", epochs=0)

    class Go(xpmlp.Callback):
        def on_epoch_begin(self, training: Any) -> None:
            monkeypatch.chdir(tmp_path / "elsewhere")

    Run().fit(checkpoints="run", callbacks=[Go()])
    assert names(tmp_path / "there/run") == {*steps(30, 40, 50), "best.xpmlp"}
    assert not names(tmp_path / "elsewhere")
    assert (tmp_path / "there").is_dir()


def test_every_callback_ends_though_one_fails(tmp_path: Path) -> None:
    class Fail(xpmlp.Callback):
        def on_train_end(self, training: Any) -> None:
            raise OSError("no space left")

    run = Run(optimizer=xpmlp.SGD(0.3))
    with pytest.raises(OSError, match="no space"):
        run.fit(callbacks=[Fail()])  # early stopping comes after it
    best = Run(optimizer=xpmlp.SGD(0.3)).fit()
    for name, value in best.mlp.state_dict().items():
        assert np.array_equal(run.mlp.state_dict()[name], value)


@pytest.mark.parametrize("step", [4, 10, 27])
def test_a_diagnosis_says_what_it_would_have_said(step: int, tmp_path: Path) -> None:
    def ill() -> Run:
        return Run(optimizer=xpmlp.SGD(1e-6))  # a rate so small that the first epochs tell

    whole, found = xpmlp.Diagnosis(), xpmlp.Diagnosis()
    ill().fit(callbacks=[whole])
    killed(ill(), step, checkpoints=tmp_path, checkpoint_every=1, callbacks=[xpmlp.Diagnosis()])
    ill().fit(checkpoints=tmp_path, resume=True, callbacks=[found])
    assert found.course is not None
    assert whole.course is not None
    assert repr(found.course.measurements) == repr(whole.course.measurements)
    assert len(found.course.measurements) >= 5
    assert found.report() == whole.report()
    assert "learning rate too small" in found.report()


def test_a_diagnosis_of_values(tmp_path: Path) -> None:
    X, _ = data()

    def fit(watch: xpmlp.Diagnosis, **more: Any) -> None:
        mlp = xpmlp.MLP([4, 8, 1], backend="numpy", seed=1)
        mlp.fit(X, X[:, 0], epochs=3, callbacks=[watch], checkpoints=tmp_path, **more)

    whole, found = xpmlp.Diagnosis(), xpmlp.Diagnosis()
    fit(whole)
    fit(found, resume=True)
    assert repr(found.course) == repr(whole.course)


def test_sparse_inputs(tmp_path: Path) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X, y = data()
    X[X < 0.5] = 0.0

    def fit(rows: Any, **more: Any) -> xpmlp.MLP:
        mlp = xpmlp.MLP([4, 8, 3], backend="numpy", seed=1)
        mlp.fit(sparse.csr_array(rows), y, epochs=3, batch_size=16, **more)
        return mlp

    whole = fit(X)
    with pytest.raises(Killed):
        fit(X, checkpoints=tmp_path, checkpoint_every=1, callbacks=[KillAt(6)])
    assert_same(fit(X, checkpoints=tmp_path, resume=True), whole)
    X[3, 1] += 1.0
    with pytest.raises(InvalidValueError, match="other data"):
        fit(X, checkpoints=tmp_path, resume=True)


def assert_same(found: xpmlp.MLP, expected: xpmlp.MLP) -> None:
    for name, value in expected.state_dict().items():
        assert np.array_equal(found.state_dict()[name], value), name
