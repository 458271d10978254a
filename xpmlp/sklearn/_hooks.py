"""scikit-learn's own callbacks, which its 1.9 brought: ``set_callbacks``, in a task per epoch."""

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

__all__ = ["CallbackSupportMixin", "Hooks", "with_callbacks"]


class Hooks:
    """The callbacks of one ``fit``, told of its beginning, its end, and those of each epoch.

    Parameters
    ----------
    estimator : BaseMLP
    X, y : array-like
        The training data, as they came.
    metadata : dict
        Such as sample weights.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, metadata: dict[str, Any]) -> None:
        given = {name: value for name, value in metadata.items() if value is not None}
        self._task = {"estimator": estimator, "X": X, "y": y, "metadata": given}
        self._whole: Any = None
        self._epoch: Any = None
        if SUPPORTED:
            self._whole = estimator._init_callback_context(max_subtasks=estimator.max_iter + 1)
            self._whole.call_on_fit_task_begin(**self._task)

    def begin(self) -> None:
        """Begin an epoch."""
        if self._whole is not None:
            self._epoch = self._whole.subcontext(task_name="iteration")
            self._epoch.call_on_fit_task_begin(**self._task, **self._now())

    def end(self) -> bool:
        """End an epoch; returns whether a callback wants the training to stop."""
        if self._epoch is None:
            return False
        epoch, self._epoch = self._epoch, None
        return bool(epoch.call_on_fit_task_end(**self._task, **self._now()))

    def finish(self) -> None:
        """End the whole."""
        if self._whole is not None:
            self._whole.call_on_fit_task_end(**self._task, reconstruction_attributes={})

    def _now(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """Say what makes a fitted estimator of this moment, for callbacks that ask for one."""
        mlp = self._task["estimator"].mlp_
        return {"reconstruction_attributes": lambda: {"mlp_": mlp.copy()}}


class NoHooks:
    """For ``partial_fit``, which scikit-learn's callbacks know nothing of."""

    def begin(self) -> None:
        """Do nothing."""

    def end(self) -> bool:
        """Do nothing."""
        return False

    def finish(self) -> None:
        """Do nothing."""
