"""``solver="lbfgs"``: SciPy's L-BFGS-B on the flat parameters, with gradients from the device."""

from math import isfinite
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result

from xpmlp.sklearn._batches import Rows
from xpmlp.sklearn._monitor import Held
from xpmlp.training.objective import Objective


def minimize(estimator: Any, rows: Rows, held: Held | None, hooks: Any) -> None:
    """Train an estimator's model, and set the fitted attributes that this solver has.

    Parameters
    ----------
    estimator : BaseMLP
    rows : Rows
    held : Held or None
        Rows to measure after each iteration.
    hooks : Hooks

    Raises
    ------
    DeviceMemoryError
        If the data and a block of rows do not fit on the device.
    """
    e = estimator
    objective = Objective(e.mlp_, rows.X, rows.target, rows.weight)
    seen: list[float] = []  # the loss at each point that was tried; the last is the iteration's

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = objective(flat)
        seen.append(loss)
        return loss, gradient

    def after_iteration(flat: np.ndarray) -> None:
        objective.adopt(flat)
        e.n_iter_ += 1
        figures = {"loss": seen[-1]}
        if held is not None:
            figures["val_loss"] = e.mlp_.evaluate(held.X, held.target)["loss"]
            figures["val_score"] = e._validation_score(held)
        for name, figure in figures.items():
            e.history_.setdefault(name, []).append(figure)
        if e.verbose:  # SciPy said nothing more from 1.15 on
            print(f"Iteration {e.n_iter_}, loss = {seen[-1]:.8f}")
        if hooks.end():
            raise StopIteration
        hooks.begin()

    e.n_iter_ = 0
    hooks.begin()
    options = {"maxfun": e.max_fun, "maxiter": e.max_iter, "gtol": e.tol}
    with np.errstate(all="ignore"):  # a loss that is not finite is said below
        result = scipy.optimize.minimize(
            *(value, objective.start()),
            method="L-BFGS-B",
            jac=True,
            options=options,
            callback=after_iteration,
        )
    hooks.end()
    objective.adopt(result.x)
    e.loss_ = float(result.fun)
    e.converged_ = result.status == 0
    e.n_iter_ = _check_optimize_result("lbfgs", result, e.max_iter)
    if not isfinite(e.loss_) or not np.isfinite(result.x).all():
        raise ArithmeticError(f"the loss is {e.loss_} after {e.n_iter_} iterations")
