"""``Diagnosis``: a callback that finds what is wrong with a training run, and what to change."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xpmlp.callbacks import Callback, EarlyStopping
from xpmlp.inspect.diagnose import curves, symptoms
from xpmlp.inspect.diagnose.course import Course, Finding
from xpmlp.inspect.diagnose.probe import Probe, as_columns, from_columns
from xpmlp.nn.schedules import Time
from xpmlp.training.loop import Training

__all__ = ["Diagnosis", "Finding"]

Symptom = Callable[[Course], Finding | None]

CAUSES: tuple[Symptom, ...] = (
    symptoms.unlike_columns,
    symptoms.unscaled_inputs,
    symptoms.unscaled_targets,
    symptoms.alike,
    symptoms.large_weights,
    symptoms.exploding,
    curves.large_rate,
    symptoms.growing,
    symptoms.vanishing,
    symptoms.saturated,
    symptoms.dead,
    curves.small_rate,
    symptoms.constant,
    curves.imbalance,
)
"""In the order in which one leads to the next: what is found first should be changed first."""

CONSEQUENCES: tuple[Symptom, ...] = (curves.underfitting, curves.never_predicted)
"""Reported only without a cause: a network that cannot learn is not too small as well."""


def findings(course: Course) -> list[Finding]:
    """Return everything that is wrong, causes before consequences."""
    found = _seen(CAUSES, course) or _seen(CONSEQUENCES, course)
    return found + _seen((curves.overfitting,), course)


def _seen(symptoms: tuple[Symptom, ...], course: Course) -> list[Finding]:
    return [found for symptom in symptoms if (found := symptom(course))]


class Diagnosis(Callback):
    """Watch a training run and report what is wrong with it: nothing, if it is healthy.

    After each epoch, up to 256 training rows pass forward and backward through the network;
    the training steps themselves are not touched. Detecting overfitting needs validation data.

    Parameters
    ----------
    classes : sequence of str, optional
        The names of the classes, for the report; by default they are numbered from 0.

    Attributes
    ----------
    course : Course or None
        Everything that was measured in the last training run.

    Examples
    --------
    >>> points = xpmlp.data.make_xor(n=200)
    >>> mlp, diagnosis = xpmlp.MLP([2, 16, 2], backend="numpy", seed=0), xpmlp.Diagnosis()
    >>> history = mlp.fit(points.X, points.y, optimizer=xpmlp.SGD(1e-6), callbacks=[diagnosis])
    >>> [finding.name for finding in diagnosis.findings]
    ['learning rate too small']
    """

    def __init__(self, classes: Sequence[str] | None = None) -> None:
        self.classes = classes
        self.course: Course | None = None
        self._probe: Probe | None = None

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, most fundamental first; during training, what can be said so far."""
        return [] if self.course is None else findings(self.course)

    def on_train_begin(self, training: Training) -> None:
        """Choose the probe, look at the data, and measure the initial weights."""
        mlp = training.mlp
        self._probe = Probe(training)
        self.course = Course(
            self._probe.facts,
            "" if mlp.task.metric is None else mlp.task.metric.name,
            history=training.history,
            fresh=mlp.epochs_trained == 0,
            classes=self.classes,
        )
        begin = Time(training.finished, training.steps, training.epochs, training.history)
        self._measure(training, training.finished, begin, 0)

    def on_epoch_end(self, training: Training) -> None:
        """Measure."""
        self._measure_finished(training)

    def _measure_finished(self, training: Training) -> None:
        """Measure the last finished epoch, with the rates of its last step."""
        before = len(training.history["loss"]) - 1
        history = {name: values[:before] for name, values in training.history.items()}
        time = Time(training.finished - 1, training.steps, training.epochs, history)
        self._measure(training, training.finished, time, training.steps - 1)

    def _measure(self, training: Training, epoch: int, time: Time, step: int) -> None:
        assert self.course is not None
        assert self._probe is not None
        self.course.measurements.append(self._probe.measure(training, epoch, time, step))

    def on_train_end(self, training: Training) -> None:
        """Note how it ended."""
        course = self.course
        assert course is not None
        course.finished = True
        for callback in training.callbacks:
            if isinstance(callback, EarlyStopping) and callback.restore_best:
                course.kept = None if callback.best_epoch is None else callback.best_epoch + 1
        state, to_numpy = training.state, training.mlp.backend.to_numpy
        if not all(np.isfinite(to_numpy(x)).all() for x in (state.params, state.totals)):
            course.diverged = training.epoch + 1

    def state_dict(self) -> dict[str, Any]:
        """Return what was measured so far, for a checkpoint."""
        assert self.course is not None
        return {"fresh": self.course.fresh, **as_columns(self.course.measurements)}

    def restore(self, training: Training, values: Mapping[str, Any]) -> None:
        """Take that back, instead of what ``on_train_begin`` measured on the resumed weights."""
        assert self.course is not None
        self.course.fresh = bool(values["fresh"])
        self.course.measurements = from_columns(values, self.course.first.layers)

    def report(self) -> str:
        """Return the findings as text, 80 columns wide.

        Examples
        --------
        >>> points = xpmlp.data.make_xor(n=200)
        >>> mlp, diagnosis = xpmlp.MLP([2, 16, 2], backend="numpy", seed=0), xpmlp.Diagnosis()
        >>> history = mlp.fit(points.X, points.y, optimizer=xpmlp.SGD(1e-6), callbacks=[diagnosis])
        >>> print(diagnosis.report().splitlines()[0])
        Diagnosis after 20 epochs: 1 finding
        """
        if self.course is None:
            return "Nothing to diagnose: pass this callback to fit first."
        course, found = self.course, self.findings
        epochs = f"{course.last.epoch} epoch{'s' * (course.last.epoch != 1)}"
        lines = [f"Diagnosis after {epochs}: {len(found) or 'no'} finding{'s' * (len(found) != 1)}"]
        for number, finding in enumerate(found, start=1):
            lines += ["", f"{number}. {finding.name}"]
            for text in (finding.evidence, f"What to try: {finding.change}"):
                lines += textwrap.wrap(text, 80, initial_indent="   ", subsequent_indent="   ")
        if not course.metric:
            lines += ["", "Without accuracy or R², under- and overfitting cannot be detected."]
        elif not course.curve("val_loss"):
            lines += ["", "Without validation data, overfitting cannot be detected."]
        return "\n".join(lines)
