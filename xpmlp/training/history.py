"""What a training leaves behind beside the weights: its history, and where it stands."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xpmlp.nn.contract import Execution, Memory

if TYPE_CHECKING:
    from xpmlp.nn.optimizers import Optimizer

Array = Any


class History(dict[str, list[float]]):
    """One number per epoch for each figure.

    ``loss``, ``accuracy`` (classes) or ``r2`` (values; both only with ``metrics``),
    ``learning_rate`` (of the epoch's last step), ``seconds`` (of training, without validation),
    and with validation data ``val_loss`` and ``val_accuracy`` or ``val_r2``. Training figures are
    means over the epoch's steps, taken while the weights were moving; both losses include the
    penalty.

    Attributes
    ----------
    execution : Execution
        How the backend took the steps, and what did not run as it does best.
    memory : Memory or None
        A GPU's memory after the last epoch, with the training's state in it; None for a CPU.
    examples : int
        Rows of training data, without those held out.
    """

    execution = Execution("call by call")
    memory: Memory | None = None
    examples = 0


@dataclass(frozen=True)
class Progress:
    """Where a training ended, beside the weights: what `fit` with ``continued`` goes on from.

    Attributes
    ----------
    optimizer : Optimizer
    moments : tuple of Array, each shape (layout.size,)
        The optimizer's running averages.
    steps, epochs : int
        Taken so far.
    history : History
    """

    optimizer: "Optimizer"
    moments: tuple[Array, ...]
    steps: int
    epochs: int
    history: History

    def moved(self, move: Callable[[Array], Array]) -> "Progress":
        """Return it with the running averages elsewhere."""
        return replace(self, moments=tuple(map(move, self.moments)))
