"""Models of every kind for tests of files, and files that are forged from them."""

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import xpmlp
from xpmlp import losses
from xpmlp.nn import layers
from xpmlp.storage import tensorfile as container

N, INPUTS = 24, 4
METADATA = {"classes": ["a", "b", "ü"], "nested": {"rate": 0.1, "none": None, "yes": True}}


def wave(xp: Any, z: Any) -> Any:
    return z + 0.5 * xp.sin(z)


def wave_derivative(xp: Any, z: Any) -> Any:
    return 1.0 + 0.5 * xp.cos(z)


def log_cosh(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
    e = z - y
    return xp.sum(xp.log(xp.cosh(e)), axis=1), xp.tanh(e)


def halved(name: str, units: int) -> layers.Layer:
    half = xpmlp.Activation(
        "half", lambda ops, z: 0.5 * z, lambda ops, z, h: 0.5 * ops.xp.ones_like(z)
    )
    return layers.activate(name, half)


def twice_normal(rng: Any, n_in: int, n_out: int) -> Any:
    return 2.0 * rng.standard_normal((n_in, n_out))


SINE = xpmlp.Activation("sine", lambda ops, z: ops.xp.sin(z), lambda ops, z, h: ops.xp.cos(z))
REAL = {"standard values", "mse", "huber", "output", "poisson", "own output", "own loss"}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "float64": {"dtype": "float64"},
    "layer norm": {"normalization": "layer"},
    "batch norm": {"normalization": "batch"},
    "residual": {"residual": True},
    "dropout": {"dropout": [0.5, 0.25], "input_dropout": 0.125},
    "no bias": {"bias": False},
    "penalties": {"l1": 1e-3, "l2": 1e-2, "max_norm": 0.5},
    "standard scaling": {"scaling": "standard"},
    "standard values": {"scaling": "standard", "loss": "mse"},
    "pixels": {"scaling": "auto", "image_shape": (2, 2)},
    "no scaling": {"scaling": None},
    "activations": {"activation": ["gelu", "mish"]},
    "initializer": {"initializer": twice_normal, "seed": 2**80},
    "smoothing": {"loss": losses.SparseCategoricalCrossEntropy(label_smoothing=0.1)},
    "mse": {"loss": "mse"},
    "huber": {"loss": losses.Huber(2.0)},
    "output": {"loss": losses.Quantile(0.9), "output": "tanh"},
    "poisson": {"loss": "poisson"},
    "own activation": {"activation": (wave, wave_derivative)},
    "own output": {"loss": "mse", "output": SINE},
    "own loss": {"loss": log_cosh},
    "own layer": {"normalization": halved},
    "for tables": {
        "activation": "selu",
        "activation_mix": True,
        "input_scale": True,
        "parametrization": "ntk",
        "bias_initializer": "normal",
        "zero_last": True,
        "embedding": xpmlp.Embedding("piecewise", bins=6, columns=[0, 1, 3]),
        "scaling": "robust",
    },
    "everything": {
        "activation": "swish",
        "normalization": "batch",
        "residual": True,
        "dropout": 0.25,
        "l2": 1e-3,
        "scaling": "standard",
        "loss": losses.SparseCategoricalCrossEntropy(0.05),
        "dtype": "float64",
    },
}
OWN = {"wave": (wave, wave_derivative), "sine": SINE, "log_cosh": log_cosh, "halved": halved}
ON_EVERY_BACKEND = ("pixels", "own activation", "own loss", "huber", "everything")


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(17)
    X = 2 + 3 * rng.standard_normal((N, INPUTS))
    if name == "pixels":
        X = rng.integers(0, 256, (N, INPUTS), dtype=np.uint8)
    y = rng.integers(0, 4, (N, 3)).astype(float) if name in REAL else rng.integers(0, 3, N)
    return X, y


@cache
def trained(name: str) -> xpmlp.MLP:
    """A small model with these options, trained on NumPy for two epochs."""
    options = {"seed": 7} | OPTIONS[name]
    mlp = xpmlp.MLP([INPUTS, 6, 6, 3], backend="numpy", **options)
    mlp.metadata = METADATA
    augment = ["rotate", xpmlp.augment.Elastic(2, sigma=1)] if name == "pixels" else None
    mlp.fit(*data(name), epochs=2, batch_size=8, augment=augment)
    return mlp


def content(mlp: xpmlp.MLP) -> dict[str, Any]:
    """Everything a file should bring back, in a form that ``==`` compares."""
    scaling = vars(mlp.scaling)
    tensors = mlp.state_dict() | {
        k: v for k, v in scaling.items() if k.endswith(("shift", "scale"))
    }
    a = mlp.network.architecture
    return {
        "architecture": (a.sizes, a.activations, a.dropout, a.input_dropout),
        "layers": (a.normalization, a.residual, a.bias),
        "pictures": (a.image_shape, mlp.augment),
        "penalty": mlp.penalty,
        "scaling": {k: v for k, v in scaling.items() if k not in tensors},
        "task": mlp.known_task,
        "numbers": (mlp.seed, mlp.dtype, mlp.epochs_trained),
        "metadata": mlp.metadata,
        "tensors": {
            k: None if v is None else (str(v.dtype), v.shape, v.tobytes())
            for k, v in tensors.items()
        },
    }


def saved(mlp: xpmlp.MLP) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        mlp.save(Path(folder) / "m.xpmlp")
        return (Path(folder) / "m.xpmlp").read_bytes()


@cache
def small_file() -> bytes:
    """A model file of about 2 kB."""
    mlp = xpmlp.MLP([4, 3, 3], normalization="batch", scaling="standard", backend="numpy", seed=1)
    mlp.metadata = {"classes": ["a", "b", "c"]}
    mlp.fit(*data("plain"), epochs=1)
    return saved(mlp)


def forged(change: Callable[[Any, Any], Any], original: bytes | None = None) -> bytes:
    """A file, the small one, with configuration and arrays changed, and the digest made to fit.

    ``change(config, tensors)`` edits in place, or returns another configuration or its text.
    """
    original = original or small_file()
    tensors = {k: v.copy() for k, v in safetensors.numpy.load(original).items()}
    size = int.from_bytes(original[:8], "little")
    config = json.loads(json.loads(original[8 : 8 + size])["__metadata__"]["xpmlp"])
    made = change(config, tensors)
    text = made if isinstance(made, str) else json.dumps(config if made is None else made)
    metadata = {"xpmlp": text, "sha256": container._digest(text, tensors)}
    return safetensors.numpy.save(tensors, metadata)


def put(value: Any, *keys: str) -> Callable[[Any, Any], Any]:
    """Set one entry of the configuration."""

    def change(config: Any, tensors: Any) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


def put_tensor(name: str, value: Any) -> Callable[[Any, Any], Any]:
    return lambda config, tensors: tensors.__setitem__(name, np.asarray(value))


def drop(*keys: str) -> Callable[[Any, Any], Any]:
    def change(config: Any, tensors: Any) -> None:
        for key in keys[:-1]:
            config = config[key]
        del config[keys[-1]]

    return change
