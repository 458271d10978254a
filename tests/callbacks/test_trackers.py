"""Trackers on local folders: what TensorBoard, MLflow and Optuna get of a training."""

import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.callbacks import MLflow, OptunaPruning, TensorBoard
from xpmlp.errors import InvalidValueError, MissingExtraError

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 3))
Y = (X[:, 0] > 0).astype(int)


def fit(*callbacks: xpmlp.Callback, mlp: xpmlp.MLP | None = None, **options: Any) -> xpmlp.History:
    mlp = mlp or xpmlp.MLP([3, 6, 2], "tanh", backend="numpy", seed=0)
    given = {"epochs": 3, "batch_size": 20, "validation_split": 0.2} | options
    return mlp.fit(X, Y, callbacks=callbacks, **given)


class Own(xpmlp.Callback):
    """It adds a value of its own to the history."""

    def on_epoch_end(self, training: Any) -> None:
        training.history.setdefault("own", []).append(7.0 + training.epoch)


class Fails(xpmlp.Callback):
    def on_epoch_end(self, training: Any) -> None:
        if training.epoch == 1:
            raise RuntimeError("no power")


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("tensorboardX", lambda: TensorBoard("runs"), "tensorboard"),
        ("mlflow", lambda: MLflow(), "mlflow"),
        ("optuna", lambda: OptunaPruning(None), "optuna"),
    ],
)
def test_a_missing_extra_is_named(
    module: str, make: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'xpmlp\[{extra}\]'"):
        make()


# TensorBoard


def events(folder: Path) -> Iterator[Any]:
    """Every event of a folder: length, checksum, event, checksum, in each file."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + size])
            at += size + 16


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found[value.tag][event.step] = value.simple_value
    return found


@pytest.fixture
def _tensorboard() -> None:
    pytest.importorskip("tensorboardX")


@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_gets_the_history_by_epoch(tmp_path: Path) -> None:
    history = fit(Own(), TensorBoard(tmp_path / "one"))
    found = scalars(tmp_path / "one")
    assert found.keys() == history.keys()
    for name, values in history.items():
        assert list(found[name]) == [1, 2, 3]
        np.testing.assert_allclose(list(found[name].values()), values, rtol=1e-6)
    assert found["own"] == {1: 7.0, 2: 8.0, 3: 9.0}


@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_gets_what_the_run_was_made_with(tmp_path: Path) -> None:
    fit(TensorBoard(tmp_path))
    (text,) = [
        value.tensor.string_val[0].decode()
        for event in events(tmp_path)
        for value in event.summary.value
        if value.tag.startswith("network")
    ]
    for line in ("| sizes | [3, 6, 2] |", "| activation | tanh |", "| batch_size | 20 |"):
        assert line in text
    assert "| rows | 48 |" in text
    assert "dense1" in text


@pytest.mark.usefixtures("_tensorboard")
def test_a_run_that_continues_adds_to_the_folder(tmp_path: Path) -> None:
    mlp = xpmlp.MLP([3, 6, 2], backend="numpy", seed=0)
    fit(TensorBoard(tmp_path), mlp=mlp)
    history = fit(TensorBoard(tmp_path), mlp=mlp, continued=True, epochs=2)
    assert list(scalars(tmp_path)["loss"]) == [1, 2, 3, 4, 5]
    assert len(history["loss"]) == 5
    starts = [e.step for e in events(tmp_path) if e.session_log.status == 1]  # START
    assert starts == [4]  # TensorBoard drops what an interrupted run has of later epochs


@pytest.mark.usefixtures("_tensorboard")
def test_what_a_failed_run_measured_stays(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no power"):
        fit(TensorBoard(tmp_path), Fails())
    assert list(scalars(tmp_path)["loss"]) == [1, 2]


# MLflow


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow on a folder."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient((tmp_path / "runs").as_uri())


@pytest.mark.filterwarnings("default")  # MLflow's own
def test_mlflow_gets_history_and_settings(client: Any, tmp_path: Path) -> None:
    tracker = MLflow("mine", "first", (tmp_path / "runs").as_uri())
    history = fit(Own(), tracker)
    run = client.get_run(tracker.run_id)
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert client.get_experiment(run.info.experiment_id).name == "mine"
    for name, values in history.items():
        found = client.get_metric_history(tracker.run_id, name)
        assert [each.step for each in found] == [1, 2, 3]
        np.testing.assert_allclose([each.value for each in found], values)
    params = run.data.params
    assert (params["sizes"], params["activation"]) == ("[3, 6, 2]", "tanh")
    assert (params["epochs"], params["batch_size"], params["rows"]) == ("3", "20", "48")
    assert params["optimizer"].startswith("Adam(")


@pytest.mark.filterwarnings("default")
def test_mlflow_keeps_an_experiment_and_knows_of_a_failure(client: Any, tmp_path: Path) -> None:
    uri = (tmp_path / "runs").as_uri()
    one, two = MLflow(uri=uri), MLflow(uri=uri)
    fit(one)
    with pytest.raises(RuntimeError, match="no power"):
        fit(two, Fails())
    runs = [client.get_run(tracker.run_id) for tracker in (one, two)]
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED"]
    assert len({run.info.experiment_id for run in runs}) == 1


class FakeClient:
    """What the callback uses of MLflow's client, on lists, where it is not installed."""

    experiments: list[str]
    calls: list[tuple[Any, ...]]

    def __init__(self, uri: str | None) -> None:
        self.uri = uri

    def get_experiment_by_name(self, name: str) -> Any:
        known = name in self.experiments
        return SimpleNamespace(experiment_id=self.experiments.index(name)) if known else None

    def create_experiment(self, name: str) -> int:
        self.experiments.append(name)
        return len(self.experiments) - 1

    def create_run(self, experiment: int, run_name: str | None) -> Any:
        self.calls.append(("run", experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run {len(self.calls)}"))

    def log_param(self, run: str, name: str, value: str) -> None:
        assert len(value) <= 500
        self.calls.append(("param", run, name, value))

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.calls.append(("metric", run, name, value, step))

    def set_terminated(self, run: str, status: str) -> None:
        self.calls.append(("end", run, status))


def test_the_calls_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=FakeClient))
    FakeClient.experiments, FakeClient.calls = ["other"], (calls := [])
    one, two = MLflow("mine", "first", "runs"), MLflow("mine")
    history = fit(one)
    with pytest.raises(RuntimeError, match="no power"):
        fit(two, Fails())
    assert FakeClient.experiments == ["other", "mine"]
    assert [call for call in calls if call[0] == "run"] == [("run", 1, "first"), ("run", 1, None)]
    losses = [call[3:] for call in calls if call[:3] == ("metric", one.run_id, "val_loss")]
    assert losses == [(value, k + 1) for k, value in enumerate(history["val_loss"])]
    assert ("param", one.run_id, "batch_size", "20") in calls
    ends = [call for call in calls if call[0] == "end"]
    assert ends == [("end", one.run_id, "FINISHED"), ("end", two.run_id, "FAILED")]


# Optuna


@pytest.fixture
def optuna() -> Any:
    found = pytest.importorskip("optuna")
    found.logging.set_verbosity(found.logging.WARNING)
    return found


def test_optuna_gets_each_epoch(optuna: Any) -> None:
    study = optuna.create_study()
    trial = study.ask()
    history = fit(OptunaPruning(trial))
    study.tell(trial, history["val_loss"][-1])
    assert study.trials[0].intermediate_values == dict(enumerate(history["val_loss"]))
    assert study.trials[0].state.name == "COMPLETE"


def test_a_trial_that_is_not_worth_it_is_pruned(optuna: Any) -> None:
    """The first trial learns well, the second not at all: its epochs are worse than the median."""
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    models = []

    def objective(trial: Any) -> float:
        rate = (1e-2, 1e-9)[trial.number]
        models.append(xpmlp.MLP([3, 6, 2], backend="numpy", seed=0))
        options = {"mlp": models[-1], "epochs": 20, "optimizer": xpmlp.Adam(rate)}
        return fit(OptunaPruning(trial, "loss"), **options)["loss"][-1]

    study.optimize(objective, n_trials=2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]
    assert len(study.trials[1].intermediate_values) < 20
    assert models[1].epochs_trained == len(study.trials[1].intermediate_values)


def test_an_unknown_metric_is_refused_with_those_there_are(optuna: Any) -> None:
    trial = optuna.create_study().ask()
    with pytest.raises(InvalidValueError, match=r"no 'val_f1', only loss, accuracy, .*val_loss"):
        fit(OptunaPruning(trial, "val_f1"))
