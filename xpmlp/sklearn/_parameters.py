"""Translation of scikit-learn's parameters to xpmlp's: layers, losses, solvers, rates, weights."""

import os
from dataclasses import replace
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from xpmlp.callbacks import Callback
from xpmlp.data.table import Table
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.contract import PRECISIONS
from xpmlp.nn.initializers import INITIALIZERS
from xpmlp.nn.losses import DISTRIBUTIONS, LOSSES, MSE, Loss
from xpmlp.nn.normalization import NORMALIZATIONS
from xpmlp.nn.optimizers import OPTIMIZERS, Adam, Momentum, Nesterov, Optimizer, optimizer
from xpmlp.nn.schedules import Schedule

RENAMED = {"logistic": "sigmoid"}
"""scikit-learn's names of activations that have another name here."""

SCHEDULES = ("constant", "invscaling", "adaptive")

CONSTRAINTS: dict[str, list[Any]] = {
    "activation": [StrOptions({*ACTIVATIONS, *RENAMED}), list, tuple, Activation],
    "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), Optimizer],
    "learning_rate": [StrOptions(set(SCHEDULES)), Schedule],
    "l1": [Interval(Real, 0, None, closed="left")],
    "max_norm": [Interval(Real, 0, None, closed="neither"), None],
    "dropout": [Interval(Real, 0, 1, closed="left"), Schedule, list, tuple],
    "input_dropout": [Interval(Real, 0, 1, closed="left"), Schedule],
    "normalization": [StrOptions(set(NORMALIZATIONS)), callable, None],
    "residual": ["boolean"],
    "bias": ["boolean"],
    "initializer": [StrOptions({*INITIALIZERS, "auto", "data"}), callable, None],
    "scaling": [StrOptions({"auto", "standard", "robust"}), None],
    "dtype": [StrOptions({"float32", "float64"}), None],
    "precision": [StrOptions(set(PRECISIONS))],
    "device": [str, None],
    "callbacks": [list, tuple, None],
    "table": [StrOptions({"auto"}), Table, None],
}
"""Constraints of parameters that scikit-learn does not have, or for which it allows less."""

LOSS = [StrOptions({"log_loss", *LOSSES}), Loss, callable]
REGRESSION_LOSS = [StrOptions({"squared_error", *LOSSES, *DISTRIBUTIONS}), Loss, callable]


def check_combinations(estimator: Any) -> None:
    """Refuse parameters that the solver or the other parameters would leave without effect."""
    e = estimator
    scheduled = isinstance(e.learning_rate, Schedule)
    for callback in e.callbacks or ():
        if not isinstance(callback, Callback):
            raise InvalidTypeError(
                f"callbacks: found {callback!r}; expected objects such as xpmlp.SaveModel(path); "
                "pass those of scikit-learn to set_callbacks"
            )
    if not is_stochastic(e.solver) and (e.callbacks or scheduled):
        found = "callbacks" if e.callbacks else f"{e.learning_rate!r}"
        raise InvalidValueError(
            f"found {found} with solver='lbfgs', which has neither epochs nor rates; use 'sgd' or "
            "'adam'"
        )
    if scheduled and isinstance(e.solver, Optimizer):
        raise InvalidValueError(
            f"learning_rate: found {e.learning_rate!r} with a solver that has a rate; "
            f"pass the schedule to it: {type(e.solver).__name__}({e.learning_rate!r})"
        )
    if e.device is not None and e.backend is None and not os.environ.get("XPMLP_BACKEND"):
        raise InvalidValueError(
            f"device: found {e.device!r} without a backend; add backend='torch', 'jax' or 'cupy'"
        )


def hidden_sizes(spec: Any) -> list[int]:
    """Return the units of the hidden layers as a list."""
    sizes = list(spec) if hasattr(spec, "__iter__") else [spec]
    if not all(isinstance(n, Real) and not isinstance(n, bool) for n in sizes):
        raise InvalidTypeError(f"hidden_layer_sizes: found {spec!r}; expected whole numbers")
    if np.any(np.array(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return sizes


def rates(spec: Any) -> Any:
    """Return a dropout rate, or a list of one for each layer, as Python floats or schedules."""
    if isinstance(spec, Schedule):
        return spec
    return [rates(rate) for rate in spec] if hasattr(spec, "__iter__") else float(spec)


def activation(spec: Any) -> Any:
    """Return xpmlp's name of an activation, or a list of them."""
    if isinstance(spec, list) or (isinstance(spec, tuple) and not all(map(callable, spec))):
        return [activation(one) for one in spec]
    return RENAMED.get(spec, spec) if isinstance(spec, str) else spec


def loss(spec: Any, outputs: int, solver: Any) -> Any:
    """Return xpmlp's name of a loss; None is the default for the kind of classes."""
    if not isinstance(spec, str):
        return spec
    if spec == "squared_error":
        # L-BFGS needs a loss that matches its gradient: the sum over the outputs.
        return MSE(average=outputs > 1 and is_stochastic(solver))
    return {"log_loss": None, "poisson": "poisson_deviance"}.get(spec, spec)


def is_stochastic(solver: Any) -> bool:
    """Whether a solver trains on batches."""
    return bool(solver != "lbfgs")


def optimizer_of(estimator: Any, rate: float | Schedule) -> Optimizer:
    """Return the optimizer for an estimator's parameters and this rate.

    scikit-learn has the rate inside the momentum, and Adam's ε before the bias correction.
    """
    e = estimator
    if e.solver == "sgd":
        # At a constant rate both are the same, and the rate outside is faster.
        inside = not (isinstance(e.learning_rate, str) and e.learning_rate == "constant")
        cls = Nesterov if e.nesterovs_momentum else Momentum
        return cls(rate, momentum=float(e.momentum), rate_inside=inside)
    if e.solver == "adam":
        return Adam(
            rate,
            beta1=float(e.beta_1),
            beta2=float(e.beta_2),
            epsilon=float(e.epsilon),
            epsilon_hat=True,
        )
    chosen = optimizer(e.solver)
    return replace(chosen, learning_rate=rate) if isinstance(e.solver, str) else chosen


def first_weights(mlp: MLP, draws: list[np.random.RandomState]) -> list[dict[str, np.ndarray]]:
    """Draw the first weights of a network that scikit-learn would, from each of these states."""
    known = mlp.network.layout.slots
    names = [a.name for a in mlp.network.architecture.activations]
    each = [initial_weights(list(mlp.sizes), names, draw) for draw in draws]
    return [{name: values for name, values in one.items() if name in known} for one in each]


def initial_weights(
    sizes: list[int], activations: list[str], draw: np.random.RandomState
) -> dict[str, np.ndarray]:
    """Draw initial weights and biases as scikit-learn does: uniform in ±√(6/(fan_in + fan_out)).

    That is Glorot and Bengio's rule (2010); for the logistic function the 6 is a 2. The same random
    state gives the same numbers as in scikit-learn.

    Parameters
    ----------
    sizes : list of int
        Units of each layer, inputs first.
    activations : list of str
        Names, one for each hidden layer; the output layer counts as the last of them.
    draw : RandomState
    """
    names = [*activations, activations[-1] if activations else "identity"]
    values = {}
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        bound = np.sqrt((2.0 if names[i] == "sigmoid" else 6.0) / (n_in + n_out))
        values[f"dense{i + 1}.W"] = draw.uniform(-bound, bound, (n_in, n_out))
        values[f"dense{i + 1}.b"] = draw.uniform(-bound, bound, n_out)
    return values
