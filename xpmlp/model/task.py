"""What the targets are, and what follows from them: loss, output activation and metric.

Targets are small, so they are checked on the host with NumPy.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.arrays.checks import narrowed, refuse
from xpmlp.errors import InvalidTypeError, InvalidValueError, warn
from xpmlp.nn import losses, metrics
from xpmlp.nn.activations import ACTIVATIONS, Activation, activation
from xpmlp.nn.gradcheck import is_custom

KINDS = ("labels", "one_hot", "binary", "multilabel", "values")
"""Class indices; one-hot rows or distributions; yes or no; several yes or no; real numbers."""

_DEFAULT: dict[str, type[losses.Loss]] = {
    "labels": losses.SparseCategoricalCrossEntropy,
    "one_hot": losses.CategoricalCrossEntropy,
    "binary": losses.BinaryCrossEntropy,
    "multilabel": losses.BinaryCrossEntropy,
    "values": losses.MSE,
}


@dataclass(frozen=True)
class Task:
    """What a network is trained for.

    Attributes
    ----------
    kind : str
        One of ``KINDS``.
    loss : Loss
    output : Activation or None
        The activation after the last dense layer, if the loss has no link.
    columns : int or None
        Columns of real targets, where there are fewer than the network has outputs: the loss has
        several outputs for each, or is a custom one.
    """

    kind: str
    loss: losses.Loss
    output: Activation | None
    columns: int | None = None

    @classmethod
    def of(cls, y: np.ndarray, outputs: int, kind: str, loss: Any, output: Any) -> "Task":
        """Return the task of these targets, which are of this kind."""
        task, width = cls.make(kind, loss, output, outputs), y.shape[1] if y.ndim > 1 else 1
        fewer = kind == "values" and is_custom(task.loss) and width < outputs
        fewer = fewer and task.columns is None
        return replace(task, columns=width) if fewer else task

    @classmethod
    def make(cls, kind: str, loss: Any, output: Any, outputs: int) -> "Task":
        """Combine a kind of targets with the loss and output activation, if given.

        ``outputs`` are the network's.

        Raises
        ------
        InvalidValueError
            If the loss cannot use such targets, or has another output activation.
        """
        chosen = _DEFAULT[kind]() if loss is None else losses.loss(loss)
        usable = {
            "labels": ("labels",),
            "distribution": ("labels", "one_hot"),
            "binary": ("binary", "multilabel", "labels", "one_hot"),
            "counts": ("values",),
            "values": KINDS,
        }[chosen.targets]
        each = chosen.outputs_per_target
        usable = ("values",) if each > 1 else usable
        if kind not in usable:
            raise InvalidValueError(
                f"loss {chosen.name!r} takes {' or '.join(usable)} targets; found {kind}. "
                f"The default for them is {_DEFAULT[kind].name!r}"
            )
        given = None if output is None else activation(output)
        if given is not None and given.name in (chosen.link, "identity"):
            wrong = given.name != chosen.link
            given = None
        else:
            wrong = given is not None and (chosen.link != "identity" or each > 1)
        if wrong:
            raise InvalidValueError(
                f"output activation {output!r} with loss {chosen.name!r}: that loss "
                + (
                    "takes the outputs as they are"
                    if each > 1
                    else f"applies {chosen.link} itself, to logits"
                )
                + "; leave the output out"
            )
        return cls(kind, chosen, given, outputs // each if each > 1 else None)

    @property
    def opaque(self) -> bool:
        """Whether only a custom loss knows which output predicts which of fewer targets."""
        return self.columns is not None and self.loss.outputs_per_target == 1

    @property
    def link(self) -> Activation:
        """The activation between the network's output and a prediction."""
        return ACTIVATIONS[self.loss.link]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured: the loss, and the metric if there is one."""
        return ("loss",) if self.metric is None else ("loss", self.metric.name)

    @property
    def metric(self) -> metrics.Metric | None:
        """Accuracy for classes, R² for values; None if only the loss knows what predicts them."""
        if self.opaque:
            return None
        if self.columns is not None:
            return metrics.r2_of(self.loss)
        if self.kind == "values":
            return metrics.RATE_R2 if self.loss.link == "exp" else metrics.R2
        if self.kind in ("labels", "one_hot"):
            return metrics.LABELS if self.loss.targets == "labels" else metrics.ONE_HOT
        logits = self.loss.link == "sigmoid"
        return metrics.LOGIT_SIDES if logits else metrics.PROBABILITY_SIDES

    def encode(self, y: np.ndarray, outputs: int, dtype: str, name: str = "y") -> np.ndarray:
        """Check targets and convert them to the form the loss takes.

        Returns
        -------
        ndarray
            int32, shape (n,) for a loss on labels; else ``dtype``, shape (n, outputs), or
            (n, columns).
        """
        if self.kind in ("labels", "one_hot"):
            if y.ndim == 1:
                index = _labels(y, outputs, name)
                if self.loss.targets == "labels":
                    return index
                return np.eye(outputs, dtype=dtype)[index]
            _expect_shape(y, outputs, name)
            if self.loss.targets == "labels":
                return _labels_of_rows(y, name)
            _distributions(y, name)
            return y.astype(dtype)
        columns = self.columns or outputs
        if not (y.ndim == 1 and columns == 1):
            _expect_shape(y, outputs, name, self.columns)
        if self.kind in ("binary", "multilabel"):
            bad = ~((y >= 0) & (y <= 1))
            refuse(y, bad, f"0, 1 or a probability{_two_classes(y, bad, outputs, name)}", name)
        elif self.loss.targets == "counts":
            refuse(y, ~(y >= 0), "a count, 0 or more", name)
        encoded = narrowed(y, dtype)
        refuse(y, ~np.isfinite(encoded), f"a finite number within the range of {dtype}", name)
        return encoded.reshape(-1, columns)


def check_parts(loss: losses.Loss, outputs: int) -> None:
    """Refuse a number of outputs that is no multiple of what a loss has for each target."""
    each = loss.outputs_per_target
    if outputs % each:
        raise InvalidValueError(
            f"sizes: found {outputs} output{'s' * (outputs > 1)} for the loss {loss.name!r}, which "
            f"has {each} for each target; expected {each} for one target, {2 * each} for two, ..."
        )


def check_outputs(kind: str, outputs: int) -> None:
    """Refuse a kind of targets that does not fit the number of outputs."""
    fitting = {"binary": (outputs == 1, "one output, or targets='multilabel'")}
    fitting |= dict.fromkeys(("labels", "one_hot"), (outputs > 1, "an output for each class"))
    fits, expected = fitting.get(kind, (True, ""))
    if not fits:
        raise InvalidValueError(
            f"targets: found {kind!r} for {outputs} outputs; expected {expected}"
        )


def kind_of(y: np.ndarray, outputs: int, loss: Any, name: str = "y") -> str:
    """Infer the kind of targets from their dtype, shape and values, and the network's outputs.

    Integers in one dimension are class indices (for one output: 0 or 1). Rows of 0 and 1 are
    one-hot if each has exactly one 1, else independent labels. Everything else is values; for a
    custom loss they may be floats of fewer columns than the outputs.

    Raises
    ------
    InvalidValueError
        If y's shape does not fit the outputs, or y has floats in one dimension and the network
        several outputs.
    """
    found = None if loss is None else losses.loss(loss)
    wanted = None if found is None else found.targets
    custom = found is not None and is_custom(found)
    if found is not None and (each := found.outputs_per_target) > 1:
        if y.ndim != 1 or outputs != each:
            _expect_shape(y, outputs, name, outputs // each)
        return "values"
    if y.ndim == 1 or (y.ndim == 2 and y.shape[1] == outputs == 1):
        whole = y.dtype.kind in "bui"
        if outputs == 1:
            ones = y == 1
            if wanted is None and not whole and 0 < ones.sum() < y.size and np.all(ones | (y == 0)):
                warn(
                    f"{name}: found only 0.0 and 1.0, as {y.dtype}, which are fitted as real "
                    "values, by the mean squared error. If they are two classes, pass "
                    f"{name}.astype(int); if not, make the model with targets='values'"
                )
            return "binary" if wanted == "binary" or (wanted is None and whole) else "values"
        real = y.dtype.kind == "f" and np.any((y != np.floor(y)) | (y < 0) | (y >= outputs))
        if custom and real:
            return "values"
        if not whole:
            refuse(y, ~np.isfinite(y), "a class label; leave out rows without one", name)
            fix = f" ({name}.astype(int))" if np.all(y == np.floor(y)) else ""
            raise InvalidValueError(
                f"{name}: found {y.dtype} of shape {y.shape}, the first {y[0]} at {name}[0], for "
                f"{outputs} outputs; class labels must be integers 0 to {outputs - 1}{fix}, "
                f"real targets need shape (n, {outputs})"
            )
        return "labels"
    if custom and y.ndim == 2 and 0 < y.shape[1] < outputs and y.dtype.kind == "f":
        return "values"
    _expect_shape(y, outputs, name)
    if wanted == "counts":
        return "values"
    bits = bool(np.all((y == 0) | (y == 1)))
    if wanted == "distribution" or (bits and bool(np.all(y.sum(axis=1) == 1))):
        return "one_hot"
    if wanted == "binary" or (bits and wanted is None):
        return "multilabel"
    return "values"


def total_sum_of_squares(encoded: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return Σ (y − mean)² over all rows and outputs, for R²; weighted, if there are weights."""
    y = encoded.astype(np.float64)
    y = y - y[0]  # exactly 0 where all are the same
    if weight is None:
        return float(np.sum((y - y.mean(axis=0)) ** 2))
    w = weight.astype(np.float64)
    return float(w @ np.sum((y - np.average(y, axis=0, weights=w)) ** 2, axis=1))


