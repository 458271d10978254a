"""How sure a model is: calibration on held-out rows, intervals, sets and quantiles."""

from typing import Any

import numpy as np

from xpmlp.arrays.checks import dtype_name
from xpmlp.arrays.dlpack import is_numpy_array
from xpmlp.arrays.rows import Rows
from xpmlp.errors import InvalidValueError
from xpmlp.model import calibration as rules
from xpmlp.model import keywords
from xpmlp.model.calibration import Calibration, pairs
from xpmlp.model.derivatives import Differentiable
from xpmlp.model.examples import pair
from xpmlp.model.memory import advice_on_use, within_memory
from xpmlp.model.outputs import (
    LOGITS,
    MOMENTS,
    OWN_PROBABILITIES,
    POINTS,
    QUANTILES,
    Reading,
    probable,
)
from xpmlp.model.predict import forward_batches
from xpmlp.nn.contract import Array

_READINGS = {"points": POINTS, "moments": MOMENTS, "quantiles": QUANTILES}


class Uncertain(Differentiable):
    """A model that can be calibrated: with the verbs that say how sure it is."""

    def calibrate(self, X: Any, y: Any) -> Calibration:
        """Learn from rows held out how sure the predictions are.

        For classes, ``predict_proba`` then returns probabilities at the temperature found, and
        ``predict_set`` sets of classes. For values, ``predict_interval`` returns intervals. The
        weights stay as they are. A fit, or other weights, ends the calibration, as does
        ``mlp.calibration = None``. Model files keep it.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
            At least 20 rows that the model was not trained on, nor chosen by.
        y : array-like, shape (n,) or (n, targets)
            As for ``fit``.

        Returns
        -------
        Calibration
            Also in ``mlp.calibration``.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For too few rows, input that cannot work, a model that has not been trained, or one
            whose outputs are neither probabilities nor values; the calibration is as it was.

        Examples
        --------
        >>> X = np.linspace(-1, 1, 400)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).standard_normal(400)
        >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
        >>> history = mlp.fit(X[::2], y[::2], batch_size=20, optimizer="sgd", epochs=100)
        >>> mlp.calibrate(X[1::2], y[1::2]).rows
        200
        """
        task = self.task
        if task.opaque:
            raise InvalidValueError(
                f"calibrate: only the loss {task.loss.name!r} knows which output predicts what; "
                "expected one output for each target, or loss='gaussian' or 'quantiles'"
            )
        if task.kind != "values" and probable(task) is None:
            raise InvalidValueError(
                f"calibrate: found outputs that are no probabilities, by the loss "
                f"{task.loss.name!r}; make the model with output='softmax' or 'sigmoid', or with "
                "a cross-entropy"
            )

        def found(model: Any) -> Calibration:
            x, host_y = pair(model, X, y)
            rules.check_rows(x.count)
            target = task.encode(host_y, model.sizes[-1], "float64")
            x = model.scaling.applied(x, model.dtype)
            if task.kind == "values":
                return Calibration(x.count, 1.0, model._misses(x, target))
            return model._of_classes(x, target)

        self.calibration = within_memory(self, lambda: advice_on_use(self, "calibrate"), found)
        return self.calibration

    @keywords.known("predict_interval")
    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:
        """Return an interval for each target: lower and upper end along the last axis.

        The intervals contain the true value for at least this share of all rows like those of the
        calibration, each target by itself: split conformal prediction. They are as wide for all
        rows if the model predicts values alone; with ``loss="gaussian"`` they are as wide as the
        predicted deviation (Lei et al. 2018), and with ``xpmlp.losses.Quantiles`` they are the
        pair of quantiles nearest to the coverage, moved (Romano et al. 2019).

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        coverage : float
            In (0, 1). A calibration on n rows can give at most n/(n + 1).

        Returns
        -------
        Array, shape (n, 2), or (n, targets, 2) for several
            As ``predict`` returns it.

        Raises
        ------
        InvalidValueError
            Without a calibration, for classes, for a coverage that has too few rows; and as
            ``predict``.

        Examples
        --------
        >>> X = np.linspace(-1, 1, 400)[:, None]
        >>> y = X[:, 0] + 0.1 * np.random.default_rng(0).standard_normal(400)
        >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
        >>> history = mlp.fit(X[::2], y[::2], batch_size=20, optimizer="sgd", epochs=100)
        >>> calibration = mlp.calibrate(X[1::2], y[1::2])
        >>> mlp.predict_interval([[0.5]], coverage=0.9).round(2)
        array([[0.27, 0.62]], dtype=float32)
        """
        if self.task.kind != "values":
            raise InvalidValueError(
                "predict_interval: this model predicts classes; use predict_set"
            )
        calibration = self._calibrated("predict_interval")
        thresholds, loss = calibration.threshold(coverage, "predict_interval"), self.task.loss
        pair_of = _nearest(loss, coverage)

        def ends(xp: Any, made: Array) -> Array:
            lower, upper, unit = _band(loss, made, pair_of)
            by = thresholds[pair_of].astype(dtype_name(lower))
            reach = (by if xp is np else self.backend.asarray(by)) * unit
            lower, upper = lower - reach, upper + reach
            middle = 0.5 * (lower + upper)  # quantiles that are moved inward may cross
            found = xp.stack([xp.minimum(lower, middle), xp.maximum(upper, middle)], axis=-1)
            return found[:, 0, :] if found.shape[1] == 1 else found

        return self._forward(X, _READINGS[loss.predicts], "predict_interval", ends)

    @keywords.known("predict_set")
    def predict_set(self, X: Any, coverage: float = 0.9) -> Array:
        """Return a set of classes for each row: True for those in it, shape (n, C).

        The sets contain the right class for at least this share of all rows like those of the
        calibration: split conformal prediction, with the classes of the largest probabilities
        (Sadinle et al. 2019). The most probable class is in each set.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        coverage : float
            In (0, 1). A calibration on n rows can give at most n/(n + 1).

        Returns
        -------
        Array of bool, shape (n, C); (n, 2) for one output

        Raises
        ------
        InvalidValueError
            Without a calibration, for values or several labels, for a coverage that has too few
            rows; and as ``predict``.

        Examples
        --------
        >>> data = xpmlp.data.load("digits")
        >>> mlp = xpmlp.MLP([64, 32, 10], backend="numpy", seed=0)
        >>> history = mlp.fit(data.X[300:], data.y[300:], optimizer=xpmlp.Adam(0.01))
        >>> calibration = mlp.calibrate(data.X[:300], data.y[:300])
        >>> sets = mlp.predict_set(data.X_test, coverage=0.99)
        >>> bool(xpmlp.metrics.coverage(data.y_test, sets) > 0.97)
        True
        """
        kind = self.task.kind
        if kind in ("values", "multilabel"):
            use = "predict_interval" if kind == "values" else "predict_proba"
            what = "values" if kind == "values" else "several labels in a row"
            raise InvalidValueError(f"predict_set: this model predicts {what}; use {use}")
        threshold = self._calibrated("predict_set").threshold(coverage, "predict_set")
        least = -float(threshold[0, 0])

        def chosen(xp: Any, p: Array) -> Array:
            return (p >= least) | (p == xp.max(p, axis=1, keepdims=True))

        return self._forward(X, OWN_PROBABILITIES, "predict_set", chosen)

    def predict_quantiles(self, X: Any) -> Array:
        """Return all quantiles of a network with ``xpmlp.losses.Quantiles``, ascending.

        Returns
        -------
        Array, shape (n, quantiles), or (n, targets, quantiles) for several targets
            As ``predict`` returns it.

        Raises
        ------
        InvalidValueError
            For another loss; and as ``predict``.

        Examples
        --------
        >>> loss = xpmlp.losses.Quantiles([0.1, 0.5, 0.9])
        >>> mlp = xpmlp.MLP([2, 3], loss=loss, targets="values", initializer="zeros")
        >>> mlp.predict_quantiles([[1.0, 2.0]]).round(3)
        array([[0.   , 0.693, 1.386]], dtype=float32)
        """
        if self.task.loss.predicts != "quantiles":
            raise InvalidValueError(
                f"predict_quantiles: found the loss {self.task.loss.name!r}; make the network with "
                "xpmlp.losses.Quantiles([0.05, 0.5, 0.95]), or use predict"
            )

        def last(xp: Any, made: Array) -> Array:
            if made.shape[2] == 1:
                return made[:, :, 0]
            return xp.permute_dims(made, (0, 2, 1))

        return self._forward(X, QUANTILES, "predict_quantiles", last)

    def _calibrated(self, call: str) -> Calibration:
        if self.calibration is None:
            raise InvalidValueError(
                f"{call}: found no calibration; call mlp.calibrate(X, y) with rows that the model "
                "was not trained on"
            )
        return self.calibration

    def _host(self, x: Rows, reading: Reading) -> np.ndarray:
        made = forward_batches(self, x, reading)
        host = np.asarray(made if is_numpy_array(made) else self.backend.to_numpy(made))
        if not np.isfinite(host).all():
            raise InvalidValueError(
                "calibrate: found predictions that are NaN or infinite; train the model again, "
                "with a lower learning rate, or look at the scale of X"
            )
        return host

    def _of_classes(self, x: Rows, target: np.ndarray) -> Calibration:
        """Return the calibration by encoded targets of classes."""
        z, softmax = self._host(x, LOGITS), probable(self.task) == "softmax"
        wanted = np.eye(z.shape[1])[target] if target.ndim == 1 else target
        temperature = rules.temperature_of(z, wanted, softmax)
        if self.task.kind == "multilabel":
            return Calibration(x.count, temperature)
        p = self._host(x, OWN_PROBABILITIES)
        # Of a distribution, the most probable class is the right one.
        right = wanted.argmax(axis=1) if wanted.shape[1] > 1 else (wanted[:, 0] > 0.5).astype(int)
        scores = -np.take_along_axis(p, right[:, None], axis=1).astype(np.float64)
        return Calibration(x.count, temperature, np.sort(scores, axis=0)[None])

    def _misses(self, x: Rows, y: np.ndarray) -> np.ndarray:
        """Return how far targets in their units are outside of what is predicted, sorted."""
        loss = self.task.loss
        made = self._host(x, _READINGS[loss.predicts]).astype(np.float64)
        found = []
        for k in range(pairs(loss)):
            lower, upper, unit = _band(loss, made, k)
            found.append(np.sort(np.maximum(lower - y, y - upper) / unit, axis=0))
        return np.stack(found)


def _nearest(loss: Any, coverage: float) -> int:
    """Return the pair of quantiles whose share between them is nearest to the coverage."""
    if pairs(loss) == 1:
        return 0
    shares = [loss.q[-1 - k] - loss.q[k] for k in range(pairs(loss))]
    return int(np.argmin([abs(share - coverage) for share in shares]))


def _band(loss: Any, made: Array, k: int) -> tuple[Array, Array, Any]:
    """Return lower and upper ends and the unit of the scores, shape (n, columns of y) each.

    Parameters
    ----------
    made : Array
        By the reading of the loss: points, mean and deviation, or quantiles.
    k : int
        Which pair of quantiles, from the outermost.
    """
    if loss.predicts == "points":
        return made, made, 1.0
    if loss.predicts == "moments":
        return made[:, 0, :], made[:, 0, :], made[:, 1, :]
    return made[:, k, :], made[:, made.shape[1] - 1 - k, :], 1.0
