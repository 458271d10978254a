"""Arrays that estimators take and return: scikit-learn's checks for host arrays, ours for others.

X stays where it is. Targets and weights, which are small, are copied to the host. Fitted arrays and
predictions are of the library of the X that they belong to.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import _array_api, column_or_1d
from sklearn.utils.validation import (
    _check_sample_weight,
    _check_y,
    check_consistent_length,
    validate_data,
)
from xpmlp_backends import backend as make_backend
from xpmlp_backends import backend_of

from xpmlp.arrays.dlpack import detached
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model.pickling import BackendRef
from xpmlp.nn.contract import Array, Backend

DTYPES = [np.float64, np.float32, np.uint8, np.int8, np.uint16, np.int16]
"""Dtypes of X that are kept; others are converted to the first."""

FORMATS = {"accept_sparse": ["csr", "csc"], "dtype": DTYPES, "order": "C"}
"""What scikit-learn's checks accept of X, and convert the rest to."""

SMALL_DTYPES = ("float32", "uint8", "int8", "uint16", "int16", "float16", "bfloat16")
"""Dtypes whose numbers float32 represents exactly."""


class Examples(NamedTuple):
    """Rows to train on or to score.

    Attributes
    ----------
    X : Array, shape (n, features)
        On the host or on a device.
    y : ndarray
        As passed to ``fit``.
    target : ndarray, shape (n,) or (n, outputs)
        The network's targets for y.
    weight : ndarray, shape (n,), or None
    """

    X: Array
    y: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None


def to_host(x: Any) -> Any:
    """Copy an array of any library to NumPy; return anything else as it is."""
    if isinstance(x, np.ndarray):
        return np.asarray(x)
    found = backend_of(x)
    if found is None:
        return x
    x = detached(x)
    if str(x.dtype).endswith("bfloat16"):  # NumPy has none
        x = found.xp.astype(x, found.xp.float32)
    return found.to_numpy(x)


def other_backend(x: Any) -> Backend | None:
    """Return the backend of another library's array; None for what NumPy can read."""
    return None if isinstance(x, np.ndarray) else backend_of(x)


def check_inputs(estimator: Any, X: Any, *, reset: bool) -> Array:
    """Check X as scikit-learn does, with the number of its features and their names.

    ``xpmlp.MLP`` checks arrays of other libraries where they are, so nothing depends on
    scikit-learn's ``array_api_dispatch``.
    """
    if other_backend(X) is not None:
        _check_matrix(X)
        return validate_data(estimator, X, reset=reset, skip_check_array=True)
    return validate_data(estimator, X, reset=reset, **FORMATS)


def _check_matrix(X: Array) -> None:
    """Check that X is a dense matrix, before its columns are counted."""
    if len(X.shape) != 2:
        raise InvalidValueError(
            f"Expected 2D array, got {len(X.shape)}D array instead: X has shape {tuple(X.shape)}. "
            "One example is X.reshape(1, -1), one feature X.reshape(-1, 1)"
        )
    if X.shape[1] == 0:
        raise InvalidValueError(
            f"Found array with 0 feature(s) (shape={tuple(X.shape)}) while a minimum of 1 is "
            "required."
        )
    layout = str(getattr(X, "layout", "torch.strided"))
    if layout != "torch.strided":
        raise InvalidTypeError(
            f"X: found a tensor of layout {layout}; expected a dense one, X.to_dense(), or a "
            "sparse matrix of SciPy's"
        )


def check_pair(
    estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool
) -> tuple[Array, np.ndarray]:
    """Check X and y, and return y as a NumPy array of one or two dimensions."""
    if y is None:
        raise InvalidValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None"
        )
    y = to_host(y)
    if other_backend(X) is None:
        targets = {"multi_output": True, "y_numeric": numeric}
        X, y = validate_data(estimator, X, y, reset=reset, **FORMATS, **targets)
    else:
        X = check_inputs(estimator, X, reset=reset)
        y = _check_y(y, multi_output=True, y_numeric=numeric, estimator=estimator)
        check_consistent_length(X, y)
    y = y.toarray() if hasattr(y, "toarray") else y
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return X, y


def check_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Check the rows' weights, and return them as float64, shape (n,)."""
    if sample_weight is None:
        return None
    return _check_sample_weight(to_host(sample_weight), np.empty((n, 1)), dtype=np.float64)


def check_same_library(estimator: Any, X: Any, method: str) -> None:
    """Refuse an X of another library than the training data's, if scikit-learn does.

    Without its ``array_api_dispatch``, X may be of any library that shares the model's memory.
    """
    check = getattr(_array_api, "check_same_namespace", None)  # of scikit-learn 1.8 and later
    if check is not None:
        check(X, estimator, attribute="_fitted_array", method=method)


def compute_dtype(X: Array, requested: str | None) -> str:
    """Return the dtype to compute in: as requested, else float32 if it has X's numbers exactly."""
    if requested is not None:
        return requested
    return "float32" if str(X.dtype).rsplit(".", 1)[-1] in SMALL_DTYPES else "float64"


def backend_ref(backend: Backend | None) -> BackendRef | None:
    """Return a reference to a backend for pickles and copies; None for NumPy on the host."""
    if backend is None or backend.name == "numpy":
        return None
    return BackendRef(backend.name, getattr(backend, "place", str(backend.device)), backend)


def resolve(ref: BackendRef | None) -> Backend | None:
    """Return the backend of a reference; None for the host, and if it cannot be made."""
    if ref is not None and ref.backend is None:
        try:
            ref.backend = make_backend(ref.name, ref.device)
        except Exception:  # the model has warned, and is on NumPy too
            return None
    return None if ref is None else ref.backend


def names_of(classes: np.ndarray) -> dict[str, list[str]]:
    """Return the metadata that gives exports the names of classes, unless they are 0, 1, 2, ..."""
    plain = classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))
    return {} if plain else {"classes": [str(name) for name in classes]}
