"""What comes in and what goes out: scikit-learn's checks for the host's arrays, ours for others.

X stays where it lies. Targets and weights, which are small, go to the host. Everything fitted,
and every prediction, is given in the library of the X that it belongs to.
"""

from typing import Any

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
from xpmlp.nn.contract import Backend

Array = Any

DTYPES = [np.float64, np.float32, np.uint8, np.int8, np.uint16, np.int16]
"""Dtypes of X that stay as they are; others become the first."""

SMALL_INTEGERS = ("uint8", "int8", "uint16", "int16", "float16", "bfloat16")
"""Numbers that float32 holds exactly, and so in which they are computed with."""


def on_host(x: Any) -> Any:
    """Return an array of any library as NumPy's; what is no such array stays as it is."""
    if isinstance(x, np.ndarray):
        return np.asarray(x)
    found = backend_of(x)
    if found is None:
        return x
    x = detached(x)
    if str(x.dtype).endswith("bfloat16"):  # NumPy has none
        x = found.xp.astype(x, found.xp.float32)
    return found.to_numpy(x)


def elsewhere(x: Any) -> Backend | None:
    """Return the backend of an array that is not NumPy's; None for all that NumPy can read."""
    return None if isinstance(x, np.ndarray) else backend_of(x)


def checked_inputs(estimator: Any, X: Any, *, reset: bool) -> Array:
    """Check X: the number of its features and their names, and what scikit-learn checks.

    Arrays of other libraries are left to ``xpmlp.MLP``, which checks them where they lie, so
    nothing depends on scikit-learn's ``array_api_dispatch``.
    """
    if elsewhere(X) is not None:
        _refuse_shape(X)
        return validate_data(estimator, X, reset=reset, skip_check_array=True)
    return validate_data(
        estimator, X, reset=reset, accept_sparse=["csr", "csc"], dtype=DTYPES, order="C"
    )


def _refuse_shape(X: Array) -> None:
    """Refuse what is no matrix, before its columns are counted."""
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


def checked_pair(
    estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool
) -> tuple[Array, np.ndarray]:
    """Check X and y; y comes back as a NumPy array of one or two dimensions."""
    if y is None:
        raise InvalidValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None"
        )
    y = on_host(y)
    if elsewhere(X) is None:
        X, y = validate_data(
            estimator,
            X,
            y,
            reset=reset,
            accept_sparse=["csr", "csc"],
            dtype=DTYPES,
            order="C",
            multi_output=True,
            y_numeric=numeric,
        )
    else:
        X = checked_inputs(estimator, X, reset=reset)
        y = _check_y(y, multi_output=True, y_numeric=numeric, estimator=estimator)
        check_consistent_length(X, y)
    y = y.toarray() if hasattr(y, "toarray") else y
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    return X, y


def checked_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Check weights: float64, shape (n,)."""
    if sample_weight is None:
        return None
    weights: np.ndarray = _check_sample_weight(
        on_host(sample_weight), np.empty((n, 1)), dtype=np.float64
    )
    return weights


def same_place(estimator: Any, X: Any, method: str) -> None:
    """Refuse an X of another library than that of the training, where scikit-learn does.

    Without its ``array_api_dispatch``, X may be of any library that shares the model's memory.
    """
    check = getattr(_array_api, "check_same_namespace", None)  # of scikit-learn 1.8 and later
    if check is not None:
        check(X, estimator, attribute="_fitted_array", method=method)


def dtype_of(X: Array, asked: str | None) -> str:
    """Choose the dtype to compute in: that of X if it is a float's, else float64.

    Integers of 8 and 16 bits are pixels or the like: float32 holds them exactly.
    """
    if asked is not None:
        return asked
    found = str(X.dtype).rsplit(".", 1)[-1]
    return "float32" if found == "float32" or found in SMALL_INTEGERS else "float64"


def home_of(found: Backend | None) -> BackendRef | None:
    """Return what remembers a backend in pickles and copies; None for NumPy on the host."""
    if found is None or found.name == "numpy":
        return None
    return BackendRef(found.name, getattr(found, "place", str(found.device)), found)


def found_again(home: BackendRef | None) -> Backend | None:
    """Return the backend that is remembered; None for the host, and where it cannot be made."""
    if home is not None and home.backend is None:
        try:
            home.backend = make_backend(home.name, home.device)
        except Exception:  # the model has said why, and is on NumPy too
            return None
    return None if home is None else home.backend
