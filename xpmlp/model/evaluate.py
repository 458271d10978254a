"""``evaluate``: loss and metric of a fitted model."""

from functools import partial
from typing import Any, Literal, overload

from xpmlp.model import keywords, rounds
from xpmlp.model.base import Model
from xpmlp.model.examples import weighted
from xpmlp.model.measures import Metrics, chosen, measured
from xpmlp.model.memory import advice_on_use, within_memory
from xpmlp.model.predict import Predictor, evaluate_batches, evaluate_each


class Evaluated(Predictor):
    """A model that can be measured."""

    @overload
    def evaluate(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        metrics: Metrics = (),
        each: Literal[False] = False,
        augment_rounds: int = 0,
    ) -> dict[str, float]: ...

    @overload
    def evaluate(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        metrics: Metrics = (),
        each: bool,
        augment_rounds: int = 0,
    ) -> dict[str, list[float]]: ...

    @keywords.known("evaluate")
    def evaluate(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        metrics: Metrics = (),
        each: bool = False,
        augment_rounds: int = 0,
    ) -> dict[str, Any]:
        """Return ``{"loss": ..., "accuracy": ...}``; ``"r2"`` for as many values as outputs.

        The loss includes the penalty. Data on the host are copied to the device batch by batch.
        Of an ensemble they are those of its predictions; with ``each``, lists of each network's.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        y : array-like, shape (n,) or (n, sizes[-1])
        sample_weight : array-like, shape (n,), optional
            A row of weight 2 counts like two rows, in all that is measured.
        metrics : list of str, function or xpmlp.metrics.Measure
            What else to measure, as for ``fit``: ``metrics=["f1", "auc"]``.
        each : bool
        augment_rounds : int
            As for ``predict``: of means over variants of each picture.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For input that cannot work, as in ``fit``; or if the model has not been trained.
        MissingExtraError
            If a metric needs scikit-learn, which is not installed.
        DeviceMemoryError
            If the device's memory is too small for a single row.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", targets="values", backend="numpy")
        >>> mlp.evaluate([[0.0], [1.0]], [-1.0, 1.0])
        {'loss': 0.5, 'r2': 0.0}
        >>> mlp.evaluate([[0.0], [1.0]], [-1.0, 3.0], metrics=["mae"], sample_weight=[3, 1])
        {'loss': 1.5, 'r2': 0.0, 'mae': 1.5}
        """
        if augment_rounds:
            view = rounds.varied(self, augment_rounds, each)
            return view.evaluate(X, y, sample_weight=sample_weight, metrics=metrics)
        each = self._each("evaluate", each)

        def score(model: Model) -> dict[str, Any]:
            more, held = chosen(metrics, model.task), weighted(model, X, y, sample_weight)
            found = (evaluate_each if each else evaluate_batches)(model, *held[:3])
            more = tuple(measure for measure in more if measure.name not in found)
            return {**found, **measured(model, more, held, each)}

        return within_memory(self, partial(advice_on_use, self, "evaluate"), score)
