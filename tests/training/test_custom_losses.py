"""Custom losses: checked on the network's outputs and targets before anything is trained."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from oracle import needs_torch, torch

import xpmlp
from xpmlp.errors import CheckpointError, GradientError, InvalidValueError
from xpmlp.losses import Loss
from xpmlp.model import files
from xpmlp.nn import gradcheck
from xpmlp.storage import tensorfile

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
Y = X @ np.array([[1.0], [-2.0], [0.5]]) + 0.1 * RNG.standard_normal((40, 1))


def gaussian(xp: Any, z: Any, y: Any) -> Any:
    """−ln N(y; mean, exp(log-variance)), without the constant; y has one column."""
    mean, log_variance = z[:, :1], z[:, 1:]
    e, precision = mean - y, xp.exp(-log_variance)
    rows = 0.5 * (log_variance + e * e * precision)
    dz = xp.concat([e * precision, 0.5 - 0.5 * e * e * precision], axis=1)
    return xp.sum(rows, axis=1), dz


def focal(xp: Any, z: Any, y: Any) -> Any:
    """−Σⱼ yⱼ (1 − pⱼ)² ln pⱼ of one-hot rows, p = softmax(z); Lin et al. 2017."""
    z = z - xp.max(z, axis=1, keepdims=True)
    log_p = z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))
    p = xp.exp(log_p)
    own, log_own = xp.sum(y * p, axis=1), xp.sum(y * log_p, axis=1)
    slope = 2.0 * (1.0 - own) * own * log_own - (1.0 - own) ** 2
    return -((1.0 - own) ** 2) * log_own, slope[:, None] * (y - p)


def squared(xp: Any, z: Any, y: Any) -> Any:
    return 0.5 * xp.sum((z - y) ** 2, axis=1), z - y


def model(backend: Any = "numpy", outputs: int = 1, **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([3, 4, outputs], "tanh", backend=backend, seed=0, **options)


def refused(mlp: xpmlp.MLP, match: str, y: Any = Y) -> None:
    before = mlp.state_dict()
    with pytest.raises(GradientError, match=match):
        mlp.fit(X, y, epochs=1)
    assert all(np.array_equal(value, before[name]) for name, value in mlp.state_dict().items())


# Targets of fewer columns


@pytest.mark.parametrize("y", [Y, Y[:, 0]], ids=["a column", "one dimension"])
@pytest.mark.parametrize("scaling", ["auto", "standard"])
def test_a_likelihood_takes_fewer_targets_than_outputs(backend: Any, y: Any, scaling: str) -> None:
    mlp = model(backend, 2, loss=gaussian, dtype="float64", scaling=scaling)
    fit: dict[str, Any] = {"epochs": 60, "batch_size": 20, "optimizer": xpmlp.Adam(0.02)}
    callbacks = [xpmlp.EarlyStopping(50), xpmlp.Diagnosis(), xpmlp.ShowProgress()]
    history = mlp.fit(X, y, **fit, validation_data=(X, y), callbacks=callbacks)
    assert set(history) == {"loss", "learning_rate", "seconds", "val_loss"}
    assert history["loss"][-1] < history["loss"][0] - 0.5
    assert mlp.evaluate(X, y).keys() == {"loss"}
    found = np.asarray(mlp.predict(X))
    assert found.shape == (40, 2)
    assert np.mean((found[:, :1] - Y) ** 2) < 0.5 * np.var(Y)
    assert "Without accuracy" in callbacks[1].report()  # type: ignore[attr-defined]


@needs_torch
def test_its_loss_is_that_of_torch(backend: Any) -> None:
    mlp = model(backend, 2, loss=gaussian, dtype="float64")
    mlp.fit(X, Y, epochs=1)
    z = torch.tensor(np.asarray(mlp.predict(X)))
    variance = torch.exp(z[:, 1:])
    expected = torch.nn.functional.gaussian_nll_loss(z[:, :1], torch.tensor(Y), variance)
    assert mlp.evaluate(X, Y)["loss"] == pytest.approx(float(expected), rel=1e-9)
    assert xpmlp.check_gradient(mlp, X, Y).error <= 1e-6


def test_the_number_of_columns_is_kept(tmp_path: Path) -> None:
    mlp = model(outputs=2, loss=gaussian)
    mlp.fit(X, Y, epochs=1)
    mlp.save(tmp_path / "m.xpmlp")
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy", custom={"gaussian": gaussian})
    for same in (loaded, mlp.copy(), copy.deepcopy(mlp)):
        assert same.task == mlp.task
        assert same.evaluate(X, Y) == mlp.evaluate(X, Y)
        with pytest.raises(InvalidValueError, match=r"\(40, 2\); the model is trained on .* 1 col"):
            same.evaluate(X, np.hstack([Y, Y]))
    with pytest.raises(InvalidValueError, match="validation y"):
        mlp.fit(X, Y, epochs=1, validation_data=(X, np.hstack([Y, Y])))
    assert str(xpmlp.explain(mlp, X[:1], Y[:1]))


def test_a_run_resumes(tmp_path: Path) -> None:
    fit: dict[str, Any] = {"batch_size": 20, "checkpoints": tmp_path}
    model(outputs=2, loss=gaussian).fit(X, Y, epochs=3, **fit)
    mlp = model(outputs=2, loss=gaussian)
    assert len(mlp.fit(X, Y, epochs=3, resume=True, **fit)["loss"]) == 3


@pytest.mark.parametrize("columns", [0, 2, True, "1", 1.0])
def test_a_file_with_another_number_is_refused(tmp_path: Path, columns: Any) -> None:
    mlp = model(outputs=2, loss=gaussian)
    mlp.fit(X, Y, epochs=1)
    config, tensors = files.describe(mlp, mlp.state_dict())
    tensorfile.write(tmp_path / "m.xpmlp", config | {"columns": columns}, tensors)
    with pytest.raises(CheckpointError, match="columns"):
        xpmlp.load(tmp_path / "m.xpmlp", custom={"gaussian": gaussian})


@pytest.mark.parametrize("y", [np.arange(40.0) % 2, (np.arange(40) % 2)[:, None]])
def test_what_may_be_classes_is_not_taken_for_values(y: Any) -> None:
    with pytest.raises(InvalidValueError):
        model(outputs=2, loss=gaussian).fit(X, y)
    mlp = model(outputs=2, loss=gaussian, targets="values")
    mlp.fit(X, y, epochs=1)
    assert mlp.task.columns == 1


def test_other_losses_take_as_many_targets_as_outputs() -> None:
    for loss in ("mse", None):
        with pytest.raises(InvalidValueError, match="2 outputs"):
            model(outputs=2, loss=loss).fit(X, Y)


# Targets of classes


@pytest.mark.parametrize("encoded", [True, False])
def test_a_loss_for_targets_that_sum_to_1_trains(backend: Any, encoded: bool) -> None:
    labels = np.argmax(X, axis=1)
    y = np.eye(3)[labels] if encoded else labels
    mlp = model(backend, 3, loss=focal)
    history = mlp.fit(X, y, epochs=40, batch_size=20, optimizer=xpmlp.Adam(0.05))
    assert history["accuracy"][-1] > 0.9


# Large numbers


@pytest.mark.parametrize("beyond", [5.0, 50.0, 500.0])
@pytest.mark.parametrize("of", ["distance", "output"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_wrong_sign_far_away_is_found(backend: Any, beyond: float, of: str, outputs: int) -> None:
    def turned(xp: Any, z: Any, y: Any) -> Any:
        rows, dz = squared(xp, z, y)
        far = xp.abs(z - y if of == "distance" else z) > beyond
        return rows, xp.where(far, -dz, dz)

    refused(model(backend, outputs, loss=turned), "'turned'", np.tile(Y, (1, outputs)))


def test_where_a_loss_overflows_it_is_not_tried() -> None:
    def exponential(xp: Any, z: Any, y: Any) -> Any:
        e = xp.exp(z)
        return xp.sum(e - y * z, axis=1), e - y

    model(loss=exponential).fit(X, np.abs(Y), epochs=1)


@pytest.mark.parametrize("scale", [1e-6, 1e3, 1e6])
def test_large_targets_are_no_reason_to_refuse(scale: float) -> None:
    def huber(xp: Any, z: Any, y: Any) -> Any:
        e = z - y
        g = xp.clip(e, -1.0, 1.0)
        return xp.sum(g * (e - 0.5 * g), axis=1), g

    for loss in (squared, huber):
        model(loss=loss, dtype="float64").fit(X, scale * Y, epochs=1, optimizer="sgd")


@pytest.mark.parametrize("y", [0.0, 1.0, -1.0, 10.0])
def test_kinks_at_round_numbers_are_no_reason_to_refuse(y: float) -> None:
    def absolute(xp: Any, z: Any, y: Any) -> Any:
        return xp.sum(xp.abs(z - y), axis=1), 2.0 * xp.astype(z > y, z.dtype) - 1.0

    def hinge(xp: Any, z: Any, y: Any) -> Any:
        margin = 1.0 - y * z
        return xp.sum(xp.maximum(margin, 0.0), axis=1), xp.where(margin > 0, -y, 0.0 * y)

    for loss in (absolute, hinge):
        mlp = model(loss=loss, initializer=lambda rng, n_in, n_out: np.zeros((n_in, n_out)))
        mlp.fit(X, np.full((40, 1), y), epochs=1)


def test_outputs_that_are_probabilities_stay_so() -> None:
    """Far from them, the formula of a clipped logarithm is another one."""

    def likelihood(xp: Any, z: Any, y: Any) -> Any:
        p = xp.clip(z, 1e-7, 1.0 - 1e-7)
        return xp.sum(-y * xp.log(p) - (1 - y) * xp.log(1 - p), axis=1), (p - y) / (p * (1 - p))

    mlp = model(loss=likelihood, output="sigmoid", targets="values")
    mlp.fit(X, (Y > 0).astype(float), epochs=1)


# What a loss returns


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda xp, z, y: xp.sum((z - y) ** 2, axis=1), "returned a ndarray; expected a pair"),
        (lambda xp, z, y: (*squared(xp, z, y), 0), "returned a tuple of 3; expected a pair"),
        (lambda xp, z, y: None, "returned a NoneType; expected a pair"),
        (lambda xp, z, y: (xp.sum(z), z - y), r"first result .*shape \(\); .*shape \(8,\)"),
        (lambda xp, z, y: ((z - y) ** 2, z - y), r"first .*shape \(8, 1\); .*shape \(8,\)"),
        (lambda xp, z, y: (squared(xp, z, y)[0], 1.0), r"second .*a float; .*shape \(8, 1\)"),
        (lambda xp, z, y: (xp.sum(0 * z, axis=1) + xp.nan, z - y), "row 0 .*NaN.* target"),
        (lambda xp, z, y: (squared(xp, z, y)[0], (z - y) * xp.nan), "derivative .* is nan"),
    ],
)
def test_what_a_loss_must_return(backend: Any, loss: Any, match: str) -> None:
    refused(model(backend, loss=loss), match)


ROOT = np.sqrt(2.0)
WEIGHTS = np.ones(1)


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda xp, z, y: (ROOT * squared(xp, z, y)[0], z - y), "first"),
        (lambda xp, z, y: (squared(xp, z, y)[0], np.float64(1) * (z - y)), "second"),
        (lambda xp, z, y: (squared(xp, z, y)[0], WEIGHTS * (z - y)), "second"),
    ],
    ids=["rows", "gradient", "array"],
)
def test_float64_in_a_float32_model_is_named(backend: Any, loss: Any, match: str) -> None:
    message = rf"'<lambda>', {match} result .*float64; the inputs are float32.*float\(np\.sqrt"
    refused(model(backend, loss=loss), message)
    with pytest.raises(GradientError, match=message):
        xpmlp.check_gradient(loss, [[0.5]], [[1.0]])
    if match == "second":
        model(loss=loss, dtype="float64").fit(X, Y, epochs=1)


# When it is checked


@pytest.mark.parametrize("how", ["copied", "loaded", "continued", "mutated"])
def test_a_loss_is_checked_when_it_is_next_trained(tmp_path: Path, how: str) -> None:
    class Turning(Loss):
        name = "turning"
        sign = 1.0

        def __call__(self, ops: Any, z: Any, y: Any) -> Any:
            rows, dz = squared(ops.xp, z, y)
            return rows, self.sign * dz

    loss = Turning()
    mlp = model(loss=loss)
    mlp.fit(X, Y, epochs=1)
    object.__setattr__(loss, "sign", -1.0)
    if how == "copied":
        mlp = mlp.copy()
    if how == "loaded":
        mlp.save(tmp_path / "m.xpmlp")
        mlp = xpmlp.load(tmp_path / "m.xpmlp", custom={"Turning": loss})
    with pytest.raises(GradientError, match="turning"):
        mlp.fit(X, Y, epochs=1, continued=how == "continued")


def test_it_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = gradcheck.check_loss_at

    def counted(*arguments: Any) -> None:
        calls.append(arguments)
        original(*arguments)

    monkeypatch.setattr(gradcheck, "check_loss_at", counted)

    def once(xp: Any, z: Any, y: Any) -> Any:
        return squared(xp, z, y)

    for mlp in (model(loss=once), model(loss=once), model(loss=once).copy()):
        mlp.fit(X, Y, epochs=1)
        mlp.fit(X, 2.0 * Y, epochs=1)
    assert len(calls) == 1
    model(loss=once, dtype="float64").fit(X, Y, epochs=1)
    model(loss=once, outputs=2).fit(X, np.hstack([Y, Y]), epochs=1)
    assert len(calls) == 3


def test_those_who_check_a_loss_themselves_choose_the_points() -> None:
    z = RNG.standard_normal((5, 2))
    assert xpmlp.check_gradient(gaussian, z, RNG.standard_normal((5, 1))).points == 10
    assert xpmlp.check_gradient(focal, RNG.standard_normal((5, 3)), np.eye(3)[[0, 1, 2, 0, 1]])
    assert_close(xpmlp.check_gradient(squared).error, 0.0, atol=1e-6)


def test_a_loss_that_is_cut_off_far_out_is_taken(backend: Any) -> None:
    """ln(p + 1e-12) is a common form; its gradient p − y is right wherever it matters."""

    def cross_entropy(xp: Any, z: Any, y: Any) -> Any:
        e = xp.exp(z - xp.max(z, axis=1, keepdims=True))
        p = e / xp.sum(e, axis=1, keepdims=True)
        return -xp.sum(y * xp.log(p + 1e-12), axis=1), p - y

    X, y = np.eye(3, dtype=np.float32), np.array([0, 1, 2])
    history = xpmlp.MLP([3, 3], loss=cross_entropy, backend=backend, seed=1).fit(X, y, epochs=1)
    assert history.execution


def test_a_path_with_a_value_that_is_not_measured_is_refused(tmp_path: Path) -> None:
    """Without a metric, SaveModel says which fields there are."""
    other = type("Other", (xpmlp.Callback,), {})()
    mlp = xpmlp.MLP([3, 2], loss=gaussian, seed=1)
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.linspace(-1, 1, 20)
    save = xpmlp.SaveModel(tmp_path / "{epoch}-{accuracy:.2f}.xpmlp")
    with pytest.raises(InvalidValueError, match="fields epoch, loss"):
        mlp.fit(X, y, epochs=1, callbacks=[other, save])
    mlp.fit(X, y, epochs=1, callbacks=[other, xpmlp.SaveModel(tmp_path / "{epoch}.xpmlp")])
    assert (tmp_path / "1.xpmlp").exists()
