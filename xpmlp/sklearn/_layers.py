"""``coefs_`` and ``intercepts_``: lists that write to the network what is assigned to them."""

from typing import Any, NoReturn

import numpy as np

from xpmlp.arrays.dlpack import import_array, shares_memory
from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.nn.contract import Array, Backend


def layer_arrays(mlp: MLP, suffix: str, backend: Backend | None) -> list[Array]:
    """Return each layer's weights or biases on X's backend; None is the host.

    They are views of the network's memory if both libraries can write to it. Otherwise nobody can
    write to them, so that nothing is lost unnoticed: copies in NumPy are read-only, JAX's arrays
    are anyway, and where X's library would make copies that can be written to, they are the
    network's own arrays.
    """
    own = mlp.backend
    if suffix == "b" and not mlp.network.architecture.bias:
        zeros = [np.zeros(n, mlp.dtype) for n in mlp.sizes[1:]]
        for x in zeros:
            x.flags.writeable = False
        return zeros if backend is None else [backend.asarray(x) for x in zeros]
    views = mlp.network.layout.views(own.xp, mlp.weights.flat)
    found = [views[f"dense{i}.{suffix}"] for i in range(1, len(mlp.sizes))]
    if isinstance(found[0], np.ndarray) if backend is None else backend.owns(found[0]):
        return found
    if backend is not None and _can_share(own, backend, found[0]):
        return [import_array(backend, x, suffix) for x in found]
    if backend is not None and "mutable" in backend.capabilities:
        return found
    host = [own.to_numpy(x) for x in found]
    if backend is not None:
        return [backend.asarray(x) for x in host]
    for x in host:
        x.flags.writeable = False
    return host


def _can_share(own: Backend, backend: Backend, x: Array) -> bool:
    both = all("mutable" in b.capabilities for b in (own, backend))
    return both and shares_memory(backend, x)


class LayerArrays(list[Array]):
    """One array for each layer. An assigned item or slice is checked, and becomes the network's.

    A list keeps the arrays that it was made with, and those assigned through it: another fit does
    not change them. Copies and pickles are plain lists.

    Parameters
    ----------
    estimator : FittedMLP
    name : {"coefs_", "intercepts_"}
    """

    def __init__(self, estimator: Any, name: str) -> None:
        super().__init__(estimator._layer_arrays(name))
        self._estimator, self._name, self._mlp = estimator, name, estimator.mlp_

    def __setitem__(self, index: Any, value: Any) -> None:
        """Set weights of the network.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For arrays of another number or shape, or not finite; nothing is changed then.
        """
        if self._estimator.mlp_ is not self._mlp:
            raise InvalidValueError(
                f"{self._name}: found a list of a network that has been replaced since; assign to "
                f"estimator.{self._name}[i]"
            )
        values = list(self)
        values[index] = value
        setattr(self._estimator, self._name, values)
        super().__setitem__(slice(None), self._estimator._layer_arrays(self._name))

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"{self._name} has one array for each layer: none can be added, removed or moved. "
            "Assign to an item to change its values"
        )

    append = extend = insert = pop = remove = clear = sort = reverse = _refuse
    __delitem__ = __iadd__ = __imul__ = _refuse

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (list(self),)
