"""Estimators that say how sure they are, after ``calibrate``."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from xpmlp.sklearn._arrays import check_pair, check_same_library
from xpmlp.sklearn._fitted import FittedMLP


class Calibrated(FittedMLP):
    """A fitted estimator that learns from held-out rows how sure its predictions are."""

    _numeric: ClassVar[bool]

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return the network's targets for y."""
        raise NotImplementedError

    def calibrate(self, X: Any, y: Any) -> Self:
        """Learn from rows held out how sure the predictions are: see ``xpmlp.MLP.calibrate``.

        ``mlp_.calibration`` has what was found; None there undoes it, as does another fit.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame, shape (n, features)
            At least 20 rows that the estimator was not trained on, nor chosen by.
        y : array-like, shape (n,) or (n, outputs)
            As for ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For too few rows, or data that do not fit.
        """
        check_is_fitted(self)
        X = self._as_inputs(X)
        check_same_library(self, X, "calibrate")
        X, y = check_pair(self, X, y, reset=False, numeric=self._numeric)
        self.mlp_.calibrate(X, self._encode(y))
        return self
