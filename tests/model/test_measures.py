"""Named metrics and weights in what is measured, against scikit-learn and against repeated rows."""

import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError, MissingExtraError
from xpmlp.metrics import MEASURES, Measure
from xpmlp.nn.metrics import falls

theirs = pytest.importorskip("sklearn.metrics")
N = 24
RNG = np.random.default_rng(3)
X = RNG.standard_normal((N, 3))
W = RNG.integers(0, 4, N).astype(float)
KINDS: dict[str, tuple[int, np.ndarray]] = {
    "labels": (3, np.arange(N) % 3),
    "two": (2, np.arange(N) % 2),
    "one_hot": (3, np.eye(3)[np.arange(N) % 3]),
    "binary": (1, np.arange(N) % 2),
    "multilabel": (3, RNG.integers(0, 2, (N, 3))),
    "values": (2, RNG.standard_normal((N, 2)) * [1.0, 5.0] + 10.0),
    "value": (1, RNG.standard_normal(N) + 3.0),
}


def trained(kind: str, backend: Any = "numpy", **options: Any) -> tuple[Any, np.ndarray]:
    outputs, y = KINDS[kind]
    scaling = "standard" if kind.startswith("value") else "auto"
    targets = {"two": "labels", "value": "values"}.get(kind, kind)
    made = {"targets": targets, "scaling": scaling, "dtype": "float64", "seed": 0} | options
    mlp = xpmlp.MLP([3, 5, outputs], "tanh", backend=backend, **made)
    mlp.fit(X, y, epochs=3, optimizer=xpmlp.Adam(0.05), batch_size=8)
    return mlp, y


def expected(name: str, kind: str, y: np.ndarray, mlp: Any, w: Any) -> float:
    """What scikit-learn says of the model's predictions."""
    predicted, p = mlp.predict(X), None if kind.startswith("value") else mlp.predict_proba(X)
    y = y.argmax(axis=1) if kind == "one_hot" else y
    average = "binary" if kind in ("two", "binary") else "macro"
    positive = p if p is None or average != "binary" else p[:, 1]
    onehot = (
        y if kind == "multilabel" else np.eye(3)[y] if average == "macro" and p is not None else y
    )
    f = partial(getattr, theirs)
    if name == "log_loss" and kind == "multilabel":
        return sum(theirs.log_loss(y[:, k], p[:, k], sample_weight=w) for k in range(3))
    if name == "rmse":
        return float(np.sqrt(theirs.mean_squared_error(y, predicted, sample_weight=w)))
    if name == "r2":
        w = np.ones(N) if w is None else w
        off, mean = (y - predicted) ** 2, np.average(y, axis=0, weights=w)
        return 1 - (w @ off).sum() / (w @ (y - mean) ** 2).sum()
    return {
        "accuracy": lambda: theirs.accuracy_score(y, predicted, sample_weight=w),
        "balanced_accuracy": lambda: f("balanced_accuracy_score")(y, predicted, sample_weight=w),
        "mcc": lambda: theirs.matthews_corrcoef(y, predicted, sample_weight=w),
        "f1": lambda: theirs.f1_score(
            y, predicted, average=average, sample_weight=w, zero_division=0
        ),
        "precision": lambda: theirs.precision_score(
            y, predicted, average=average, sample_weight=w, zero_division=0
        ),
        "recall": lambda: theirs.recall_score(
            y, predicted, average=average, sample_weight=w, zero_division=0
        ),
        "log_loss": lambda: theirs.log_loss(y, p, sample_weight=w),
        "auc": lambda: theirs.roc_auc_score(onehot, positive, average="macro", sample_weight=w),
        "average_precision": lambda: theirs.average_precision_score(
            onehot, positive, average="macro", sample_weight=w
        ),
        "mae": lambda: theirs.mean_absolute_error(y, predicted, sample_weight=w),
        "mse": lambda: theirs.mean_squared_error(y, predicted, sample_weight=w),
        "mape": lambda: theirs.mean_absolute_percentage_error(y, predicted, sample_weight=w),
        "median_ae": lambda: theirs.median_absolute_error(y, predicted, sample_weight=w),
    }[name]()


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_is_what_scikit_learn_says(kind: str) -> None:
    mlp, y = trained(kind)
    names = [n for n, m in MEASURES.items() if (m.takes == "values") == kind.startswith("value")]
    if kind == "values":
        names.remove("r2")  # that of evaluate is pooled over the outputs as the network has them
    if kind == "multilabel":
        names = [n for n in names if n not in ("balanced_accuracy", "mcc")]
    for w in (None, W):
        found = mlp.evaluate(X, y, metrics=names, sample_weight=w)
        for name in names:
            assert_close(found[name], expected(name, kind, y, mlp, w), atol=1e-9)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("kind", ["labels", "binary", "value"])
