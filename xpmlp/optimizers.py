"""Optimizers: the public names of ``xpmlp.nn.optimizers``."""

from xpmlp.nn.optimizers import *  # noqa: F403
from xpmlp.nn.optimizers import __all__ as __all__
