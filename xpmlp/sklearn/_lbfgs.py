"""``solver="lbfgs"``: SciPy's L-BFGS-B on the flat parameters, with gradients from the device."""

from contextlib import AbstractContextManager
from math import isfinite
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result
from threadpoolctl import ThreadpoolController

from xpmlp.sklearn._arrays import Examples
from xpmlp.sklearn._callbacks import ScikitCallbacks
from xpmlp.training.objective import Objective


def minimize(
    estimator: Any, examples: Examples, held_out: Examples | None, callbacks: ScikitCallbacks
) -> None:
    """Train an estimator's model, and set the fitted attributes that this solver has.

    ``held_out`` is scored after each iteration.

    Raises
    ------
    ArithmeticError
        If the loss or the weights are not finite.
    DeviceMemoryError
        If the data and a block of rows do not fit on the device.
    """
    e = estimator
    objective = Objective(e.mlp_, examples.X, examples.target, examples.weight)
    tried: list[float] = []  # the loss at each point tried; the last is the iteration's

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = objective(flat)
        tried.append(loss)
        return loss, gradient

    def after_iteration(flat: np.ndarray) -> None:
        objective.adopt(flat)
        e.n_iter_ += 1
        values = {"loss": tried[-1]}
        if held_out is not None:
            values["val_loss"] = e.mlp_.evaluate(held_out.X, held_out.target)["loss"]
            values["val_score"] = e._validation_score(held_out)
        for name, measured in values.items():
            e.history_.setdefault(name, []).append(measured)
        if e.verbose:  # SciPy prints nothing from 1.15 on
            print(f"Iteration {e.n_iter_}, loss = {tried[-1]:.8f}")
        if callbacks.end_epoch():
            raise StopIteration
        callbacks.begin_epoch()

    e.n_iter_ = 0
    callbacks.begin_epoch()
    options = {"maxfun": e.max_fun, "maxiter": e.max_iter, "gtol": e.tol}
    with np.errstate(all="ignore"), _one_thread_of_scipy():  # a loss not finite is reported below
        result = scipy.optimize.minimize(
            *(value, objective.start()),
            method="L-BFGS-B",
            jac=True,
            options=options,
            callback=after_iteration,
        )
    callbacks.end_epoch()
    objective.adopt(result.x)
    e.loss_ = float(result.fun)
    e.converged_ = result.status == 0
    e.n_iter_ = _check_optimize_result("lbfgs", result, e.max_iter)
    if not isfinite(e.loss_) or not np.isfinite(result.x).all():
        raise ArithmeticError(f"the loss is {e.loss_} after {e.n_iter_} iterations")


def _one_thread_of_scipy() -> AbstractContextManager[Any]:
    """Limit SciPy's own BLAS to one thread.

    Its wheels bring one beside NumPy's, and the threads of both wait in a loop for their next call:
    two pools on two cores took three times as long. SciPy's share is sums of vectors.
    """
    pools = ThreadpoolController()
    own = [pool["filepath"] for pool in pools.info() if "scipy.libs" in pool["filepath"]]
    return pools.select(filepath=own).limit(limits=1)
