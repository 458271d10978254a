"""What a model does as a whole: it moves to another backend, and is saved."""

import os
from types import ModuleType
from typing import Self

from xpmlp.model import files
from xpmlp.model.backends import backend_for
from xpmlp.model.base import Model
from xpmlp.nn.contract import Backend


class Portable(Model):
    """A model that can be moved and saved."""

    def to(self, backend: str | Backend | ModuleType, device: str | None = None) -> Self:
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
