"""Logits, activations and gradients, against autograd, differences and worked numbers."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from oracle import ROWS, SIZES, network, oracle_output, targets, torch

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.model import derivatives
from xpmlp.nn.losses import loss as find_loss

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "penalized": {"l1": 0.01, "l2": 0.1},
    "penalty on the sum": {"l2": 0.1, "penalty_on": "sum"},
    "normalized": {"normalization": "batch", "residual": True},
    "dropped": {"dropout": 0.5},
}


def trained(backend: Any, loss: str = "sparse_categorical_cross_entropy", **options: Any) -> Any:
    """A network that has been fitted a little, with rows it may be asked about."""
    rng = np.random.default_rng(5)
    mlp = network(backend, "float64", "tanh", find_loss(loss), **options)
    y = targets(find_loss(loss), rng)
    X = rng.standard_normal((ROWS, SIZES[0]))
    mlp.fit(X, y, epochs=1, batch_size=None, optimizer=xpmlp.SGD(0.01))
    return mlp, X, y


def shares(mlp: Any, X: np.ndarray, y: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """The gradient of each row's loss by its inputs, by differences of ``evaluate``."""
    made = np.zeros_like(X)
    for i, j in np.ndindex(*X.shape):
        moved = [X[i : i + 1].copy(), X[i : i + 1].copy()]
        moved[0][0, j] += h
        moved[1][0, j] -= h
        above, below = (mlp.evaluate(x, y[i : i + 1])["loss"] for x in moved)
        made[i, j] = (above - below) / (2 * h)
    return made


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(3)
def test_the_gradient_is_that_of_the_loss_that_evaluate_returns(backend: Any, case: str) -> None:
    mlp, X, y = trained(backend, **CASES[case])
    loss, gradient = mlp.gradient(X, y)
    assert_close(loss, mlp.evaluate(X, y)["loss"], rtol=1e-12)
    values, h = mlp.parameters, 1e-6
    assert list(gradient) == list(values)
    for name, place in (("dense1.W", (3, 2)), ("dense2.b", (4,)), ("dense3.W", (5, 0))):
        found = []
        for by in (h, -h):
            moved = mlp.state_dict()
            moved[name][place] += by
            other = mlp.copy()
            other.load_state_dict(moved)
            found.append(other.evaluate(X, y)["loss"])
        assert_close(gradient[name][place], (found[0] - found[1]) / (2 * h), atol=1e-7)


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy", "poisson"])
@pytest.mark.sampled(2)
def test_autograd_says_the_same(backend: Any, loss: str) -> None:
    mlp, X, _ = trained(backend, loss)
    p = {n: torch.tensor(v, requires_grad=True) for n, v in mlp.parameters.items()}
    inputs = torch.tensor(X, requires_grad=True)
    z = oracle_output(mlp, p, inputs, training=False)
    z[:, 1].sum().backward()
    assert_close(mlp.input_gradient(X, output=1), inputs.grad, atol=1e-12)
    assert_close(mlp.activations(X)["dense3"], z.detach(), atol=1e-12)


@pytest.mark.usefixtures("uncompiled")
def test_the_gradient_of_a_row_is_its_own(backend: Any) -> None:
    mlp, X, y = trained(backend, normalization="batch")
    assert_close(mlp.input_gradient(X, y), shares(mlp, X, y), atol=1e-7)


