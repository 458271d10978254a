"""What a fitted estimator keeps: its weights and the optimizer's state, and little else."""

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier as Original

import xpmlp
from xpmlp.sklearn import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16.0, Y[:300]


FITS = 40
"""What Python keeps for the process, such as which classes are abstract, is shared by them all."""


def kept(mlp: Any) -> int:
    return len(mlp.compiled) + (mlp.forward_pass is not None)


def used_by(fit: Callable[[], Any]) -> tuple[float, Any]:
    """The bytes that a fitted estimator keeps, and one of them."""
    fit()  # what is compiled once for the process is not the estimator's
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        made = [fit() for _ in range(FITS)]
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / FITS, made[0]
    finally:
        tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")  # of scikit-learn 1.6
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_memory_after_a_fit(settings: dict[str, Any]) -> None:
    common = {"hidden_layer_sizes": (100,), "max_iter": 2, "random_state": 0, **settings}
    used, made = used_by(lambda: MLPClassifier(backend="numpy", **common).fit(X, Y))
    parameters_and_state = (1 if made.solver == "lbfgs" else 3) * made.mlp_.weights.flat.nbytes
    assert used < 1.3 * parameters_and_state
    if made.solver == "lbfgs":
        assert used < used_by(lambda: Original(**common).fit(X, Y))[0]


def test_a_fit_that_ends_lets_go_of_what_it_compiled(backend: Any) -> None:
    made = MLPClassifier((8,), max_iter=2, early_stopping=True, backend=backend).fit(X, Y)
    assert kept(made.mlp_) == 0
    made.fit(X, Y)
    assert kept(made.mlp_) == 0


def test_fits_that_continue_keep_it(backend: Any) -> None:
    made = MLPClassifier((8,), max_iter=2, warm_start=True, backend=backend).fit(X, Y)
    (first,) = made.mlp_.compiled.values()
    made.fit(X, Y)
    made.partial_fit(X, Y).partial_fit(X, Y)
    assert list(made.mlp_.compiled.values()) == [first]


def test_a_failed_fit_lets_go_too() -> None:
    class Stopping(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            raise RuntimeError

    made = MLPClassifier((8,), max_iter=2, backend="numpy", callbacks=[Stopping()])
    with pytest.raises(RuntimeError):
        made.fit(X, Y)
    assert kept(made.mlp_) == 0


def test_early_stopping_returns_to_the_best_in_every_fit() -> None:
    settings: dict[str, Any] = {"max_iter": 4, "early_stopping": True, "warm_start": True}
    made = MLPClassifier((8,), random_state=0, backend="numpy", **settings).fit(X, Y)
    best, score = made.mlp_.state_dict(), made.best_validation_score_
    made.set_params(learning_rate_init=1e-9).fit(X, Y)  # nothing becomes better
    assert made.best_validation_score_ >= score
    for name, value in best.items():
        np.testing.assert_allclose(made.mlp_.state_dict()[name], value, atol=1e-6)
