"""Named metrics of predictions on the host: the one list of them, and custom ones.

``evaluate``, ``fit``, and the estimators for tables take their names from here. What NumPy computes
in a line is computed here; the rest is scikit-learn's, which is imported when it is asked for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from numbers import Real
from typing import Any

import numpy as np

from xpmlp.arrays.rows import Rows
from xpmlp.errors import InvalidTypeError, InvalidValueError, require, unknown_name
from xpmlp.model.base import Model
from xpmlp.model.examples import Held
from xpmlp.model.outputs import DECISIONS, OWN_PROBABILITIES
from xpmlp.model.predict import forward_batches
from xpmlp.model.task import Task
from xpmlp.nn.metrics import falls

TAKES = ("classes", "probabilities", "values")


@dataclass(frozen=True)
class Measure:
    """A metric with a name: a function of targets and predictions.

    Parameters
    ----------
    name : str
        In histories and results.
    function : callable (y_true, y_pred) -> float
        Of NumPy arrays. It gets weights as ``sample_weight`` if there are any, and if it takes
        ``classes``, how many classes there are (0 for values).
    takes : {"classes", "probabilities", "values"}
        What ``y_pred`` is: classes or values, as ``predict`` returns them, or probabilities.
        ``y_true`` are class indices, or 0 and 1 by label, or values in their own units.
    falls : bool, optional
        Whether less is better. By default it is told from the name: those that end in "loss",
        "mse", "mae" and so on fall.

    Raises
    ------
    InvalidValueError
        If ``takes`` is something else.

    Examples
    --------
    >>> def worst(y_true, y_pred):
    ...     return abs(y_true - y_pred).max()
    >>> measure = xpmlp.metrics.Measure("worst", worst, takes="values", falls=True)
    >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", targets="values", backend="numpy")
    >>> mlp.evaluate([[0.0], [1.0]], [-1.0, 2.0], metrics=[measure])["worst"]
    2.0
    """

    name: str
    function: Callable[..., float]
    takes: str = "classes"
    falls: bool | None = None

    def __post_init__(self) -> None:
        if self.takes not in TAKES:
            raise unknown_name("takes", self.takes, TAKES)
        if self.falls is None:
            object.__setattr__(self, "falls", falls(self.name))

    def __call__(
        self,
        y: np.ndarray,
        predicted: np.ndarray,
        weight: np.ndarray | None = None,
        classes: int = 0,
    ) -> float:
        """Return the metric.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If there are weights and the function takes none, or if it returns no number.
        """
        self.check(weight)
        known, more = _parameters(self.function), dict[str, Any]()
        if weight is not None:
            more["sample_weight"] = weight
        if "classes" in known:
            more["classes"] = classes
        with np.errstate(over="ignore"):
            found = self.function(y, predicted, **more)
        if not isinstance(found, Real | np.ndarray) or np.ndim(found):
            raise InvalidTypeError(
                f"metrics: {self.name!r} returned a {type(found).__name__}; expected a number"
            )
        return float(found)

    def check(self, weight: np.ndarray | None) -> None:
        """Refuse weights that the function does not take: InvalidValueError."""
        if weight is not None and not {"sample_weight", "**"} & _parameters(self.function):
            raise InvalidValueError(
                f"metrics: found sample weights, which {self.name!r} does not take; give the "
                "function a parameter sample_weight=None, or leave the weights out"
            )


One = str | Measure | Callable[..., float]
Metrics = One | Sequence[One]
"""What ``evaluate`` and ``fit`` take: names, functions (y_true, y_pred), and measures."""


def _parameters(function: Callable[..., Any]) -> set[str]:
    """Return the names of a function's parameters; "**" if it takes any."""
    try:
        found = signature(function).parameters.values()
    except (TypeError, ValueError):  # of some functions in C nobody knows
        return set()
    return {"**" if p.kind is Parameter.VAR_KEYWORD else p.name for p in found}


# The list

Weight = np.ndarray | None


def _accuracy(y: np.ndarray, c: np.ndarray, sample_weight: Weight = None) -> float:
    right = c == y
    return float(np.average(right if y.ndim == 1 else right.all(axis=1), weights=sample_weight))


def _log_loss(y: np.ndarray, p: np.ndarray, sample_weight: Weight = None) -> float:
    if y.ndim == 2:
        likely = np.clip(np.where(y == 1, p, 1 - p).astype(np.float64), 1e-15, 1.0)
        return float(-np.average(np.log(likely).sum(axis=1), weights=sample_weight))
    likely = np.clip(p[np.arange(len(y)), y].astype(np.float64), 1e-15, 1.0)
    return float(-np.average(np.log(likely), weights=sample_weight))


