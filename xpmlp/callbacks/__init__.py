"""Hooks into training: stop early, save the model, show progress, or your own ``Callback``."""

from xpmlp.callbacks.callbacks import Callback, EarlyStopping, SaveModel, ShowProgress

__all__ = ["Callback", "EarlyStopping", "SaveModel", "ShowProgress"]
