"""Hooks into training: stop, save, show or track it, or do what your own ``Callback`` does."""

from xpmlp.callbacks.display import ShowProgress
from xpmlp.callbacks.early_stopping import EarlyStopping
from xpmlp.callbacks.save_model import SaveModel
from xpmlp.callbacks.trackers import MLflow, OptunaPruning, TensorBoard
from xpmlp.training.callback import Callback

__all__ = [
    "Callback",
    "EarlyStopping",
    "MLflow",
    "OptunaPruning",
    "SaveModel",
    "ShowProgress",
    "TensorBoard",
]
