"""What the arguments of ``MLP`` may be, as types."""

from collections.abc import Callable, Sequence
from typing import Any

from xpmlp.nn.activations import Activation
from xpmlp.nn.functions import Array
from xpmlp.nn.initializers import Initializer
from xpmlp.nn.layers import Layer
from xpmlp.nn.losses import Loss
from xpmlp.nn.schedules import Schedule

Namespace = Any
"""An array API namespace: a module, of any library."""

Elementwise = Callable[[Namespace, Array], Array]
ActivationLike = str | Activation | tuple[Elementwise, Elementwise]
"""A name, or a function (xp, z) and its derivative."""

LossLike = str | Loss | Callable[[Namespace, Array, Array], tuple[Array, Array]]
"""A name, or a function (xp, z, y) that returns each row's loss and the gradient by z."""

Rate = float | Schedule
InitializerLike = str | Initializer
NormalizationLike = str | Callable[[str, int], Layer]
Activations = ActivationLike | Sequence[ActivationLike]
Rates = Rate | Sequence[Rate]