@pytest.mark.sampled(2)
def test_a_weight_of_2_is_two_rows(backend: Any, kind: str) -> None:
    mlp, y = trained(kind, backend, l2=0.1, penalty_on="sum")
    rows = np.repeat(np.arange(N), W.astype(int))
    named = ["mae", "rmse"] if kind == "value" else ["f1", "log_loss"]
    weighted = mlp.evaluate(X, y, sample_weight=W, metrics=named)
    repeated = mlp.evaluate(X[rows], y[rows], metrics=named)
    assert list(weighted) == list(repeated)
    for name, value in repeated.items():
        assert_close(weighted[name], value, rtol=1e-10)


@pytest.mark.usefixtures("uncompiled")
def test_in_the_history_and_for_stopping(backend: Any) -> None:
    outputs, y = KINDS["labels"]
    mlp = xpmlp.MLP([3, 8, outputs], dtype="float64", backend=backend, seed=0)
    stopping = xpmlp.EarlyStopping(monitor="val_log_loss", patience=3)

    def wrong(y_true: np.ndarray, y_pred: np.ndarray, sample_weight: Any = None) -> float:
        return float(np.average(y_true != y_pred, weights=sample_weight))

    history = mlp.fit(
        X[:16],
        y[:16],
        epochs=30,
        batch_size=8,
        optimizer=xpmlp.Adam(0.1),
        validation_data=(X[16:], y[16:], W[16:]),
        metrics=["accuracy", "f1", "log_loss", wrong],
        callbacks=[stopping],
    )
    names = ["loss", "accuracy", "learning_rate", "seconds"]
    assert list(history) == [
        *names,
        "val_loss",
        "val_accuracy",
        "val_f1",
        "val_log_loss",
        "val_wrong",
    ]
    assert len(history["val_f1"]) == len(history["loss"]) < 30
    assert history["val_log_loss"][stopping.best_epoch] == min(history["val_log_loss"])
    best = mlp.evaluate(X[16:], y[16:], sample_weight=W[16:], metrics=["f1", wrong])
    assert_close(best["f1"], history["val_f1"][stopping.best_epoch], atol=1e-12)
    assert_close(best["loss"], history["val_loss"][stopping.best_epoch], atol=1e-12)
    assert_close(best["accuracy"], 1 - best["wrong"], atol=1e-12)


def test_the_same_training_whatever_is_measured() -> None:
    _, y = KINDS["labels"]
    made = []
    for metrics in (True, ["accuracy", "f1", "auc"]):
        mlp = xpmlp.MLP([3, 8, 3], dropout=0.1, backend="numpy", seed=0)
        history = mlp.fit(X, y, epochs=3, batch_size=5, validation_split=0.5, metrics=metrics)
        made.append((mlp.state_dict(), history))
    for name, value in made[0][0].items():
        np.testing.assert_array_equal(made[1][0][name], value)
    for name in set(made[0][1]) - {"seconds"}:
        assert made[0][1][name] == made[1][1][name]


@pytest.mark.usefixtures("uncompiled")
def test_of_each_network(backend: Any) -> None:
    mlp, y = trained("labels", backend, ensemble=3)
    found = mlp.evaluate(X, y, metrics=["f1", "log_loss"], sample_weight=W, each=True)
    for i in range(3):
        one = mlp.member(i).evaluate(X, y, metrics=["f1", "log_loss"], sample_weight=W)
        for name, value in one.items():
            assert_close(found[name][i], value, atol=1e-10)


def test_directions() -> None:
    less = {"log_loss", "rmse", "mae", "mse", "mape", "median_ae"}
    assert {name for name, measure in MEASURES.items() if measure.falls} == less
    assert falls("val_rmse")
    assert not falls("val_f1")
    assert falls("val_worst", {"worst"})
    worst = Measure("worst", lambda y, p: float(abs(y - p).max()), takes="values", falls=True)
    y = KINDS["value"][1]
    mlp = xpmlp.MLP([3, 4, 1], backend="numpy", seed=0)
    stopping = xpmlp.EarlyStopping(monitor="val_worst", patience=5)
    plateau = xpmlp.schedules.ReduceOnPlateau(0.05, monitor="val_worst", patience=2)
    history = mlp.fit(
        X,
        y,
        epochs=25,
        validation_split=0.5,
        metrics=[worst],
        callbacks=[stopping],
        optimizer=xpmlp.Adam(plateau),
    )
    assert history["val_worst"][stopping.best_epoch] == min(history["val_worst"])
    assert f"{min(history['val_worst']):.4g} in epoch {stopping.best_epoch + 1}" in repr(history)


