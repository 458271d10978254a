"""Trackers: callbacks that pass each epoch's values on to TensorBoard, MLflow or Optuna."""

import os
from time import time_ns
from typing import Any

from xpmlp.errors import InvalidValueError, require
from xpmlp.training.callback import Callback
from xpmlp.training.loop import Training


class _Tracker(Callback):
    """A callback that passes on what an epoch has added to the history."""

    def on_train_begin(self, training: Training) -> None:
        """Note which values are of earlier runs."""
        self._before = {name: len(values) for name, values in training.history.items()}

    def values(self, training: Training) -> dict[str, float]:
        """Return the epoch's values by name."""
        return {
            name: values[-1]
            for name, values in training.history.items()
            if len(values) > self._before.get(name, 0)
        }

    @staticmethod
    def facts(training: Training) -> dict[str, Any]:
        """Return what the run was made with: the arguments of ``MLP`` and of ``fit``."""
        mlp = training.mlp
        return {
            **mlp.arguments,
            "optimizer": training.optimizer,
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "rows": training.history.examples,
            "parameters": mlp.network.layout.count,
            "backend": f"{mlp.backend.name} on {mlp.backend.device}",
        }


class TensorBoard(_Tracker):
    """Write each epoch's values to a folder that TensorBoard shows.

    ``tensorboard --logdir runs`` shows a folder's runs as curves. The files are written by
    tensorboardX, so neither TensorFlow nor TensorBoard is needed to train: extra ``tensorboard``.

    Parameters
    ----------
    folder : path-like
        Of this run: ``"runs/first"``. A run that is resumed or continued adds to it.

    Raises
    ------
    MissingExtraError
        If tensorboardX is not installed.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
    >>> tracker = xpmlp.callbacks.TensorBoard("board/first")
    >>> history = mlp.fit(points.X, points.y, epochs=3, callbacks=[tracker])
    >>> from pathlib import Path
    >>> len(list(Path("board/first").iterdir()))
    1
    """

    everywhere = False

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._make: Any = require("tensorboardX", "tensorboard", "TensorBoard").SummaryWriter

    def on_train_begin(self, training: Training) -> None:
        """Open a file in the folder, which replaces later epochs of a run that is resumed."""
        super().on_train_begin(training)
        again = training.finished + 1 if training.finished else None
        new = f".{time_ns()}"  # tensorboardX counts seconds, and writes over a file of the same one
        self._writer = self._make(self.folder, purge_step=again, filename_suffix=new)
        facts = (f"| {name} | {value} |" for name, value in self.facts(training).items())
        table = "\n".join(["| setting | value |", "|---|---|", *facts])
        self._writer.add_text("network", f"{table}\n\n```\n{training.mlp.summary()}\n```")

    def on_epoch_end(self, training: Training) -> None:
        """Write the epoch's values."""
        for name, value in self.values(training).items():
            self._writer.add_scalar(name, value, training.epoch + 1)
        self._writer.flush()

    def on_train_end(self, training: Training) -> None:
        """Close the file."""
        self._writer.close()


class MLflow(_Tracker):
    """Log each epoch's values, and what the run was made with, to MLflow: extra ``mlflow``.

    Parameters
    ----------
    experiment : str
        It is made if there is none.
    run : str, optional
        The run's name; MLflow invents one if omitted.
    uri : str, optional
        Where MLflow keeps runs: a folder or a server. By default what MLflow is set to.

    Attributes
    ----------
    run_id : str or None
        MLflow's name of the last run, with which more can be logged to it.

    Raises
    ------
    MissingExtraError
        If MLflow is not installed.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
    >>> tracker = xpmlp.callbacks.MLflow("xor", uri="sqlite:///runs.db")  # doctest: +SKIP
    >>> history = mlp.fit(points.X, points.y, callbacks=[tracker])  # doctest: +SKIP
    """

    everywhere = False

    def __init__(
        self, experiment: str = "xpmlp", run: str | None = None, uri: str | None = None
    ) -> None:
        self.experiment, self.run = experiment, run
        self._client: Any = require("mlflow", "mlflow", "MLflow").MlflowClient(uri)
        self.run_id: str | None = None

    def on_train_begin(self, training: Training) -> None:
        """Begin a run in the experiment."""
        super().on_train_begin(training)
        client, name = self._client, self.experiment
        found = client.get_experiment_by_name(name)
        number = client.create_experiment(name) if found is None else found.experiment_id
        self.run_id = client.create_run(number, run_name=self.run).info.run_id
        for name, value in self.facts(training).items():
            client.log_param(self.run_id, name, str(value)[:500])

    def on_epoch_end(self, training: Training) -> None:
        """Log the epoch's values."""
        for name, value in self.values(training).items():
            self._client.log_metric(self.run_id, name, value, step=training.epoch + 1)

    def on_train_end(self, training: Training) -> None:
        """End the run: finished, or failed."""
        good = training.stopped or training.finished >= training.epochs
        self._client.set_terminated(self.run_id, "FINISHED" if good else "FAILED")


class OptunaPruning(_Tracker):
    """Report each epoch to a trial of Optuna, and end a training that is not worth finishing.

    Extra ``optuna``.

    Parameters
    ----------
    trial : optuna.Trial
        What Optuna gives to the objective.
    monitor : str
        The key of the history that the study minimizes or maximizes.

    Raises
    ------
    optuna.TrialPruned
        In ``fit``, if the study's pruner says so; the study counts the trial as pruned.
    InvalidValueError
        In ``fit``, if nothing measures ``monitor``.
    MissingExtraError
        If Optuna is not installed.

    Examples
    --------
    >>> import optuna
    >>> points = xpmlp.data.make_xor(n=100)
    >>> def objective(trial):
    ...     mlp = xpmlp.MLP([2, trial.suggest_int("units", 2, 8), 2], backend="numpy", seed=0)
    ...     pruning = xpmlp.callbacks.OptunaPruning(trial, "val_accuracy")
    ...     history = mlp.fit(
    ...         points.X, points.y, epochs=3, validation_split=0.2, callbacks=[pruning]
    ...     )
    ...     return history["val_accuracy"][-1]
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(direction="maximize")
    >>> study.optimize(objective, n_trials=2)
    >>> len(study.trials)
    2
    """

    def __init__(self, trial: Any, monitor: str = "val_loss") -> None:
        self.trial, self.monitor = trial, monitor
        self._pruned: Any = require("optuna", "optuna", "OptunaPruning").TrialPruned

    def on_epoch_end(self, training: Training) -> None:
        """Report the epoch's value; end the training if the pruner says so."""
        values = self.values(training)
        if self.monitor not in values:
            raise InvalidValueError(
                f"OptunaPruning: this training has no {self.monitor!r}, only {', '.join(values)}; "
                "give validation_data or validation_split, or another monitor"
            )
        self.trial.report(values[self.monitor], training.epoch)
        if self.trial.should_prune():
            raise self._pruned(f"pruned after epoch {training.epoch + 1}")
