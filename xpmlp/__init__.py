"""One multilayer perceptron, on NumPy, CuPy, PyTorch, JAX or dpnp arrays.

>>> import xpmlp
>>> mlp = xpmlp.MLP([784, 512, 512, 10], dropout=0.2, backend="auto", seed=0)
>>> history = mlp.fit(X, y, epochs=20, optimizer=xpmlp.Adam(1e-3))  # doctest: +SKIP

Names are imported when first used, so ``import xpmlp`` and ``xpmlp --help`` cost almost nothing.
"""

import importlib

__version__ = "0.1.0"

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing: that is most of the time
if TYPE_CHECKING:
    from typing import Any

    from xpmlp_backends import backend as backend

    from xpmlp import augment as augment
    from xpmlp import data as data
    from xpmlp import losses as losses
    from xpmlp import metrics as metrics
    from xpmlp import parallel as parallel
    from xpmlp.activations import Activation as Activation
    from xpmlp.activations import register_activation as register_activation
    from xpmlp.callbacks import Callback as Callback
    from xpmlp.callbacks import EarlyStopping as EarlyStopping
    from xpmlp.callbacks import SaveModel as SaveModel
    from xpmlp.callbacks import ShowProgress as ShowProgress
    from xpmlp.checkpoints import Checkpoints as Checkpoints
    from xpmlp.data.table import Table as Table
    from xpmlp.errors import XpmlpError as XpmlpError
    from xpmlp.inspect.diagnose import Diagnosis as Diagnosis
    from xpmlp.inspect.explain import explain as explain
    from xpmlp.inspect.gradcheck import check_gradient as check_gradient
    from xpmlp.inspect.verify import verify as verify
    from xpmlp.mlp import MLP as MLP
    from xpmlp.mlp import load as load
    from xpmlp.model.calibration import Calibration as Calibration
    from xpmlp.nn.embeddings import Embedding as Embedding
    from xpmlp.optimizers import SGD as SGD
    from xpmlp.optimizers import AdaGrad as AdaGrad
    from xpmlp.optimizers import Adam as Adam
    from xpmlp.optimizers import AdamW as AdamW
    from xpmlp.optimizers import Momentum as Momentum
    from xpmlp.optimizers import Nesterov as Nesterov
    from xpmlp.optimizers import RMSProp as RMSProp
    from xpmlp.training.batch import Batch as Batch
    from xpmlp.training.history import History as History
    from xpmlp.training.objective import Objective as Objective
    from xpmlp.training.steps import Loop as Loop

_HOME = {
    "backend": "xpmlp_backends",
    "MLP": "xpmlp.mlp",
    "load": "xpmlp.mlp",
    "Calibration": "xpmlp.model.calibration",
    "Checkpoints": "xpmlp.checkpoints",
    "Table": "xpmlp.data.table",
    "Embedding": "xpmlp.nn.embeddings",
    "check_gradient": "xpmlp.inspect.gradcheck",
    "History": "xpmlp.training.history",
    "Objective": "xpmlp.training.objective",
    "Batch": "xpmlp.training.batch",
    "Loop": "xpmlp.training.steps",
    "explain": "xpmlp.inspect.explain",
    "verify": "xpmlp.inspect.verify",
    "Diagnosis": "xpmlp.inspect.diagnose",
    "XpmlpError": "xpmlp.errors",
    **dict.fromkeys(("Activation", "register_activation"), "xpmlp.activations"),
    **dict.fromkeys(("Callback", "EarlyStopping", "SaveModel", "ShowProgress"), "xpmlp.callbacks"),
    **dict.fromkeys(
        ("SGD", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam", "AdamW"), "xpmlp.optimizers"
    ),
}
_MODULES = (
    *("activations", "augment", "callbacks", "data", "errors", "losses", "metrics", "optimizers"),
    *("parallel", "schedules"),
)

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> "Any":
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"xpmlp.{name}")
    raise AttributeError(f"module 'xpmlp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