def _expect_shape(y: np.ndarray, outputs: int, name: str, columns: int | None = None) -> None:
    if y.ndim != 2 or y.shape[1] != (columns or outputs):
        n = len(y) if y.ndim else 1
        if columns is not None:
            raise InvalidValueError(
                f"{name}: found shape {y.shape}; the model is trained on targets of {columns} "
                f"column{'s' * (columns > 1)}, so expected ({n}, {columns})"
            )
        fix = f"; class labels as a column are np.ravel({name})" if y.shape == (n, 1) else ""
        raise InvalidValueError(
            f"{name}: found shape {y.shape}; the network has {outputs} outputs, so expected "
            f"({n}, {outputs}) or ({n},){fix}"
        )


def _labels(y: np.ndarray, classes: int, name: str) -> np.ndarray:
    expected = f"a class index from 0 to {classes - 1}, one for each of the {classes} outputs"
    if y.dtype.kind == "f":
        refuse(y, ~np.isfinite(y) | (y != np.floor(y)), expected, name)
        raise InvalidValueError(
            f"{name}: found {y.dtype} labels, the first {y[0]} at {name}[0]; expected {expected}: "
            f"{name}.astype(int)"
        )
    if y.dtype.kind == "b" and classes != 2:
        raise InvalidValueError(
            f"{name}: found bool labels, the first {y[0]} at {name}[0]; expected {expected}"
        )
    if y.dtype.kind not in "bui":
        raise InvalidTypeError(f"{name}: found dtype {y.dtype}; expected {expected}")
    bad = (y < 0) | (y >= classes)
    refuse(y, bad, f"{expected}{_numbered(y, bad, classes, name)}", name)
    return y.astype(np.int32)