def _by_class(score: str, y: np.ndarray, p: np.ndarray, sample_weight: Weight = None) -> float:
    """Return a score of the second class's probability; of more classes the mean over them."""
    function = getattr(_sklearn(score), score)
    columns = y if y.ndim == 2 else y[:, None] == np.arange(p.shape[1])
    some = [k for k in range(p.shape[1]) if columns[:, k].any() and not columns[:, k].all()]
    if not some:
        raise InvalidValueError(
            f"metric: found {NAMED[score]!r} with validation rows of one class; give more rows, "
            "raise validation_fraction, or use 'log_loss'"
        )
    if y.ndim == 1 and p.shape[1] == 2:
        some = [1]
    each = [function(columns[:, k], p[:, k], sample_weight=sample_weight) for k in some]
    return float(np.mean(each))


def _of_classes(
    score: str, y: np.ndarray, c: np.ndarray, sample_weight: Weight = None, classes: int = 0
) -> float:
    """Return scikit-learn's score of class 1 of two, or else its mean over the classes."""
    average = "binary" if y.ndim == 1 and classes == 2 else "macro"
    function, more = getattr(_sklearn(score), score), {"average": average, "zero_division": 0.0}
    return float(function(y, c, sample_weight=sample_weight, **more))


def _theirs(score: str, y: np.ndarray, c: np.ndarray, sample_weight: Weight = None) -> float:
    return float(getattr(_sklearn(score), score)(y, c, sample_weight=sample_weight))


def _mse(y: np.ndarray, p: np.ndarray, sample_weight: Weight = None) -> float:
    return float(np.mean(np.average((p - y) ** 2, axis=0, weights=sample_weight)))


def _rmse(y: np.ndarray, p: np.ndarray, sample_weight: Weight = None) -> float:
    return float(np.sqrt(_mse(y, p, sample_weight)))


def _mae(y: np.ndarray, p: np.ndarray, sample_weight: Weight = None) -> float:
    return float(np.mean(np.average(np.abs(p - y), axis=0, weights=sample_weight)))


def _r2(y: np.ndarray, p: np.ndarray, sample_weight: Weight = None) -> float:
    mean = np.average(y, axis=0, weights=sample_weight)
    around = _mse(y, np.broadcast_to(mean, y.shape), sample_weight)
    off = _mse(y, p, sample_weight)
    return float(off == 0) if around == 0 else 1.0 - off / around


def _sklearn(score: str) -> Any:
    return require("sklearn.metrics", "sklearn", f"the metric {NAMED[score]!r}")


NAMED = {
    "roc_auc_score": "auc",
    "average_precision_score": "average_precision",
    "f1_score": "f1",
    "precision_score": "precision",
    "recall_score": "recall",
    "balanced_accuracy_score": "balanced_accuracy",
    "matthews_corrcoef": "mcc",
    "median_absolute_error": "median_ae",
    "mean_absolute_percentage_error": "mape",
}
"""The metrics that scikit-learn computes, by the names of its functions."""

_FUNCTIONS: dict[str, dict[str, Callable[..., float]]] = {
    "classes": {
        "accuracy": _accuracy,
        "balanced_accuracy": partial(_theirs, "balanced_accuracy_score"),
        "f1": partial(_of_classes, "f1_score"),
        "precision": partial(_of_classes, "precision_score"),
        "recall": partial(_of_classes, "recall_score"),
        "mcc": partial(_theirs, "matthews_corrcoef"),
    },
    "probabilities": {
        "log_loss": _log_loss,
        "auc": partial(_by_class, "roc_auc_score"),
        "average_precision": partial(_by_class, "average_precision_score"),
    },
    "values": {
        "rmse": _rmse,
        "mae": _mae,
        "r2": _r2,
        "mse": _mse,
        "mape": partial(_theirs, "mean_absolute_percentage_error"),
        "median_ae": partial(_theirs, "median_absolute_error"),
    },
}

MEASURES: dict[str, Measure] = {
    name: Measure(name, function, takes)
    for takes, functions in _FUNCTIONS.items()
    for name, function in functions.items()
}
"""All metrics that have a name."""

OF_CLASSES = {name: m for name, m in MEASURES.items() if m.takes != "values"}
OF_VALUES = {name: m for name, m in MEASURES.items() if m.takes == "values"}

ONE_LABEL = ("balanced_accuracy", "mcc")
"""Metrics of one class for each row, not of several labels."""


# What a model is asked for


