"""``MLP.fit`` behind its arguments: prepare, train, and undo where nothing came of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from xpmlp.checkpoints.snapshot import Saved
from xpmlp.errors import InvalidValueError
from xpmlp.model.shortage import Request
from xpmlp.training.history import History, Progress
from xpmlp.training.loop import Training
from xpmlp.training.prepare import Prepared

if TYPE_CHECKING:
    from xpmlp.mlp import MLP
    from xpmlp.nn.optimizers import Optimizer


def ended(mlp: "MLP", optimizer: "Optimizer") -> Progress:
    """Return what a continued training goes on from.

    Raises
    ------
    InvalidValueError
        If there is none, or it had another optimizer.
    """
    if mlp.progress is None:
        raise InvalidValueError(
            "continued: this model has no training to go on from; fit without it first"
        )
    if type(mlp.progress.optimizer) is not type(optimizer):
        raise InvalidValueError(
            f"continued: found the optimizer {optimizer.name!r}; the training so far had "
            f"{mlp.progress.optimizer.name!r}, whose running averages another cannot use"
        )
    return mlp.progress


def train(
    mlp: "MLP",
    prepare: Callable[[], Prepared],
    asked: Request,
    data_on: str,
    saved: Saved | None,
    **options: Any,
) -> History:
    """Prepare and train: all arrays are held in here, and are free when it has failed.

    Parameters
    ----------
    mlp : MLP
        As it was, if it fails before the first epoch has begun, or for want of memory in it.
    prepare : callable
    asked : Request
        Filled in as it becomes known.
    data_on : {"auto", "device", "host"}
    saved : Saved or None
        A checkpoint to go on from.
    **options
        Of ``Training``.
    """
    training, buffers = None, None
    before = mlp.epochs_trained, mlp.scaling, mlp._task, mlp.progress, mlp.seed
    try:
        if saved is not None:
            buffers = mlp.weights.flat, mlp.weights.statistics
            saved.put_into(mlp)
        epochs = mlp.epochs_trained
        ready = prepare()
        n = ready.data.X.shape[0]
        asked.batch_size = min(asked.batch_size or n, n)
        asked.data = ready.host_bytes
        ready = ready.placed(mlp.backend, mlp.dtype, data_on)
        mlp._settle(ready)
        asked.on_host = ready.on_host
        training = Training(mlp, ready=ready, batch_size=asked.batch_size, **options)
        if saved is not None:
            training.resume(saved)
        return training.run()
    except BaseException as error:
        begun = training is not None and training.begun
        ran_out = isinstance(error, Exception) and mlp.backend.ran_out(error)
        if not begun or (ran_out and mlp.epochs_trained == epochs):
            mlp.epochs_trained, mlp.scaling, task, mlp.progress, seed = before
            mlp._set_task(task)
            mlp.reseed(seed)
            if buffers is not None:
                mlp.weights.adopt(*buffers)
        raise