@pytest.mark.usefixtures("uncompiled")
def test_blocks_of_rows_and_weights(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, X, y = trained(backend, l2=0.1, penalty_on="sum")
    w = np.array([2.0, 1.0, 0.0, 3.0, 1.0, 0.0, 0.0])
    whole = mlp.gradient(X, y), mlp.gradient(X, y, sample_weight=w)
    by_inputs, inside = mlp.input_gradient(X, y), mlp.activations(X)
    monkeypatch.setattr(derivatives, "ROWS", 2)
    blocks = mlp.gradient(X, y), mlp.gradient(X, y, sample_weight=w)
    for (loss, gradient), (again, other) in zip(whole, blocks, strict=True):
        assert_close(again, loss, rtol=1e-13)
        for name, g in gradient.items():
            assert_close(other[name], g, atol=1e-13)
    assert_close(mlp.input_gradient(X, y), by_inputs, atol=1e-13)
    assert_close(mlp.activations(X)["dense2"], inside["dense2"], atol=1e-13)
    times = np.repeat(np.arange(ROWS), w.astype(int))  # a weight of 2 counts as two rows
    loss, gradient = mlp.gradient(X[times], y[times])
    assert_close(whole[1][0], loss, rtol=1e-12)
    assert_close(whole[1][1]["dense1.W"], gradient["dense1.W"], atol=1e-12)


@pytest.mark.usefixtures("uncompiled")
def test_activations_in_order(backend: Any) -> None:
    mlp, X, _ = trained(backend, dropout=0.5, normalization="layer", residual=True)
    found = mlp.activations(X)
    names = [f"{kind}{i}" for i in (1, 2) for kind in ("dense", "norm", "activation")]
    assert list(found) == [*names, "residual2", "dense3"]
    assert_close(found["activation2"], np.tanh(found["norm2"]), atol=1e-14)
    assert_close(found["residual2"], found["activation1"] + found["activation2"], atol=1e-14)
    assert_close(found["dense3"], mlp.logits(X), atol=1e-12)
    output = xpmlp.MLP([2, 3, 1], output="sigmoid", loss="mse", targets="binary", backend=backend)
    found = output.activations(np.ones((4, 2)))
    assert list(found)[-1] == "output"
    assert_close(found["output"][:, 0], output.predict_proba(np.ones((4, 2)))[:, 1], atol=1e-6)


def test_activations_before_the_first_fit() -> None:
    mlp = xpmlp.MLP([2, 3, 1], backend="numpy", seed=0)
    X = np.array([[1.0, -2.0]])
    first = X @ mlp.parameters["dense1.W"]
    assert_close(mlp.activations(X)["activation1"], np.maximum(first, 0), atol=1e-6)


def test_logits_are_what_probabilities_are_made_of(backend: Any) -> None:
    mlp, X, y = trained(backend)
    z = np.exp(mlp.logits(X))
    assert_close(z / z.sum(axis=1, keepdims=True), mlp.predict_proba(X), atol=1e-12)
    mlp.calibrate(np.tile(X, (4, 1)), np.tile(y, 4))
    assert_close(np.exp(mlp.logits(X)), z, rtol=1e-12)


def test_logits_of_an_ensemble(backend: Any) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 3)), np.arange(12) % 2
    mlp = xpmlp.MLP([3, 4, 2], ensemble=3, dtype="float64", backend=backend, seed=0)
    mlp.fit(X, y, epochs=1)
    each = mlp.logits(X, each=True)
    assert each.shape == (3, 12, 2)
    for i in range(3):
        assert_close(each[i], mlp.member(i).logits(X), atol=1e-12)
    z = np.exp(mlp.logits(X))
    assert_close(z / z.sum(axis=1, keepdims=True), mlp.predict_proba(X), atol=1e-12)
    for call in (mlp.activations, mlp.gradient, mlp.input_gradient):
        arguments = (X,) if call == mlp.activations else (X, y)
        with pytest.raises(InvalidValueError, match=r"ensemble of 3 networks; .*member\(0\)"):
            call(*arguments)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_gradients_are_in_the_units_of_x(backend: Any, scaling: str) -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((30, 3)) * [1.0, 50.0, 0.2] + [0.0, 100.0, 3.0]
    y = X @ [1.0, 0.02, 3.0] + 5.0
    mlp = xpmlp.MLP([3, 5, 1], "tanh", scaling=scaling, dtype="float64", backend=backend, seed=0)
    mlp.fit(X, y, epochs=20, optimizer=xpmlp.Adam(0.05))
    assert_close(mlp.input_gradient(X[:4], y[:4]), shares(mlp, X[:4], y[:4]), atol=1e-5, rtol=1e-5)
    found, h = mlp.input_gradient(X[:4], output=0), 1e-5
    for j in range(3):
        step = h * np.eye(3)[j]
        by = (mlp.predict(X[:4] + step) - mlp.predict(X[:4] - step)) / (2 * h)
        assert_close(found[:, j], by, atol=1e-6)


