"""From what a person passes to ``fit`` to what training takes: everything checked, then placed."""

from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
import xpmlp_backends

from xpmlp.arrays.checks import weights
from xpmlp.arrays.rows import Rows, SparseRows, StoredRows
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model import tables
from xpmlp.model.base import Model
from xpmlp.model.class_weight import class_weights
from xpmlp.model.custom import check_loss
from xpmlp.model.examples import Held, pair
from xpmlp.model.first import first_values
from xpmlp.model.memory import gibibytes, too_large
from xpmlp.model.scaling import Scaling
from xpmlp.model.task import Task, kind_of, total_sum_of_squares
from xpmlp.nn.contract import Array, Backend, Data
from xpmlp.nn.gradcheck import is_custom
from xpmlp.nn.layers import Pass
from xpmlp.nn.ops import scaled
from xpmlp.nn.random import Purpose, generator

CHECKED = 8
"""Rows on which a custom loss is checked."""


@dataclass(frozen=True)
class TrainingData:
    """What ``fit`` needs of the data.

    Attributes
    ----------
    x : Rows
    target : ndarray
        In the form the loss takes.
    weight : ndarray, shape (n,), or None
    task : Task
    scaling : Scaling
    table : Table or None
    around_mean : float
        Σ (y − mean)² of the targets, for R²; 0 for classes.
    validation : Held or None
    first : dict of str to ndarray
        Weights and bins that the model takes from the first training data; empty later.
    note : str or None
        Why the data stay on the host, if nobody asked for it.
    """

    x: Rows
    target: np.ndarray
    weight: np.ndarray | None
    task: Task
    scaling: Scaling
    table: Any
    around_mean: float
    validation: Held | None
    first: dict[str, np.ndarray] = field(default_factory=dict)
    note: str | None = None

    @property
    def host_bytes(self) -> int:
        """Bytes of the training data that can be copied to the device as they are."""
        copied = self.x.on_host and not isinstance(self.x, SparseRows | StoredRows)
        weight = 0 if self.weight is None else self.weight.nbytes
        return (self.x.nbytes if copied else 0) + self.target.nbytes + weight

    def settle_inputs(self, model: Model) -> None:
        """Give the model what it has learned of the inputs: scaling, table, weights and bins."""
        model.scaling, model.table = self.scaling, self.table
        if self.first:
            model.load_state_dict(model.state_dict() | self.first)

    def placed(self, backend: Backend, data_on: str = "device") -> "TrainingData":
        """Return the data with the examples on the device, if ``data_on`` and its memory allow.

        Raises
        ------
        InvalidValueError
            For ``"host"`` and data on the device, and for ``"device"`` and sparse data.
        """
        stay, note = _stays(backend, self.x, self.host_bytes, data_on, "data")
        held = self.validation
        if held is not None and held.x.on_host:
            held_stays, why = _stays(backend, held.x, held.x.nbytes, data_on, "validation data")
            held = held if held_stays else held._replace(x=held.x.to_device())
            note = "; ".join(filter(None, (note, why))) or None
        x = self.x.to_device() if self.x.on_host and not stay else self.x
        return replace(self, x=x, validation=held, note=note)

    def for_steps(self, backend: Backend, dtype: str) -> Data:
        """Return the data for training steps, with targets and weights where the examples are."""
        y, weight = self.target, self.weight
        if not self.x.on_host:
            y, weight = backend.asarray(y), None if weight is None else backend.asarray(weight)
        return Data(self.x.array, y, weight, *self.scaling.arrays(self.x, dtype))


def _stays(
    backend: Backend, x: Rows, size: int, data_on: str, what: str
) -> tuple[bool, str | None]:
    """Return whether data stay on the host; and why, if ``data_on`` is ``"auto"``."""
    if isinstance(x, SparseRows):
        dense = gibibytes(x.nbytes)
        if data_on == "device":
            raise InvalidValueError(
                f"data_on: found 'device' for sparse {what}, of which only some rows at a time "
                f"become dense there; expected 'auto' or 'host'. Or pass X.toarray(), which takes "
                f"{dense}"
            )
        note = f"the {what} stay on the host: they are sparse, and would take {dense} if dense"
        return True, note if data_on == "auto" else None
    if not x.on_host:
        if data_on == "host":
            raise InvalidValueError(
                f"data_on: found 'host' for {what} on {backend.device}; pass them as NumPy arrays"
            )
        return False, None
    if data_on != "auto" or isinstance(x, StoredRows):
        return data_on != "device", None
    memory = backend.memory()
    if memory is None or not too_large(memory, size):
        return False, None
    return True, (
        f"the {what} stay on the host: they take {gibibytes(size)}, and {gibibytes(memory.free)} "
        "of the device's memory are free"
    )


