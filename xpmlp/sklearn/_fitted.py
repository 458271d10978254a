"""A fitted estimator: predictions, access to its weights, and moves to other backends."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from xpmlp.mlp import MLP
from xpmlp.model.pickling import BackendRef
from xpmlp.nn.contract import Array, Backend
from xpmlp.sklearn._arrays import backend_ref, check_inputs, check_same_library, resolve, to_host


class FittedMLP(BaseEstimator):
    """What an estimator has after ``fit``, on top of the network ``mlp_``."""

    mlp_: MLP
    _input_backend: BackendRef | None
    """The backend of the last X; None for the host."""

    def _outputs(self, X: Any, method: str, call: Callable[[MLP, Array], Array]) -> Array:
        """Check X, and return ``call(mlp, X)``, which is an array of X's library."""
        check_is_fitted(self)
        check_same_library(self, X, method)
        return call(self.mlp_, check_inputs(self, X, reset=False))

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a network."""
        return hasattr(self, "mlp_")

    def _tensors(self, suffix: str) -> list[Array]:
        """Return each layer's weights or biases on X's backend; views, if it is the model's too."""
        mlp, backend = self.mlp_, resolve(self._input_backend)
        views = mlp.network.layout.views(mlp.backend.xp, mlp.weights.flat)
        found = [views[f"dense{i}.{suffix}"] for i in range(1, len(mlp.sizes))]
        if isinstance(found[0], np.ndarray) if backend is None else backend.owns(found[0]):
            return found
        host = [mlp.backend.to_numpy(x) for x in found]
        return host if backend is None else [backend.asarray(x) for x in host]

    def _set_tensors(self, suffix: str, values: Sequence[Any]) -> None:
        mlp = self.mlp_
        given = {f"dense{i}.{suffix}": to_host(v) for i, v in enumerate(values, start=1)}
        mlp.load_state_dict(mlp.state_dict() | given)

    @property
    def coefs_(self) -> list[Array]:
        """Weight matrices, shape (inputs, outputs) each, in the library of the training data."""
        return self._tensors("W")

    @coefs_.setter
    def coefs_(self, values: Sequence[Any]) -> None:
        self._set_tensors("W", values)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases, shape (outputs,) each."""
        return self._tensors("b")

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Any]) -> None:
        self._set_tensors("b", values)

    @property
    def _fitted_array(self) -> Array:
        """A fitted array, with whose library scikit-learn compares that of X."""
        return self.intercepts_[0]

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
