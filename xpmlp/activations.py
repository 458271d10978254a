"""Activation functions: the public names of ``xpmlp.nn.activations``."""

from xpmlp.model.custom import register_activation
from xpmlp.nn.activations import ACTIVATIONS, Activation, activation, from_functions

__all__ = ["ACTIVATIONS", "Activation", "activation", "from_functions", "register_activation"]