def prepare(
    model: Model,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    validation_data: tuple[Any, ...] | None = None,
    validation_split: float = 0.0,
    class_weight: Any = None,
) -> TrainingData:
    """Check everything, find task and scaling, and split off validation data.

    The model does not change, and nothing is copied to the device yet.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        See ``MLP.fit``.
    """
    outputs, dtype, table = model.sizes[-1], model.dtype, model.table
    splits = not (isinstance(validation_split, Real) and validation_split == 0)
    if table is not None:
        X = tables.as_frame(X)
        kept = split(model.seed, len(X), validation_split)[0] if splits else None
        table = tables.fitted(table, X, model.sizes[0], kept)
    x, host_y = pair(model, X, y, table=table)
    kind = model.targets or kind_of(host_y, outputs, model.loss)
    task = Task.of(host_y, outputs, kind, model.loss, model.output)
    target = model.scaling.encode(task, host_y, outputs, dtype)
    weight: Any = weights(model.backend, sample_weight, x.count, dtype)
    held: Held | None = None
    if splits:
        if validation_data is not None:
            raise InvalidValueError("give validation_data or validation_split, not both")
        kept, aside = split(model.seed, x.count, validation_split)
        if isinstance(x, StoredRows):  # in the order of the file
            kept, aside = np.sort(kept), np.sort(aside)
        held = Held(x.take(aside), target[aside], None, host_y[aside])
        x, target = x.take(kept), target[kept]
        weight = None if weight is None else _some(weight[kept])
    elif validation_data is not None:
        held = _held_out(model, task, validation_data, table)
    if class_weight is not None:
        weight = by_class(task, class_weight, target, weight, dtype)
    scaling = model.scaling.fitted(x, ready=table is not None).fitted_to_targets(
        model.backend, task, target
    )
    if isinstance(x, StoredRows):
        x.statistics()  # all rows are checked before the first step
    x, target = scaling.applied(x, dtype), scaling.of_targets(task, target, dtype)
    if held is not None:
        held_x = scaling.applied(held.x, dtype, "validation X")
        held_target = scaling.of_targets(task, held.target, dtype, "validation y")
        held = held._replace(x=held_x, target=held_target)
    _check_loss(model, task, scaling, x, target)
    around_mean = total_sum_of_squares(target) if task.kind == "values" else 0.0
    first = first_values(model, x, scaling)
    return TrainingData(x, target, weight, task, scaling, table, around_mean, held, first)


def _held_out(model: Model, task: Task, given: Any, table: Any) -> Held:
    """Check validation data that were given: (X, y), or with weights (X, y, sample_weight)."""
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        raise InvalidTypeError(
            "validation_data: expected a pair (X, y), or (X, y, sample_weight) with weights"
        )
    x, y = pair(model, given[0], given[1], "validation ", table)
    target = model.scaling.encode(task, y, model.sizes[-1], model.dtype, "validation y")
    said = given[2] if len(given) == 3 else None
    weight = weights(model.backend, said, x.count, model.dtype, "validation sample_weight")
    return Held(x, target, weight, y)


def by_class(
    task: Task, class_weight: Any, target: np.ndarray, weight: np.ndarray | None, dtype: str
) -> np.ndarray:
    """Return the weights of the training rows, multiplied by those of their classes."""
    if task.kind == "values":
        raise InvalidValueError(
            "class_weight: found it for a model that predicts values; pass sample_weight, a weight "
            "for each row"
        )
    if target.dtype.kind == "f" and ((target != 0) & (target != 1)).any():
        raise InvalidValueError(
            "class_weight: found targets between 0 and 1, which are of no one class; pass "
            "sample_weight, a weight for each row"
        )
    if task.kind == "binary":
        target = target[:, 0]
    elif task.kind != "multilabel" and target.ndim == 2:
        target = target.argmax(axis=1)
    made = class_weights(class_weight, target.astype(np.int64))
    made = made if weight is None else weight * made
    if not made.any():
        raise InvalidValueError("class_weight: found only zeros; give some class a weight")
    return made.astype(dtype)


def _check_loss(model: Model, task: Task, scaling: Scaling, x: Rows, target: np.ndarray) -> None:
    """Check a custom loss on the network's outputs and targets of some rows."""
    if not is_custom(task.loss):
        return
    rows = np.linspace(0, x.count - 1, min(x.count, CHECKED)).astype(np.int64)
    some, xp = x.take(rows), model.backend.xp
    dtype = model.weights.flat.dtype
    inputs = scaled(xp, some.part(0, len(rows)), *scaling.arrays(some, model.dtype), dtype)
    values, ops = model.state_dict(), xpmlp_backends.backend("numpy").ops
    host = np.array(model.backend.to_numpy(inputs))
    with np.errstate(all="ignore"):
        z, _ = model.full_network(task).forward(ops, values, host, Pass(statistics=values))
    z = np.where(np.isfinite(z), z, np.zeros_like(z))  # of a network that overflows
    check_loss(task.loss, z, target[rows], far=task.output is None)


def settle(model: Model, X: Any, y: Any) -> tuple[Array, Array]:
    """Set task and scaling by these data, as ``fit`` does; return X and y as steps take them."""
    data = prepare(model, X, y).placed(model.backend)
    data.settle_inputs(model)
    model.set_task(data.task)
    return data.for_steps(model.backend, model.dtype)[:2]


def _some(weight: np.ndarray) -> np.ndarray:
    """Return the weights that a split has left; refuse them if all are 0."""
    if not weight.any():
        raise InvalidValueError(
            "sample_weight: found only zeros in the rows that validation_split leaves to train on; "
            "give more rows a weight, or give validation_data"
        )
    return weight


def split(seed: int, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows to train on and the rows held out for validation."""
    number = isinstance(share, Real) and not isinstance(share, bool) and 0 < share < 1
    held = round(n * share) if number else 0
    if not 0 < held < n:
        raise InvalidValueError(
            f"validation_split: found {share!r} of {n} rows; expected a share in (0, 1) that "
            "leaves rows on both sides"
        )
    order = generator(seed, Purpose.SPLIT).permutation(n)
    return order[held:], order[:held]


def refuse_single_rows(model: Model, batch_size: int) -> None:
    """Refuse batches of one row for batch normalization: InvalidValueError."""
    if batch_size == 1 and model.network.looks_at_batches:
        raise InvalidValueError(
            "batch_size: found batches of one row, which have no variance, for a network with "
            "batch normalization; expected two rows or more, or normalization='layer'"
        )
