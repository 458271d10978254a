"""From what a person passes to ``fit`` to what a training takes: everything checked, and moved."""

from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.arrays.checks import Scaling, features, placed, taken, to_host, weights
from xpmlp.arrays.dlpack import is_numpy_array
from xpmlp.arrays.sparse import SparseRows, on_host
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model.memory import gibibytes, too_large
from xpmlp.model.task import Task, kind_of, spread
from xpmlp.nn.contract import Backend, Data
from xpmlp.nn.random import Purpose, generator

if TYPE_CHECKING:
    from xpmlp.mlp import MLP

Array = Any


@dataclass(frozen=True)
class Prepared:
    """What ``fit`` needs.

    Attributes
    ----------
    data : Data
        Where it came: all NumPy arrays, or X on the device, or sparse. ``placed`` moves it.
    task : Task
    scaling : Scaling
    spread : float
        Σ (y − mean)² of the targets, for R²; 0 for classes.
    validation : (X where it came, encoded targets on the host) or None
    on_host : bool
        Whether the data stay on the host.
    note : str or None
        Why they do, where nobody asked for it.
    """

    data: Data
    task: Task
    scaling: Scaling
    spread: float
    validation: tuple[Any, Any] | None
    on_host: bool = False
    note: str | None = None

    @property
    def host_bytes(self) -> int:
        """Bytes of the training data that are to be copied to the device."""
        arrays: list[Any] = [x for x in self.data[:3] if is_numpy_array(x)]
        return sum(x.nbytes for x in arrays)

    def placed(self, backend: Backend, dtype: str, data_on: str = "device") -> "Prepared":
        """Put the data on the device, as far as ``data_on`` and its memory let them.

        Raises
        ------
        InvalidValueError
            For data that lie on the device and are wanted on the host, or that are sparse and
            wanted on the device.
        """
        stay, note = _stays(backend, self.data.X, self.host_bytes, data_on, "data")
        scaling = self.scaling.arrays(backend, dtype)
        X, y, weight = (x if stay else placed(backend, x) for x in self.data[:3])
        held = self.validation
        if held is not None and on_host(held[0]):
            held_stays, why = _stays(backend, held[0], held[0].nbytes, data_on, "validation data")
            held = held if held_stays else (placed(backend, held[0]), held[1])
            note = "; ".join(filter(None, (note, why))) or None
        return replace(
            self, data=Data(X, y, weight, *scaling), validation=held, on_host=stay, note=note
        )


def _stays(backend: Backend, X: Any, size: int, data_on: str, what: str) -> tuple[bool, str | None]:
    """Whether data stay on the host, and why where that was left to us."""
    if isinstance(X, SparseRows):
        dense = gibibytes(X.nbytes)
        if data_on == "device":
            raise InvalidValueError(
                f"data_on: found 'device' for sparse {what}, of which only some rows at a time "
                f"become dense there; expected 'auto' or 'host'. Or pass X.toarray(), which takes "
                f"{dense}"
            )
        note = f"the {what} stay on the host: they are sparse, and would take {dense} if dense"
        return True, note if data_on == "auto" else None
    if not is_numpy_array(X):
        if data_on == "host":
            raise InvalidValueError(
                f"data_on: found 'host' for {what} on {backend.device}; pass them as NumPy arrays"
            )
        return False, None
    if data_on != "auto":
        return data_on == "host", None
    free = too_large(backend, size)
    if free is None:
        return False, None
    return True, (
        f"the {what} stay on the host: they take {gibibytes(size)}, and {gibibytes(free)} of the "
        "device's memory are free"
    )


def prepare(
    mlp: "MLP",
    X: Any,
    y: Any,
    sample_weight: Any = None,
    validation_data: tuple[Any, Any] | None = None,
    validation_split: float = 0.0,
) -> Prepared:
    """Check everything, settle task and scaling, split off validation; nothing of ``mlp`` changes.

    Nothing is moved to the device yet.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        See ``MLP.fit``.
    """
    backend, outputs, dtype = mlp.backend, mlp.sizes[-1], mlp.dtype
    x, host_y = pair(mlp, X, y)
    task = Task.make(mlp.targets or kind_of(host_y, outputs, mlp.loss), mlp.loss, mlp.output)
    target = task.encode(host_y, outputs, dtype)
    weight: Any = weights(backend, sample_weight, x.shape[0], dtype)
    if not (isinstance(validation_split, Real) and validation_split == 0):
        if validation_data is not None:
            raise InvalidValueError("give validation_data or validation_split, not both")
        kept, held = split(mlp.seed, x.shape[0], validation_split)
        validation_data = (taken(backend, x, held), host_y[held])
        x, target = taken(backend, x, kept), target[kept]
        weight = None if weight is None else _some(weight[kept])
    scaling = mlp.scaling.fitted(backend, x)
    if task.kind == "values" and task.loss.targets == "values":
        scaling = scaling.fitted_to_targets(target)
    target = scaling.of_targets(target)
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise InvalidTypeError("validation_data: expected a pair (X, y)")
        held_x, held_y = pair(mlp, *validation_data, "validation ")
        scaling.check(held_x, "validation X")
        held_y = task.encode(held_y, outputs, dtype, "validation y")
        validation_data = (held_x, scaling.of_targets(held_y))
    width = spread(target) if task.kind == "values" else 0.0
    return Prepared(Data(x, target, weight, None, None), task, scaling, width, validation_data)


def _some(weight: np.ndarray) -> np.ndarray:
    """Return the weights of the rows that a split has left, if any counts."""
    if not weight.any():
        raise InvalidValueError(
            "sample_weight: found only zeros in the rows that validation_split leaves to train on; "
            "give more rows a weight, or give validation_data"
        )
    return weight


def pair(mlp: "MLP", X: Any, y: Any, prefix: str = "") -> tuple[Array, np.ndarray]:
    """Check that both are numbers, and as many; the examples stay where they lie."""
    x = features(mlp.backend, X, mlp.sizes[0], mlp.dtype, f"{prefix}X")
    host_y = to_host(mlp.backend, y, f"{prefix}y")
    if host_y.ndim == 0 or len(host_y) != x.shape[0]:
        raise InvalidValueError(
            f"{prefix}y: found shape {host_y.shape}; {prefix}X has {x.shape[0]} rows, shape "
            f"{tuple(x.shape)}; expected a target for each"
        )
    return x, host_y


def encode(mlp: "MLP", host_y: np.ndarray) -> np.ndarray:
    """Bring targets into the form the loss takes, by the model's task and scaling."""
    return mlp.scaling.of_targets(mlp.task.encode(host_y, mlp.sizes[-1], mlp.dtype))


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