def test_a_function_may_ask_how_many_classes_there_are() -> None:
    mlp, y = trained("two")

    def count(y_true: Any, y_pred: Any, classes: int) -> int:
        return classes

    assert mlp.evaluate(X, y, metrics=count)["count"] == 2
    assert mlp.evaluate(X, y, metrics="f1")["f1"] <= 1


@pytest.mark.parametrize(
    ("kind", "metrics", "message"),
    [
        ("labels", "f2", "unknown metric 'f2'"),
        ("labels", ["mae"], "found 'mae' for a model that predicts labels; expected accuracy"),
        ("values", ["f1"], "found 'f1' for a model that predicts values; expected rmse, mae"),
        ("multilabel", ["mcc"], "found 'mcc' for a model that predicts multilabel"),
        ("labels", [3], "found 3; expected a name such as 'accuracy', a function"),
        ("labels", 3, "found 3; expected a list of names or functions"),
        ("labels", ["f1", "f1"], "found 'f1' twice"),
        ("labels", [Measure("loss", lambda y, p: 0.0)], "found 'loss' , which is measured"),
        ("labels", [Measure("m", lambda y, p: 0.0, takes="values")], "'m' takes values"),
        ("values", [Measure("m", lambda y, p: 0.0)], "'m' takes classes; this model predicts val"),
        ("labels", [Measure("m", lambda y, p: "good")], "'m' returned a str; expected a number"),
        ("labels", [Measure("m", lambda y, p: p * 1.0)], "'m' returned a ndarray; expected a num"),
    ],
)
def test_what_cannot_be_measured(kind: str, metrics: Any, message: str) -> None:
    mlp, y = trained(kind)
    with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
        mlp.evaluate(X, y, metrics=metrics)


class Never(xpmlp.Callback):
    """Training does not begin."""

    def on_train_begin(self, training: Any) -> None:
        raise AssertionError


def test_what_needs_more() -> None:
    mlp, y = trained("labels")

    def plain(y_true: Any, y_pred: Any) -> float:
        return 0.0

    with pytest.raises(InvalidValueError, match="found sample weights, which 'plain' does not"):
        mlp.evaluate(X, y, metrics=[plain], sample_weight=W)
    with pytest.raises(InvalidValueError, match="found sample weights, which 'plain' does not"):
        xpmlp.MLP([3, 3], backend="numpy").fit(
            X, y, validation_data=(X, y, W), metrics=plain, callbacks=[Never()]
        )
    with pytest.raises(InvalidValueError, match="found 'f1' without validation data"):
        mlp.fit(X, y, metrics=["accuracy", "f1"])
    with pytest.raises(InvalidValueError, match="unknown takes 'scores'"):
        Measure("m", plain, takes="scores")
    with pytest.raises(InvalidValueError, match="'auc' with validation rows of one class"):
        mlp.evaluate(X[:1], y[:1], metrics=["auc"])
    with pytest.raises(InvalidTypeError, match=r"expected a pair \(X, y\), or \(X, y, sample_w"):
        mlp.fit(X, y, validation_data=(X,))  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="validation sample_weight: found shape"):
        mlp.fit(X, y, validation_data=(X, y, W[:3]))
    soft = np.full((N, 3), 0.5)
    many, _ = trained("multilabel")
    with pytest.raises(InvalidValueError, match="which are neither class"):
        many.evaluate(X, soft, metrics=["f1"])
    fewer = xpmlp.MLP([3, 4, 2], loss=lambda xp, z, y: (z[:, 0] * 0, z * 0), backend="numpy")
    fewer.fit(X, X[:, :1], epochs=1)
    with pytest.raises(InvalidValueError, match=r"only the loss .* knows which output"):
        fewer.evaluate(X, X[:, :1], metrics=["mae"])


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, y = trained("labels")
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    assert mlp.evaluate(X, y, metrics=["log_loss"])["log_loss"] >= 0
    with pytest.raises(MissingExtraError, match=r"the metric 'f1' needs sklearn.*xpmlp\[sklearn\]"):
        mlp.fit(X, y, validation_split=0.5, metrics=["f1"])


def test_a_function_of_c() -> None:
    """Nobody knows the parameters of some functions."""
    mlp, y = trained("value")
    assert mlp.evaluate(X, y, metrics=[Measure("dot", np.vdot, takes="values")])["dot"] > 0
