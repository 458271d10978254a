"""Hooks into training: stop early, save the model, show progress, or your own ``Callback``."""

from xpmlp.callbacks.display import ShowProgress
from xpmlp.callbacks.early_stopping import EarlyStopping
from xpmlp.callbacks.save_model import SaveModel
from xpmlp.training.callback import Callback

__all__ = ["Callback", "EarlyStopping", "SaveModel", "ShowProgress"]
