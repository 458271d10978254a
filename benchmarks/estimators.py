"""``fit`` of the estimators at their defaults, beside scikit-learn's, from the same random state.

Both do the same training: its epochs and the probabilities after it are compared. The time is that
of the whole call, checks and first weights included.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as Scikit
from xpmlp_backends.numpy import backend as _numpy

import xpmlp
from benchmarks.report import not_there, say, table
from benchmarks.rounds import interleave, ratio, spread
from benchmarks.settings import Settings
from xpmlp.errors import XpmlpError
from xpmlp.sklearn import MLPClassifier as Ours

US, THEM = "xpmlp", "scikit-learn"
AGREE = {"float64": 1e-8, "float32": 0.2}
"""How far a probability may be from scikit-learn's: in float32, rounding grows with training."""

EPOCHS = 5
"""Of MNIST, of which 200 would take minutes; digits are trained to the end."""

Case = tuple[str, Any, Any, dict[str, Any]]


def cases(quick: bool) -> Iterator[Case]:
    """Go through name, X, y and what differs from the defaults."""
    X, y = load_digits(return_X_y=True)
    few = {"max_iter": 2} if quick else {}
    yield "digits, float64", X, y, few
    yield "digits, float32", X.astype(np.float32), y, few
    if quick:
        return
    data = xpmlp.data.load_mnist(mirrors=())  # what is not there is not downloaded
    few = {"max_iter": EPOCHS}
    yield f"MNIST / 255, float64, {EPOCHS} epochs", data.X / 255.0, data.y, few
    yield f"MNIST / 255, float32, {EPOCHS} epochs", np.float32(data.X / 255.0), data.y, few
    yield f"MNIST, uint8, {EPOCHS} epochs", data.X, data.y, few


def measure(X: Any, y: Any, settings: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Time everyone, and compare what they trained."""
    given = {"random_state": 0, **settings}
    made: dict[str, Any] = {
        US: Ours(**given),
        "without numba": Ours(**given, backend=_numpy.create(fused=False)),
        THEM: Scikit(**given),
    }
    fits: dict[str, Callable[[], Any]] = {n: partial(one.fit, X, y) for n, one in made.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for fit in fits.values():
            fit()
        nothing = dict.fromkeys(fits, lambda: None)
        seconds = interleave(fits, rounds, seconds=0, before=nothing)
    return {
        name: {
            "seconds": spread(seconds[name]),
            "times_xpmlp": ratio(seconds, name, US),
            "epochs": one.n_iter_,
            "accuracy": float(one.score(X, y)),
            "apart": _apart(one, made[THEM], X),
            "dtype": str(one.coefs_[0].dtype),
        }
        for name, one in made.items()
    }


def _apart(one: Any, other: Any, X: Any) -> float:
    """Return the largest difference of two probabilities; infinite after other epochs."""
    if one.n_iter_ != other.n_iter_:
        return float("inf")
    return float(np.abs(one.predict_proba(X) - other.predict_proba(X)).max())


def run(settings: Settings) -> dict[str, Any]:
    """Measure each case, and print its table."""
    results: dict[str, Any] = {}
    try:
        for name, X, y, more in cases(settings.quick):
            begin = perf_counter()
            results[name] = measure(X, y, more, settings.rounds)
            say([*lines({name: results[name]}), f"({perf_counter() - begin:.0f} s)"])
    except XpmlpError as error:
        results["left_out"] = {"MNIST": str(error)}
        say(not_there(results["left_out"]))
    return results


def disagreeing(results: dict[str, Any]) -> list[str]:
    """Return who did not train what scikit-learn did."""
    return [
        f"{who} of {name}"
        for name, found in results.items()
        if name != "left_out"
        for who, row in found.items()
        # uint8 is float32 here and float64 there.
        if row["dtype"] == found[THEM]["dtype"] and row["apart"] > AGREE[row["dtype"]]
    ]


def lines(results: dict[str, Any]) -> list[str]:
    """Return a table for each case."""
    head = ("seconds of fit", "median", "25 %", "75 %", "× xpmlp", "epochs", "accuracy")
    made = []
    for name, found in results.items():
        if name == "left_out":
            made += ["", *not_there(found)]
            continue
        made += ["", f"MLPClassifier() on {name}"]
        rows = [
            (
                who,
                *(row["seconds"][key] for key in ("median", "q1", "q3")),
                row["times_xpmlp"],
                row["epochs"],
                row["accuracy"],
            )
            for who, row in found.items()
        ]
        made += table(head, rows)
    return made[1:]
