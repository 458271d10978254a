"""What everyone trains: networks, data, first weights, and the losses that must come out."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Problem:
    """A network with data and the weights from which everyone starts.

    Attributes
    ----------
    sizes : tuple of int
    batch, steps : int
        Rows of a batch, and batches of an epoch; there is no smaller last one.
    X : ndarray
        float32, or uint8 pixels of 0 to 255 that everyone divides by 255.
    y : ndarray of int64
        Class indices.
    weights : tuple of (W, b)
        Of each layer, W of shape (inputs, outputs).
    rate : float
        Adam's; everyone has its usual β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
    """

    sizes: tuple[int, ...]
    batch: int
    steps: int
    X: np.ndarray
    y: np.ndarray
    weights: tuple[tuple[np.ndarray, np.ndarray], ...]
    rate: float = 1e-3

    @property
    def name(self) -> str:
        """The sizes, as in 784-128-10."""
        return "-".join(map(str, self.sizes))

    @property
    def state(self) -> dict[str, Any]:
        """The first weights by xpmlp's names."""
        named = enumerate(self.weights, 1)
        return {f"dense{k}.{s}": v for k, pair in named for s, v in zip("Wb", pair, strict=True)}

    @classmethod
    def make(cls, sizes: tuple[int, ...], batch: int, steps: int, seed: int = 0) -> "Problem":
        """Draw a problem that can be learned; 784 inputs are pixels, four of five black."""
        rng = np.random.default_rng(seed)
        shape = (batch * steps, sizes[0])
        X: Any
        if sizes[0] == 784:
            X = rng.integers(0, 256, shape, dtype=np.uint8)
            X *= rng.random(shape, dtype=np.float32) < 0.2  # as in MNIST
        else:
            X = rng.standard_normal(shape, dtype=np.float32)
        if sizes[-1] == 2:
            y = (X[:, 0] > 0) ^ (X[:, 1] > 0)
        else:
            teacher = rng.standard_normal((sizes[0], sizes[-1]), dtype=np.float32)
            y = np.argmax((X - X.mean()) @ teacher, axis=1)
        weights = tuple(
            (
                rng.standard_normal((n, m), dtype=np.float32) * np.float32((2 / n) ** 0.5),
                np.zeros(m, np.float32),
            )
            for n, m in pairwise(sizes)
        )
        return cls(sizes, batch, steps, X, y.astype(np.int64), weights)


def flops(sizes: tuple[int, ...], batch: int, training: bool = True) -> int:
    """Return the additions and multiplications of one step's matrix products.

    In training these are x W, xᵀ dz and dz Wᵀ for each layer; only the first one has no dz Wᵀ,
    because nobody needs the gradient of the inputs.
    """
    products = [n_in * n_out for n_in, n_out in pairwise(sizes)]
    return 2 * batch * (3 * sum(products) - products[0] if training else sum(products))


def expected_classes(problem: Problem, X: np.ndarray) -> np.ndarray:
    """Return what the first weights predict for float inputs: plain, in float64."""
    *hidden, (W, b) = problem.weights
    x: Any = X.astype(float)
    for V, c in hidden:
        x = np.maximum(x @ V + c, 0)
    return np.asarray(np.argmax(x @ W + b, axis=1))


def expected_losses(problem: Problem, steps: int, epochs: int) -> list[float]:
    """Return each epoch's mean loss over the first ``steps`` batches in order: plain, in float64.

    This is written without xpmlp, so that all contestants can be held against it.
    """
    W = [pair[0].astype(float) for pair in problem.weights]
    b = [pair[1].astype(float) for pair in problem.weights]
    values = [*W, *b]
    first, second = ([np.zeros_like(p) for p in values] for _ in range(2))
    losses = np.empty((epochs, steps))
    for t in range(epochs * steps):
        rows = slice(t % steps * problem.batch, (t % steps + 1) * problem.batch)
        x = problem.X[rows] / (255.0 if problem.X.dtype == np.uint8 else 1.0)
        losses.flat[t], gradients = _gradients(W, b, x, problem.y[rows])
        for p, g, m, v in zip(values, gradients, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            step = m / (1 - 0.9 ** (t + 1))
            p -= problem.rate * step / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
    return [float(loss) for loss in losses.mean(axis=1)]


def _gradients(W: Any, b: Any, x: Any, y: Any) -> tuple[float, list[Any]]:
    """Return the mean softmax cross-entropy of a ReLU network, and its gradients by W, then b."""
    inputs = [x]
    for k in range(len(W) - 1):
        inputs.append(np.maximum(inputs[-1] @ W[k] + b[k], 0))
    z = inputs[-1] @ W[-1] + b[-1]
    z -= z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    dz = np.exp(log_p)
    dz[rows, y] -= 1
    dz /= len(y)
    dW, db = list(W), list(b)  # of as many
    for k in reversed(range(len(W))):
        dW[k], db[k] = inputs[k].T @ dz, dz.sum(axis=0)
        dz = dz @ W[k].T * (inputs[k] > 0)
    return float(-log_p[rows, y].mean()), [*dW, *db]
