"""A fitted estimator: predictions, access to its weights, and moves to other backends."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from xpmlp.data.frame import frame_of, is_frame
from xpmlp.data.table import Table
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.model.pickling import BackendRef
from xpmlp.nn.contract import Array, Backend
from xpmlp.sklearn._arrays import backend_ref, check_inputs, check_same_library, resolve, to_host
from xpmlp.sklearn._layers import LayerArrays, layer_arrays

SUFFIX = {"coefs_": "W", "intercepts_": "b"}
"""The fitted attributes' names in the network."""


class FittedMLP(BaseEstimator):
    """What an estimator has after ``fit``, on top of the network ``mlp_``."""

    mlp_: MLP
    _input_backend: BackendRef | None
    """The backend of the last X; None for the host."""

    def _outputs(self, X: Any, method: str, call: Callable[[MLP, Array], Array]) -> Array:
        """Check X, and return ``call(mlp, X)``, which is an array of X's library."""
        check_is_fitted(self)
        X = self._as_inputs(X)
        check_same_library(self, X, method)
        return call(self.mlp_, check_inputs(self, X, reset=False))

    def _as_inputs(self, X: Any, learn: bool = False) -> Any:
        """Return the columns of a table as inputs; anything else as it is."""
        table: Any = getattr(self, "table", None)
        if table is None:
            return X
        if not is_frame(X):
            rows = np.asarray(X, object)
            if rows.ndim != 2:
                raise InvalidTypeError(f"X: found shape {rows.shape}; expected rows and columns")
            X = {f"x{k}": rows[:, k] for k in range(rows.shape[1])}
        frame = frame_of(X)
        if learn:
            made = Table() if isinstance(table, str) else copy(table)
            self.table_ = made if made.features else made.fit(frame)
        return self.table_.transform(frame)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a network."""
        return hasattr(self, "mlp_")

    def _layer_arrays(self, name: str) -> list[Array]:
        return layer_arrays(self.mlp_, SUFFIX[name], resolve(self._input_backend))

    def _set_layers(self, name: str, values: Sequence[Any]) -> None:
        mlp, layers = self.mlp_, len(self.mlp_.sizes) - 1
        if name == "intercepts_" and not mlp.network.architecture.bias:
            raise InvalidValueError("intercepts_: found values for a network with bias=False")
        if len(values) != layers:
            raise InvalidValueError(
                f"{name}: found {len(values)}; expected {layers} arrays, one for each layer"
            )
        given = {f"dense{i}.{SUFFIX[name]}": to_host(v) for i, v in enumerate(values, start=1)}
        mlp.load_state_dict(mlp.state_dict() | given)

    @property
    def coefs_(self) -> list[Array]:
        """Weight matrices, shape (inputs, outputs) each, in the library of the training data.

        Assigning to the list or to an item changes the network. So does writing to an array, if
        its library can write to the network's memory. NumPy's copies of another library's weights
        are read-only, and training and assignments make new arrays.
        """
        return LayerArrays(self, "coefs_")

    @coefs_.setter
    def coefs_(self, values: Sequence[Any]) -> None:
        self._set_layers("coefs_", values)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases, shape (outputs,) each; to be changed like ``coefs_``."""
        return LayerArrays(self, "intercepts_")

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Any]) -> None:
        self._set_layers("intercepts_", values)

    @property
    def _fitted_array(self) -> Array:
        """A fitted array, with whose library scikit-learn compares that of X."""
        found, backend = self._layer_arrays("intercepts_")[0], resolve(self._input_backend)
        return found if backend is None or backend.owns(found) else backend.asarray(to_host(found))

    def to(self, backend: str | Backend, device: str | None = None) -> Self:
        """Move a fitted estimator to another backend, in place: fit on a GPU, predict on a laptop.

        Parameters
        ----------
        backend, device
            As for ``xpmlp.MLP.to``. Parameters given to the constructor stay as they are.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.mlp_.to(backend, device)
        self._input_backend = backend_ref(self.mlp_.backend)
        return self

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that X may be sparse, or an array of another library."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