def asked_for(metrics: bool | Metrics) -> tuple[bool, Metrics]:
    """Take apart what ``fit`` takes: whether to measure on the training batches, and what else."""
    if type(metrics).__name__ in ("bool", "bool_"):  # NumPy's, too
        return bool(metrics), ()
    return True, metrics  # type: ignore[return-value]


def chosen(metrics: Any, task: Task) -> tuple[Measure, ...]:
    """Return the measures that are asked for: names, functions and ``Measure`` objects.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For unknown names, two of one name, what no metric is, and metrics of another kind of task.
    MissingExtraError
        If scikit-learn is needed and not installed.
    """
    if isinstance(metrics, str | Measure) or callable(metrics):
        metrics = [metrics]
    if not isinstance(metrics, Iterable):
        raise InvalidTypeError(
            f"metrics: found {metrics!r}; expected a list of names or functions, or a bool"
        )
    found = tuple(_measure(one, task) for one in metrics)
    names = [measure.name for measure in found]
    for name in names:
        if names.count(name) > 1 or name == "loss":
            raise InvalidValueError(
                f"metrics: found {name!r} {'twice' if name != 'loss' else ', which is measured'}; "
                "give each metric a name of its own: xpmlp.metrics.Measure(name, function)"
            )
    return found


def _measure(one: Any, task: Task) -> Measure:
    kind, values = task.kind, task.kind == "values"
    fitting = OF_VALUES if values else OF_CLASSES
    if kind == "multilabel":
        fitting = {n: m for n, m in fitting.items() if n not in ONE_LABEL}
    if isinstance(one, str):
        if one in MEASURES and one not in fitting:
            raise InvalidValueError(
                f"metrics: found {one!r} for a model that predicts "
                f"{'values' if values else kind.replace('_', '-')}; expected {', '.join(fitting)}"
            )
        if one not in fitting:
            raise unknown_name("metric", one, fitting)
        if one in NAMED.values():
            require("sklearn.metrics", "sklearn", f"the metric {one!r}")
        one = fitting[one]
    elif not isinstance(one, Measure):
        if not callable(one):
            raise InvalidTypeError(
                f"metrics: found {one!r}; expected a name such as {next(iter(fitting))!r}, a "
                "function (y_true, y_pred), or an xpmlp.metrics.Measure"
            )
        name = getattr(one, "__name__", type(one).__name__)
        one = Measure(name, one, "values" if values else "classes")
    if (one.takes == "values") != values:
        raise InvalidValueError(
            f"metrics: {one.name!r} takes {one.takes}; this model predicts "
            f"{'values' if values else 'classes'}"
        )
    if task.opaque:
        raise InvalidValueError(
            f"metrics: found {one.name!r}; only the loss {task.loss.name!r} knows which output "
            "predicts what"
        )
    return one


def measured(
    model: Model, measures: tuple[Measure, ...], held: Held, each: bool = False
) -> dict[str, Any]:
    """Return the measures on examples by name; with ``each``, a list of each network's."""
    if not measures:
        return {}
    needed = {measure.takes for measure in measures}
    predicted = {
        takes: _predicted(model, held.x, takes, each) for takes in TAKES if takes in needed
    }
    y, task = _true(model.task, held.y), model.task
    classes = 0 if task.kind == "values" else max(model.sizes[-1], 2)

    def of(measure: Measure, p: np.ndarray) -> float:
        return measure(
            y.reshape(p.shape) if measure.takes == "values" else y, p, held.weight, classes
        )

    if not each:
        return {m.name: of(m, predicted[m.takes]) for m in measures}
    return {m.name: [of(m, p) for p in np.moveaxis(predicted[m.takes], 1, 0)] for m in measures}


def _predicted(model: Model, x: Rows, takes: str, each: bool) -> np.ndarray:
    """Return classes, probabilities or values on the host."""
    reading = OWN_PROBABILITIES if takes == "probabilities" else DECISIONS
    made = forward_batches(model, x, reading, each)
    return np.asarray(made if isinstance(made, np.ndarray) else model.backend.to_numpy(made))


def _true(task: Task, y: np.ndarray) -> np.ndarray:
    """Return targets as metrics take them: class indices, 0 and 1 by label, or values."""
    if task.kind == "values":
        return y
    if task.kind in ("labels", "one_hot"):
        return y if y.ndim == 1 else y.argmax(axis=1)
    if ((y != 0) & (y != 1)).any():
        raise InvalidValueError(
            "metrics: found targets between 0 and 1, which are neither class; named metrics need "
            "0 or 1"
        )
    return y.reshape(len(y)).astype(np.int64) if task.kind == "binary" else y.astype(np.int64)