def _numbered(y: np.ndarray, bad: np.ndarray, classes: int, name: str) -> str:
    """Say how labels become class indices; nothing if none is bad."""
    if not bad.any():
        return ""
    if y.min() == 1 and y.max() == classes:
        return f". They count from 1: pass {name} - 1"
    found = len(np.unique(y))
    if found <= classes:
        return f". Number them from 0: np.unique({name}, return_inverse=True)[1]"
    return f". There are {found} different ones: the network needs {found} outputs"


def _two_classes(y: np.ndarray, bad: np.ndarray, outputs: int, name: str) -> str:
    """Say how other targets of one output are passed; nothing if none is bad."""
    if outputs > 1 or not bad.any():
        return ""
    values = np.unique(y)
    fix = f"({name} == {values[-1]}).astype(int) for two classes, " if len(values) == 2 else ""
    return f". Pass {fix}targets='values' to MLP, or floats as y, for real values"


def _labels_of_rows(y: np.ndarray, name: str) -> np.ndarray:
    one_hot = np.all((y == 0) | (y == 1), axis=1) & (y.sum(axis=1) == 1)
    if not one_hot.all():
        row = int(np.argmin(one_hot))
        raise InvalidValueError(
            f"{name}: found {y[row]} at {name}[{row}]; expected class indices, or rows with one 1"
        )
    return y.argmax(axis=1).astype(np.int32)


def _distributions(y: np.ndarray, name: str) -> None:
    refuse(y, ~((y >= 0) & (y <= 1)), "a probability in [0, 1]", name)
    sums = y.astype(np.float64).sum(axis=1)
    if np.abs(sums - 1).max() > 1e-3:
        row = int(np.argmax(np.abs(sums - 1) > 1e-3))
        raise InvalidValueError(
            f"{name}: row {row} sums to {sums[row]:g}; expected one-hot rows or distributions "
            "that sum to 1"
        )
