"""Arguments that other libraries have under another name or elsewhere, and where they are here."""

import difflib
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

from xpmlp.errors import InvalidTypeError, short

P = ParamSpec("P")
Result = TypeVar("Result")

_HERE: dict[tuple[str, ...], str] = {
    ("learning_rate", "lr", "learning_rate_init", "eta"): (
        "The optimizer has the learning rate: fit(X, y, optimizer=xpmlp.Adam(learning_rate=0.001))"
    ),
    ("momentum", "clipnorm", "clip_norm", "max_grad_norm", "weight_decay", "beta_1", "beta_2"): (
        "The optimizer has such settings: fit(X, y, optimizer=xpmlp.AdamW(clip_norm=1.0))"
    ),
    ("average", "ema", "use_ema", "ema_decay", "ema_momentum", "swa"): (
        "The optimizer averages the weights: fit(X, y, optimizer=xpmlp.Adam(average=0.999))"
    ),
    ("groups", "param_groups", "trainable", "freeze", "frozen"): (
        "The optimizer has groups of parameters, and the rate 0 freezes: "
        "fit(X, y, optimizer=xpmlp.Adam(groups={'dense1.*': {'rate': 0}}))"
    ),
    ("solver", "optim"): "Pass fit(X, y, optimizer='adam')",
    ("augmentation", "data_augmentation", "transform", "transforms"): (
        "Pass fit(X, y, augment='elastic'), with MLP(..., image_shape=(28, 28))"
    ),
    ("verbose", "show_progress"): "Pass fit(X, y, progress=True)",
    ("early_stopping", "patience", "tol", "n_iter_no_change"): (
        "Pass fit(X, y, callbacks=[xpmlp.EarlyStopping(patience=5)])"
    ),
    ("max_iter", "n_epochs", "num_epochs", "nb_epoch", "iterations"): "Pass fit(X, y, epochs=20)",
    ("batch", "batchsize", "minibatch_size"): "Pass fit(X, y, batch_size=128)",
    ("validation_fraction", "val_split"): "Pass fit(X, y, validation_split=0.1)",
    ("hidden_layer_sizes", "hidden_sizes", "hidden", "layers", "units", "input_shape"): (
        "The sizes of all layers come first: MLP([inputs, 100, outputs])"
    ),
    ("random_state", "random_seed"): "Pass MLP(sizes, seed=0)",
    ("alpha", "kernel_regularizer", "regularization"): "Pass MLP(sizes, l2=1e-4)",
    ("use_bias",): "Pass MLP(sizes, bias=False)",
    ("batch_norm", "batch_normalization"): "Pass MLP(sizes, normalization='batch')",
    ("kernel_initializer", "init"): "Pass MLP(sizes, initializer='he')",
    ("n_jobs", "num_workers"): (
        "Leave it out: the array library uses all cores (OMP_NUM_THREADS limits them)"
    ),
}

_NAMES: dict[str, frozenset[str]] = {}
"""The arguments of each call."""


def known(call: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Return a decorator for a function that refuses unknown keywords and says what is meant.

    Parameters
    ----------
    call : str
        How the function is called: ``"MLP"``, ``"fit"``.
    """

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        names = _NAMES[call] = frozenset(signature(function).parameters) - {"self"}

        @wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> Result:
            for name in options.keys() - names:
                raise _unknown(call, name)
            return function(*args, **options)

        return checked

    return decorate


def _unknown(call: str, name: str) -> InvalidTypeError:
    names = sorted(_NAMES[call])
    others = [other for other, has in _NAMES.items() if name in has]
    near = difflib.get_close_matches(name, names, n=1)
    known_by = [text for theirs, text in _HERE.items() if name in theirs]
    if known_by:
        hint = known_by[0]
    elif others:
        hint = f"It is an argument of {others[0]}"
    elif near:
        hint = f"Did you mean {near[0]!r}?"
    else:
        hint = f"Known: {', '.join(names)}"
    return InvalidTypeError(f"{call}: unknown argument {short(repr(name))}. {hint}")
