"""Conversion of our estimators to scikit-learn's and back, with the same predictions."""

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from xpmlp.errors import InvalidTypeError, InvalidValueError

SOLVERS = ("lbfgs", "sgd", "adam")

ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
"""The activations that scikit-learn has, with its names."""

LOSSES = {"identity": "squared_error", "exp": "poisson"}
"""scikit-learn's losses for regression, by their output activation."""

FIXED = (
    *("hidden_layer_sizes", "activation", "loss", "normalization", "residual", "bias", "scaling"),
)
"""Parameters that define the network."""

FITTED = (
    "n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "loss_", "loss_curve_",
    "best_loss_", "validation_scores_", "best_validation_score_", "n_features_in_",
    "feature_names_in_", "classes_", "_label_binarizer", "_no_improvement_count",
)  # fmt: skip
"""Fitted attributes that both have, besides the weights."""


def to_sklearn(estimator: Any) -> Any:
    """Make scikit-learn's estimator with our weights and the parameters that it has.

    Raises
    ------
    NotFittedError
    InvalidValueError
        For a network that scikit-learn cannot compute.
    """
    check_is_fitted(estimator)
    target = estimator._counterpart
    known = target().get_params()
    parameters = {n: v for n, v in estimator.get_params().items() if n in known}
    parameters["activation"] = _activation(estimator)
    if parameters["solver"] not in SOLVERS:
        parameters["solver"] = known["solver"]
    if not isinstance(parameters["learning_rate"], str):
        parameters["learning_rate"] = known["learning_rate"]
    if estimator._numeric:
        parameters |= _loss(estimator, known)
    made = target(**parameters)
    _copy(estimator, made)
    made.coefs_, made.intercepts_ = _unscaled(estimator)
    # What its early stopping returns to if a later fit does not improve.
    made._best_coefs, made._best_intercepts = deepcopy((made.coefs_, made.intercepts_))
    if estimator.table is None:
        return made
    return make_pipeline(FunctionTransformer(estimator.table_.transform), made)


def from_sklearn(cls: Any, estimator: Any, parameters: dict[str, Any]) -> Any:
    """Make our estimator with scikit-learn's parameters, these, and its weights if it has any.

    Raises
    ------
    InvalidTypeError
        For another kind of estimator.
    InvalidValueError
        For parameters that contradict a fitted estimator's network.
    """
    if not isinstance(estimator, cls._counterpart):
        raise InvalidTypeError(
            f"from_sklearn: found {type(estimator).__name__}; expected "
            f"sklearn.neural_network.{cls._counterpart.__name__}"
        )
    made = cls(**(estimator.get_params() | parameters))
    if not hasattr(estimator, "coefs_"):
        return made
    plain = cls(**estimator.get_params())
    changed = [n for n in FIXED if getattr(made, n) != getattr(plain, n)]
    if changed:
        raise InvalidValueError(
            f"from_sklearn: found {', '.join(changed)} with a fitted estimator, whose network is "
            "another; leave them out, or pass an estimator that is not fitted"
        )
    _copy(estimator, made)
    sizes = [len(estimator.coefs_[0]), *(W.shape[1] for W in estimator.coefs_)]
    made._build(None, sizes, made.dtype or str(estimator.coefs_[0].dtype), seed=0)
    made.coefs_, made.intercepts_ = estimator.coefs_, estimator.intercepts_
    if hasattr(made, "loss_curve_"):
        made.history_["loss"] = list(made.loss_curve_)
    return made


def _copy(source: Any, target: Any) -> None:
    for name in FITTED:
        if hasattr(source, name):
            setattr(target, name, deepcopy(getattr(source, name)))


def _unscaled(estimator: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return weights and biases of a network that takes X, and predicts y, in their own units.

    ((x − m) · s) W + b is x (s · W) + (b − m (s · W)); and (z W + b) t + u is z (W t) + (b t + u).
    """
    mlp, dtype = estimator.mlp_, estimator.mlp_.dtype
    scaling, values = mlp.scaling, mlp.state_dict()
    W, b = [], []
    for i, units in enumerate(mlp.sizes[1:], start=1):
        W.append(values[f"dense{i}.W"].astype(np.float64))
        b.append(values.get(f"dense{i}.b", np.zeros(units)).astype(np.float64))
    if scaling.scale is not None:
        W[0] = np.asarray(scaling.scale)[:, None] * W[0]
        b[0] -= 0.0 if scaling.shift is None else scaling.shift @ W[0]
    if scaling.target_scale is not None:
        W[-1], b[-1] = W[-1] * scaling.target_scale, b[-1] * scaling.target_scale
        b[-1] += scaling.target_shift
    return [w.astype(dtype) for w in W], [one.astype(dtype) for one in b]


def _loss(estimator: Any, known: dict[str, Any]) -> dict[str, str]:
    """Return scikit-learn's loss for the output activation."""
    if estimator.mlp_.sizes[-1] != estimator.n_outputs_:
        raise InvalidValueError(
            f"to_sklearn: found the loss {estimator.mlp_.task.loss.name!r}, which has several "
            "outputs for each target; scikit-learn's network has one"
        )
    name = LOSSES.get(estimator.out_activation_)
    if name == "poisson" and "loss" not in known:
        raise InvalidValueError("to_sklearn: found loss 'poisson'; scikit-learn has it from 1.7 on")
    if name is None:
        raise InvalidValueError(
            f"to_sklearn: found the output {estimator.out_activation_!r}; scikit-learn's "
            f"regressor has {' or '.join(LOSSES)}"
        )
    return {"loss": name} if "loss" in known else {}


def _activation(estimator: Any) -> str:
    """Return the activation of all hidden layers, and refuse what scikit-learn does not have."""
    architecture = estimator.mlp_.network.architecture
    names = {a.name for a in architecture.activations} or {"relu"}
    layers = {"normalization": architecture.normalization, "residual": architecture.residual}
    layers["scaling"] = "robust" if estimator.mlp_.scaling.mode == "robust" else None
    found = [f"{name}={value!r}" for name, value in layers.items() if value]
    if len(names) > 1 or not names <= set(ACTIVATIONS):
        found.append(f"activation={sorted(names)}")
    if found:
        raise InvalidValueError(
            f"to_sklearn: found {', '.join(found)}; scikit-learn's network has one of "
            f"{', '.join(ACTIVATIONS.values())} in all hidden layers, and nothing before or between"
        )
    return ACTIVATIONS[names.pop()]
