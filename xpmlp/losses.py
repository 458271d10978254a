"""Loss functions: the public names of ``xpmlp.nn.losses``."""

from xpmlp.nn.losses import *  # noqa: F403
from xpmlp.nn.losses import __all__ as __all__