def test_pixels_and_codes() -> None:
    X = np.array([[0, 255], [51, 102]], dtype=np.uint8)
    mlp = xpmlp.MLP([2, 2], dtype="float64", backend="numpy", seed=0)
    mlp.fit(X, np.array([0, 1]), epochs=1)
    W = mlp.parameters["dense1.W"]
    assert_close(mlp.input_gradient(X, output=1), np.tile(W[:, 1] / 255, (2, 1)), rtol=1e-12)
    embedding = xpmlp.Embedding(None, categories=[(1, 3)], size=2)
    mlp = xpmlp.MLP([2, 2], embedding=embedding, dtype="float64", backend="numpy", seed=0)
    coded = np.array([[0.5, 0], [1.5, 2]])
    mlp.fit(coded, np.array([0, 1]), epochs=1)
    found = mlp.input_gradient(coded, np.array([0, 1]))
    assert (found[:, 1] == 0).all()
    assert (found[:, 0] != 0).all()


def test_results_are_in_the_library_of_x(torch_backend: Any) -> None:
    mlp, X, y = trained(torch_backend)
    here = torch.tensor(X)
    for made in (mlp.logits(here), mlp.activations(here)["dense1"], mlp.input_gradient(here, y)):
        assert isinstance(made, torch.Tensor)
    assert isinstance(mlp.gradient(here, y)[1]["dense1.W"], np.ndarray)
    ours = xpmlp.MLP([SIZES[0], 3], targets="labels", backend="numpy")
    for made in (ours.logits(here), ours.activations(here)["dense1"]):
        assert isinstance(made, torch.Tensor)


def test_a_table_makes_the_inputs() -> None:
    frame = {"size": [1.0, 2.0, 3.0, 5.0], "kind": ["a", "b", "a", "b"]}
    table = xpmlp.Table().fit(frame)
    mlp = xpmlp.MLP([table.width, 4, 2], table=table, backend="numpy", seed=0)
    mlp.fit(frame, [0, 1, 0, 1], epochs=2)
    assert mlp.input_gradient(frame, output=0).shape == (4, len(mlp.table.inputs))
    assert mlp.gradient(frame, [0, 1, 0, 1])[0] == pytest.approx(
        mlp.evaluate(frame, [0, 1, 0, 1])["loss"], rel=1e-6
    )
    assert mlp.activations(frame)["dense1"].shape == (4, 4)


def test_what_cannot_be_asked() -> None:
    mlp = xpmlp.MLP([2, 1], targets="values", backend="numpy")
    X = np.ones((3, 2))
    with pytest.raises(InvalidValueError, match="predicts values; use predict"):
        mlp.logits(X)
    with pytest.raises(InvalidValueError, match="found neither of y and output"):
        mlp.input_gradient(X)
    with pytest.raises(InvalidValueError, match="found both of y and output"):
        mlp.input_gradient(X, np.ones(3), output=0)
    for output in (1, -1, True, "0"):
        with pytest.raises(InvalidValueError, match="whole number from 0 to 0"):
            mlp.input_gradient(X, output=output)  # type: ignore[arg-type]
    relu = xpmlp.MLP([2, 2], output="relu", loss="mse", targets="labels", backend="numpy")
    with pytest.raises(InvalidValueError, match="'relu' makes no probabilities"):
        relu.logits(X)
    with pytest.raises(InvalidValueError, match="has not been trained"):
        xpmlp.MLP([2, 2], backend="numpy").logits(X)
    both = xpmlp.MLP([2, 2], loss="gaussian", scaling="standard", backend="numpy")
    both.fit(np.arange(6.0).reshape(3, 2), np.arange(3.0), epochs=1)
    with pytest.raises(InvalidValueError, match="only the loss 'gaussian' knows"):
        both.input_gradient(X, output=0)


def test_rows_that_do_not_count() -> None:
    """A block of weight 0 has no mean."""
    mlp = xpmlp.MLP([1, 1], initializer="zeros", targets="values", backend="numpy")
    loss, gradient = mlp.gradient([[1.0], [np.float64(9.0)]], [2.0, 7.0], sample_weight=[1, 0])
    assert (loss, gradient["dense1.b"].tolist()) == (2.0, [-2.0])


def test_backends_agree() -> None:
    made = [trained(make_backend(name)) for name in ("numpy", "numpy-plain", "strict")]
    X, y = made[0][1:]
    first = made[0][0].gradient(X, y)[1]
    for mlp, *_ in made[1:]:
        for name, g in mlp.gradient(X, y)[1].items():
            assert_close(g, first[name], atol=1e-12)
