"""Learning-rate schedules: the public names of ``xpmlp.nn.schedules``."""

from xpmlp.nn.schedules import *  # noqa: F403
from xpmlp.nn.schedules import __all__ as __all__
