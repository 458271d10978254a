"""What a model does as a whole: it prints, moves to another backend, and is saved."""

import os
from typing import Self

from xpmlp.model import files
from xpmlp.model.backends import backend_for
from xpmlp.model.summary import overview, overview_html, summary
from xpmlp.model.uncertainty import Uncertain
from xpmlp.nn.contract import Backend


class Portable(Uncertain):
    """A model that can be shown, moved and saved."""

    def summary(self) -> str:
        """Return the layers as text: output shape, parameters, and what each computes.

        Examples
        --------
        >>> print(xpmlp.MLP([2, 4, 1], targets="values", backend="numpy").summary())
        layer        output  parameters  computes
        dense1       (n, 4)          12  z = x W + b
        activation1  (n, 4)              h = relu(z)
        dense2       (n, 1)           5  z = x W + b
        17 parameters, float32
        loss: mse, output identity
        backend: numpy on cpu
        """
        return summary(self)

    def __repr__(self) -> str:
        return overview(self)

    def _repr_html_(self) -> str:
        return overview_html(self)

    def to(self, backend: str | Backend, device: str | None = None) -> Self:
        """Move the model to another backend, in place, and return it.

        Raises
        ------
        InvalidValueError, BackendError
            If there is no such backend, or it cannot work here.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 8, 1], backend="auto")  # on a GPU if there is one
        >>> mlp.to("numpy").backend.name
        'numpy'
        """
        before = self.backend
        self.backend = backend_for(backend, device, self.dtype, self.precision)
        self.weights.move(self.backend)
        if self.progress is not None:
            self.progress = self.progress.moved(before.to_numpy).moved(self.backend.asarray)
        self.compiled.clear()
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file; an old file stays until the new one is complete.

        Models can also be pickled and deep-copied: see ``xpmlp.model.pickling``.

        Parameters
        ----------
        path : path-like
            Missing folders are made.

        Raises
        ------
        InvalidValueError
            If ``metadata`` cannot be written as JSON.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 8, 2], backend="numpy")
        >>> mlp.metadata = {"classes": ["no", "yes"]}
        >>> mlp.save("models/first.xpmlp")
        >>> xpmlp.load("models/first.xpmlp").metadata
        {'classes': ['no', 'yes']}
        """
        files.save(self, path)
