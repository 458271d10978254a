"""What PyTorch's autograd says of a network: written again with its functions, in float64.

Tests that ask it are skipped where PyTorch is not installed.
"""

from typing import Any

import numpy as np
import pytest
from conftest import REQUIRED

import xpmlp
from xpmlp.nn.random import dropout_mask

REASON = "torch is not installed: its autograd is what this is compared with"


class Missing:
    """Stands where a library is not installed: a test that uses it is skipped."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("_", "pytest")):  # pytest looks whether it is a fixture
            raise AttributeError(name)
        pytest.skip(REASON)


torch: Any
F: Any
try:
    import torch

    F = torch.nn.functional
    torch.set_num_threads(1)  # the tensors are tiny: threads would only wait for each other
except ModuleNotFoundError:
    if "torch" in REQUIRED:
        raise
    torch = F = Missing()

needs_torch = pytest.mark.skipif(isinstance(torch, Missing), reason=REASON)

SIZES, ROWS = (5, 6, 6, 3), 7
KEYS = np.array([[3, -7], [11, 2**31 - 1], [-5, 13]], dtype=np.int32)

TORCH_ACTIVATIONS = {
    "identity": lambda z: z,
    "sign": lambda z: torch.sign(z),
    "binary_step": lambda z: (z > 0).to(z.dtype),
    "sigmoid": lambda z: torch.sigmoid(z),
    "tanh": lambda z: torch.tanh(z),
    "relu": lambda z: F.relu(z),
    "leaky_relu": lambda z: F.leaky_relu(z),
    "elu": lambda z: F.elu(z),
    "selu": lambda z: F.selu(z),
    "gelu": lambda z: F.gelu(z),
    "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
    "softplus": lambda z: F.softplus(z),
    "swish": lambda z: F.silu(z),
    "mish": lambda z: F.mish(z),
    "softmax": lambda z: F.softmax(z, dim=1),
    "exp": lambda z: torch.exp(z),
}
TORCH_LOSSES = {
    "mse": lambda loss, z, y: 0.5 * F.mse_loss(z, y, reduction="none").sum(1),
    "mae": lambda loss, z, y: F.l1_loss(z, y, reduction="none").sum(1),
    "huber": lambda loss, z, y: F.huber_loss(z, y, reduction="none", delta=loss.delta).sum(1),
    "quantile": lambda loss, z, y: torch.maximum(loss.q * (y - z), (loss.q - 1) * (y - z)).sum(1),
    "poisson": lambda loss, z, y: F.poisson_nll_loss(z, y, log_input=True, reduction="none").sum(1),
    "poisson_deviance": lambda loss, z, y: (torch.xlogy(y, y) - y * z - y + torch.exp(z)).sum(1),
    "binary_cross_entropy": lambda loss, z, y: F.binary_cross_entropy_with_logits(
        z, y * (1 - loss.label_smoothing) + loss.label_smoothing / 2, reduction="none"
    ).sum(1),
    "categorical_cross_entropy": lambda loss, z, y: F.cross_entropy(
        z, y, reduction="none", label_smoothing=loss.label_smoothing
    ),
    "sparse_categorical_cross_entropy": lambda loss, z, y: F.cross_entropy(
        z, y.long(), reduction="none", label_smoothing=loss.label_smoothing
    ),
}


def targets(loss: Any, rng: np.random.Generator) -> np.ndarray:
    labels = np.array([0, 2, 1, 1, 0, 2, 2])
    return {
        "labels": labels,
        "distribution": np.eye(SIZES[-1])[labels],
        "binary": rng.integers(0, 2, (ROWS, SIZES[-1])),
        "counts": rng.integers(0, 5, (ROWS, SIZES[-1])).astype(float),
        "values": rng.standard_normal((ROWS, SIZES[-1])),
    }[loss.targets]


def network(backend: Any, dtype: str, activation: Any, loss: Any, **options: Any) -> xpmlp.MLP:
    """A small network in which every parameter, gains and biases too, is a random number."""
    mlp = xpmlp.MLP(SIZES, activation, loss=loss, backend=backend, dtype=dtype, seed=1, **options)
    rng = np.random.default_rng(5)
    values = {
        name: (rng.uniform(0.5, 1.5, v.shape) if name.endswith((".g", ".var")) else v)
        if v.ndim == 1 and not name.endswith(".b")
        else rng.uniform(-0.5, 0.5, v.shape)
        for name, v in mlp.state_dict().items()
    }
    mlp.load_state_dict(values)
    return mlp


def oracle_output(mlp: xpmlp.MLP, p: dict[str, Any], h: Any, training: bool = True) -> Any:
    """The network written with PyTorch's functions, in float64."""
    a, drops = mlp.network.architecture, iter(range(len(KEYS)))

    def dropped(h: Any, rate: float) -> Any:
        if not (rate and training):
            return h
        return h * torch.tensor(dropout_mask(np, KEYS[next(drops)], h.shape, rate, np.float64))

    h, layers = dropped(h, a.input_dropout), len(a.sizes) - 1
    for i in range(1, layers + 1):
        before, h = h, h @ p[f"dense{i}.W"]
        h = h + p[f"dense{i}.b"] if a.bias else h
        if i == layers:
            break
        if a.normalization == "layer":
            h = F.layer_norm(h, h.shape[1:], p[f"norm{i}.g"], p[f"norm{i}.b"])
        if a.normalization == "batch":
            running = (p[f"norm{i}.mean"].detach().clone(), p[f"norm{i}.var"].detach().clone())
            h = F.batch_norm(h, *running, p[f"norm{i}.g"], p[f"norm{i}.b"], training)
        h = dropped(TORCH_ACTIVATIONS[a.activations[i - 1].name](h), a.dropout[i - 1])
        h = before + h if a.residual and before.shape == h.shape else h
    output = mlp.task.output
    return h if output is None else TORCH_ACTIVATIONS[output.name](h)
