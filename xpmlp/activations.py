"""Activation functions: the public names of ``xpmlp.nn.activations``."""

from xpmlp.nn.activations import *  # noqa: F403
from xpmlp.nn.activations import __all__ as __all__
