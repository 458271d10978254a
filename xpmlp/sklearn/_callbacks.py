"""scikit-learn's callbacks, from its version 1.9 on: ``set_callbacks``, with a task per epoch."""

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks

    SUPPORTED = True
except ImportError:  # an older scikit-learn

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for the mixin that this scikit-learn does not have."""

    def with_callbacks(method: Any) -> Any:
        """Return the method: there are no callbacks."""
        return method

    SUPPORTED = False

__all__ = ["CallbackSupportMixin", "ScikitCallbacks", "with_callbacks"]


class ScikitCallbacks:
    """The callbacks of one ``fit``, called when it and each of its epochs begins and ends.

    X, y and the metadata, such as sample weights, are those passed to ``fit``. Not ``enabled`` in
    ``partial_fit``, which scikit-learn calls no callbacks for.
    """

    def __init__(
        self, estimator: Any, X: Any, y: Any, metadata: dict[str, Any], enabled: bool
    ) -> None:
        given = {name: value for name, value in metadata.items() if value is not None}
        self._task = {"estimator": estimator, "X": X, "y": y, "metadata": given}
        self._fit: Any = None
        self._epoch: Any = None
        if SUPPORTED and enabled:
            self._fit = estimator._init_callback_context(max_subtasks=estimator.max_iter + 1)
            self._fit.call_on_fit_task_begin(**self._task)

    def begin_epoch(self) -> None:
        """Call what runs before an epoch."""
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="iteration")
            self._epoch.call_on_fit_task_begin(**self._task, **self._reconstruction())

    def end_epoch(self) -> bool:
        """Call what runs after an epoch; return whether a callback wants training to stop."""
        if self._epoch is None:
            return False
        epoch, self._epoch = self._epoch, None
        return bool(epoch.call_on_fit_task_end(**self._task, **self._reconstruction()))

    def end_fit(self) -> None:
        """Call what runs after ``fit``."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._task, reconstruction_attributes={})

    def _reconstruction(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return how to make a fitted estimator of this moment, for callbacks that need one."""
        mlp = self._task["estimator"].mlp_
        return {"reconstruction_attributes": lambda: {"mlp_": mlp.copy()}}
