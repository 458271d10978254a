"""The worked step of the lecture slides: 2-3-2, one example, every number to 8 digits.

O. U. Florez, "Building your Neural Network from Scratch": no biases, sigmoid twice, the loss
½Σ(y − h₂)², learning rate 0.001; X and W are drawn from the slides' seeds.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from xpmlp_backends import backend as find

from xpmlp.inspect.explain.explanation import Explanation
from xpmlp.inspect.explain.step import explain
from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import SGD, Optimizer

TITLE = "The worked step of the slides: the network 2-3-2, with every number"

SIGN = (
    "The slides print the first element of dh2/dz2 with a minus sign; it is positive, and all "
    "their products use it that way."
)


def slides_points(n: int = 300) -> np.ndarray:
    """Return the first n of the slides' 300 points, shape (n, 2)."""
    return np.random.RandomState(0).randn(300, 2)[:n]


def slides_network(hidden: int = 3, **options: Any) -> MLP:
    """Return the slides' network with its initial weights; ``options`` are further ones of MLP."""
    fixed: dict[str, Any] = {"output": "sigmoid", "loss": "mse", "bias": False, "scaling": None}
    mlp = MLP([2, hidden, 2], "sigmoid", **fixed, **options, seed=0)
    draw = np.random.RandomState(2017).uniform
    W1, W2 = draw(-1, 1, (2, hidden)), draw(-1, 1, (hidden, 2))
    mlp.load_state_dict({"dense1.W": W1 / np.sqrt(2), "dense2.W": W2 / np.sqrt(hidden)})
    return mlp


def worked_step(
    backend: Any = "numpy", device: str | None = None
) -> tuple[MLP, np.ndarray, np.ndarray, Optimizer]:
    """Return the slides' network, example, target and optimizer.

    X and y have shape (1, 2). The network is in float64 if the backend has it, else in float32.

    Examples
    --------
    >>> from xpmlp.inspect.explain import worked_step
    >>> mlp, X, y, optimizer = worked_step()
    >>> mlp.sizes, X.shape, y.tolist()
    ((2, 3, 2), (1, 2), [[1.0, 0.0]])
    """
    found = find(backend, device)
    dtype = "float64" if "float64" in found.capabilities else "float32"
    mlp = slides_network(backend=found, dtype=dtype)
    return mlp, slides_points(1), np.array([[1.0, 0.0]]), SGD(1e-3)


def explain_worked_step(
    backend: Any = "numpy", device: str | None = None, optimizer: Optimizer | None = None
) -> Explanation:
    """Explain the worked step, with the slides' optimizer unless another is given.

    Examples
    --------
    >>> from xpmlp.inspect.explain import explain_worked_step
    >>> explain_worked_step()["h2"].values.round(8)
    array([[0.37166596, 0.45414264]])
    """
    mlp, X, y, of_slides = worked_step(backend, device)
    explanation = explain(mlp, X, y, optimizer or of_slides)
    return replace(explanation, title=TITLE, notes=(*explanation.notes, SIGN))
