"""Augmentation of pictures: the public names of ``xpmlp.nn.augment``."""

from xpmlp.nn.augment import *  # noqa: F403
from xpmlp.nn.augment import __all__ as __all__
