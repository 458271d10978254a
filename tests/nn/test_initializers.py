"""Custom initializers return what they were asked for, or are refused by name."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError

BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "turned": (lambda r, i, o: np.ones((o, i)), InvalidValueError, r"found shape \(3, 2\)"),
    "flat": (lambda r, i, o: np.ones(i * o), InvalidValueError, r"found shape \(6,\)"),
    "to broadcast": (lambda r, i, o: np.ones((1, 1)), InvalidValueError, r"found shape \(1, 1\)"),
    "a number": (lambda r, i, o: 0.1, InvalidValueError, r"found shape \(\)"),
    "nothing": (lambda r, i, o: None, InvalidTypeError, "found dtype object"),
    "text": (lambda r, i, o: np.full((i, o), "a"), InvalidTypeError, "found dtype <U1"),
    "complex": (lambda r, i, o: np.ones((i, o)) * 1j, InvalidTypeError, "found dtype complex128"),
    "NaN": (lambda r, i, o: np.full((i, o), np.nan), InvalidValueError, r"found nan at \(0, 0\)"),
    "rows that differ": (lambda r, i, o: [[1.0], [1.0, 2.0]], InvalidTypeError, "NumPy cannot"),
    "beyond float32": (lambda r, i, o: np.full((i, o), 1e39), InvalidValueError, "found 1e.39"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_matrix_of_the_layer_is_refused(backend: Any, name: str) -> None:
    make, error, message = BAD[name]
    with pytest.raises(error, match=message):
        xpmlp.MLP([2, 3, 1], initializer=make, backend=backend)


def test_the_function_is_named() -> None:
    def mine(rng: Any, n_in: int, n_out: int) -> Any:
        return np.ones((n_out, n_in))

    with pytest.raises(InvalidValueError, match=r"initializer mine: .* expected \(2, 3\)"):
        xpmlp.MLP([2, 3, 1], initializer=mine)


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64", "bool"])
def test_numbers_of_any_dtype_and_lists_are_taken(backend: Any, dtype: str) -> None:
    def ones(rng: Any, n_in: int, n_out: int) -> Any:
        made = np.ones((n_in, n_out), dtype=dtype)
        return made.tolist() if n_in == 2 else made

    mlp = xpmlp.MLP([2, 3, 1], initializer=ones, backend=backend)
    assert_close(mlp.parameters["dense1.W"], np.ones((2, 3), np.float32))


@pytest.mark.parametrize("name", ["bias", "residual"])
@pytest.mark.parametrize("value", ["no", 0, None, [], 1.0])
def test_a_flag_is_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(InvalidTypeError, match=f"{name}: found .* expected True or False"):
        xpmlp.MLP([2, 3, 3, 1], **{name: value})


FLAGS: dict[str, Any] = {
    "restore_best": lambda v: xpmlp.EarlyStopping(restore_best=v),
    "best_only": lambda v: xpmlp.SaveModel("m.xpmlp", best_only=v),
    "checkpoints: best": lambda v: xpmlp.Checkpoints("run", best=v),
    "rate_inside": lambda v: xpmlp.Momentum(rate_inside=v),
    "epsilon_hat": lambda v: xpmlp.Adam(epsilon_hat=v),
    "MSE: average": lambda v: xpmlp.losses.MSE(average=v),
    "continued": lambda v: xpmlp.MLP([2, 1]).fit(np.eye(2), np.ones(2), continued=v),
}


@pytest.mark.parametrize("name", FLAGS)
def test_every_other_flag_is_one_too(name: str) -> None:
    with pytest.raises(InvalidTypeError, match=f"{name}: found 'no'; expected True or False"):
        FLAGS[name]("no")


def test_a_flag_of_numpy_is_one() -> None:
    assert "dense1.b" not in xpmlp.MLP([2, 1], bias=np.bool_(False)).parameters


@pytest.mark.parametrize("metrics", [["f1"], "nonsense", None, 1])
def test_metrics_is_a_flag_or_names(metrics: Any) -> None:
    mlp = xpmlp.MLP([2, 1])
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"metric.*(names|mae)"):
        mlp.fit(np.ones((2, 2)), np.ones(2), metrics=metrics)
    assert mlp.epochs_trained == 0
