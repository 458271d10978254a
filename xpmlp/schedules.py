"""Learning-rate schedules: the public names of ``xpmlp.nn.schedules`` and ``xpmlp.nn.rates``."""

from xpmlp.nn import schedules as _schedules
from xpmlp.nn.rates import PerNetwork
from xpmlp.nn.schedules import *  # noqa: F403

__all__ = [*_schedules.__all__, "PerNetwork"]
