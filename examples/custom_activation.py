"""A custom activation and a custom loss, whose derivatives are checked before they are used."""

from typing import Any

import numpy as np

import xpmlp


def bump(xp: Any, z: Any) -> Any:
    """exp(−z²)."""
    return xp.exp(-z * z)


def bump_derivative(xp: Any, z: Any) -> Any:
    """−2 z exp(−z²)."""
    return -2.0 * z * xp.exp(-z * z)


def log_cosh(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
    """Σ ln cosh(z − y) of each row, and its gradient tanh(z − y)."""
    e = z - y
    return xp.sum(xp.log(xp.cosh(e)), axis=1), xp.tanh(e)


def wrong_derivative(xp: Any, z: Any) -> Any:
    """The wrong sign, which xpmlp refuses."""
    return 2.0 * z * xp.exp(-z * z)


try:
    xpmlp.MLP([1, 8, 1], activation=(bump, wrong_derivative))
except xpmlp.errors.GradientError as error:
    print("refused:", error)

X = np.linspace(-3, 3, 200).reshape(-1, 1)
mlp = xpmlp.MLP([1, 16, 1], activation=(bump, bump_derivative), loss=log_cosh, seed=0)
history = mlp.fit(X, np.sin(X), epochs=200, batch_size=20, optimizer=xpmlp.Adam(1e-2))
print(f"R² of sin x: {history['r2'][-1]:.4f}")
