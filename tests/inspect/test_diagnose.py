"""The diagnosis: silent on healthy training runs, and right about sick ones."""

import math
from typing import Any

import numpy as np
import pytest

import xpmlp
from benchmarks.diagnosis import run
from benchmarks.diagnosis_cases import HELD_OUT, TUNING, Case, digits, xor
from xpmlp.errors import DivergenceError
from xpmlp.inspect.diagnose.course import skill
from xpmlp.inspect.diagnose.diagnosis import Diagnosis
from xpmlp.inspect.diagnose.probe import ROWS, Probe
from xpmlp.training.divergence import locate
from xpmlp.training.prepare import settle

CASES = {case.name: case for case in TUNING + HELD_OUT}
HEALTHY = (
    "digits, ReLU, Adam",
    "digits, dropout",
    "digits, Nesterov, cosine",
    "digits, trained further, small rate",
    "XOR, sigmoid, SGD",
    "columns in many units, standardized",
    "counts, Poisson",
    "three labels",
    "two overlapping classes",
)
SICK = (
    "digits, Adam, rate 100x",
    "plane, SGD, rate 100x",
    "digits, SGD, rate 1/1000",
    "digits, weights 0",
    "digits, tanh, weights N(0, 3)",
    "XOR, 6 sigmoid layers",
    "digits, 8 ReLU layers, large weights",
    "digits times 1000, SGD",
    "columns in many units",
    "sine times 10000",
    "digits, bias -10",
    "60 points of two overlapping classes, 100-100",
    "XOR, no hidden layer",
    "digits, one epoch of full batch",
    "digits, L2 1.0",
    "1 % of one class",
)


def names(diagnosis: Diagnosis) -> list[str]:
    return [finding.name for finding in diagnosis.findings]


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.sampled(4)
def test_a_healthy_training_gets_no_warning(name: str) -> None:
    assert names(run(CASES[name])) == []


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
@pytest.mark.filterwarnings("ignore:the training loss ran away:UserWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of runs that overflow
@pytest.mark.parametrize("name", SICK)
@pytest.mark.sampled(3)
def test_a_sick_training_gets_its_finding_first(name: str) -> None:
    case = CASES[name]
    assert names(run(case))[0] in case.expected


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("epochs", "optimizer", "options", "expected"),
    [
        (15, xpmlp.Adam(3e-2), {}, None),
        (3, xpmlp.Adam(1e-2), {"initializer": "zeros"}, "identical units"),
        (3, xpmlp.SGD(1e-6), {"normalization": "batch"}, "learning rate too small"),
    ],
)
@pytest.mark.sampled(5)
def test_on_every_backend(
    backend: Any, epochs: int, optimizer: Any, options: Any, expected: Any
) -> None:
    options = {"activation": "tanh"} | options
    case = Case("", xor, [2, 16, 1], optimizer, epochs=epochs, mlp=options)
    assert (names(run(case, backend=backend)) or [None])[0] == expected


def fitted(*, epochs: int = 2, sizes: Any = (2, 8, 1), **options: Any) -> tuple[Diagnosis, Any]:
    """A diagnosis of a few epochs of XOR in full batches, and the weights after each."""
    X, y, *_ = xor(200)
    mlp = xpmlp.MLP(sizes, "tanh", seed=0, dtype="float64", backend="numpy")
    states = [mlp.state_dict()]

    class Watch(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            states.append(training.mlp.state_dict())

    diagnosis = Diagnosis()
    mlp.fit(X, y, epochs=epochs, batch_size=None, callbacks=[diagnosis, Watch()], **options)
    return diagnosis, states


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adamw"])
def test_the_update_ratio_is_that_of_the_next_step(name: str) -> None:
    # Full batches of at most 256 rows: the probe is the batch.
    diagnosis, states = fitted(epochs=4, optimizer=name)
    assert diagnosis.course is not None
    for measured, before, after in zip(
        diagnosis.course.measurements, states, states[1:], strict=False
    ):
        for layer in measured.layers:
            W = f"{layer.name}.W"
            change = np.linalg.norm(after[W] - before[W]) / np.linalg.norm(before[W])
            assert layer.update == pytest.approx(change, rel=1e-6)


@pytest.mark.filterwarnings("ignore:the training loss ran away")
@pytest.mark.parametrize("classes", [None, ("common", "rare\x1b")])
def test_classes_have_their_names(classes: Any, rng: np.random.Generator) -> None:
    X = rng.normal(size=(400, 3))
    y = (np.arange(400) >= 396).astype(int)
    diagnosis = Diagnosis(classes)
    mlp = xpmlp.MLP([3, 8, 2], seed=0, backend="numpy")
    mlp.fit(X, y, epochs=20, optimizer=xpmlp.Adam(1e-2), callbacks=[diagnosis])
    (found,) = (f for f in diagnosis.findings if f.name == "class imbalance")
    assert found.evidence.startswith(f"Class {'1' if classes is None else repr(classes[1])} has 4")
    assert found.evidence.endswith(f"class {'1' if classes is None else repr(classes[1])}.")


def test_the_probe_is_small_and_shows_every_class_alike() -> None:
    diagnosis = run(Case("", digits, [64, 8, 10], xpmlp.Adam(1e-3), epochs=1))
    assert diagnosis.course is not None
    shown = diagnosis.course.facts.shown
    assert sum(shown) <= ROWS
    assert set(shown) == {ROWS // 10}
    assert sum(diagnosis.course.last.predicted) == sum(shown)


def test_facts_of_the_data() -> None:
    diagnosis, _ = fitted()
    assert diagnosis.course is not None
    facts = diagnosis.course.facts
    share = facts.counts[1] / 200
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert facts.loss == pytest.approx(entropy)
    assert facts.guess == max(facts.counts) / 200
    assert 0.9 < facts.neighbors <= 1


@pytest.mark.filterwarnings("ignore:the training loss ran away")
@pytest.mark.parametrize(("mean", "found"), [(1000.0, True), (5.0, False)])
def test_targets_far_from_zero_are_unscaled(mean: float, found: bool, rng: Any) -> None:
    X = rng.normal(size=(100, 2))
    diagnosis = Diagnosis()
    mlp = xpmlp.MLP([2, 8, 1], backend="numpy", seed=0, scaling=None)
    mlp.fit(X, mean + X[:, 0], epochs=2, callbacks=[diagnosis])
    assert ("unscaled targets" in names(diagnosis)) is found


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled")
@pytest.mark.parametrize(("spread", "found"), [(16.0, True), (6.0, False)])
def test_inputs_of_a_large_spread_are_unscaled(spread: float, found: bool, rng: Any) -> None:
    X = rng.normal(size=(100, 2))
    diagnosis = Diagnosis()
    mlp = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0, scaling=None)
    mlp.fit(spread * X, (X[:, 0] > 0).astype(int), epochs=2, callbacks=[diagnosis])
    assert ("unscaled inputs" in names(diagnosis)) is found


def test_what_is_better_than_guessing() -> None:
    assert skill(0.9, 0.5) == pytest.approx(0.8)
    assert skill(0.5, 0.75) == pytest.approx(-1.0)
    assert math.isnan(skill(1.0, 1.0))


def test_units_that_are_dead_are_found(rng: Any) -> None:
    X, y = rng.normal(size=(100, 2)), rng.integers(0, 2, 100)
    diagnosis = Diagnosis()
    mlp = xpmlp.MLP([2, 8, 2], "relu", backend="numpy", seed=0)
    mlp.load_state_dict(mlp.state_dict() | {"dense1.b": np.full(8, -100.0)})
    mlp.fit(X, y, epochs=2, callbacks=[diagnosis])
    assert names(diagnosis)[0] == "dead units"


def test_targets_that_the_model_scales_are_seen_scaled() -> None:
    X = np.random.default_rng(0).standard_normal((100, 3))
    diagnosis = Diagnosis()
    mlp = xpmlp.MLP([3, 16, 1], scaling="standard", seed=0, backend="numpy")
    mlp.fit(X, 1e4 + 1e3 * X[:, 0], epochs=60, optimizer=xpmlp.Adam(1e-2), callbacks=[diagnosis])
    assert names(diagnosis) == []
    assert diagnosis.course is not None
    assert diagnosis.course.last.score > 0.95


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_report_is_narrow_and_says_what_to_try() -> None:
    text = run(CASES["digits times 1000, SGD"]).report()
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[2] == "1. unscaled inputs"
    assert "scaling='standard'" in text


def test_the_report_of_a_healthy_training_without_validation() -> None:
    assert Diagnosis().report().startswith("Nothing to diagnose")
    X, y, *_ = xor()
    diagnosis = Diagnosis()
    xpmlp.MLP([2, 32, 1], seed=0, backend="numpy").fit(
        X, y, epochs=40, batch_size=32, optimizer=xpmlp.Adam(1e-2), callbacks=[diagnosis]
    )
    assert diagnosis.report().startswith("Diagnosis after 40 epochs: no findings")
    assert "overfitting cannot be detected" in diagnosis.report()


def test_findings_can_be_read_while_training_runs() -> None:
    seen: list[list[str]] = []
    diagnosis = Diagnosis()

    class Watch(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            seen.append(names(diagnosis))

    X, y, *_ = xor()
    xpmlp.MLP([2, 8, 1], seed=0, backend="numpy", initializer="zeros").fit(
        X, y, epochs=2, callbacks=[diagnosis, Watch()]
    )
    assert [found[0] for found in seen] == ["identical units"] * 2


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_is_diagnosed() -> None:
    X, y, *_ = CASES["plane, SGD, rate 100x"].data()
    diagnosis = Diagnosis()
    with pytest.raises(DivergenceError):
        xpmlp.MLP([10, 1], seed=0, backend="numpy").fit(
            X, y, epochs=50, optimizer=xpmlp.SGD(10.0), callbacks=[diagnosis]
        )
    assert names(diagnosis)[0] == "learning rate too large"
    assert diagnosis.course is not None
    assert diagnosis.course.diverged is not None
    assert "became NaN or infinite in epoch" in diagnosis.findings[0].evidence


def test_the_training_is_the_same_with_and_without_it() -> None:
    X, y, *_ = digits()
    made = []
    for callbacks in ([], [Diagnosis()]):
        mlp = xpmlp.MLP([64, 16, 10], dropout=0.2, normalization="batch", seed=1, backend="numpy")
        mlp.fit(X, y, epochs=2, callbacks=callbacks)
        made.append(mlp.state_dict())
    for name, value in made[0].items():
        np.testing.assert_array_equal(value, made[1][name])


# Where a NaN comes from


def planted(backend: Any, **values: float) -> tuple[Any, Any, Any, Any]:
    """1-1-1 linear network in float32 with these parameters; the batch is x = 1, y = 0."""
    mlp = xpmlp.MLP([1, 1, 1], "identity", seed=0, backend=backend)
    X, y = settle(mlp, np.ones((2, 1)), np.zeros(2))
    return mlp, X, y, changed(mlp, values)


def changed(mlp: Any, values: dict[str, float]) -> Any:
    state = {name: np.zeros_like(value) for name, value in mlp.state_dict().items()}
    for name, value in values.items():
        state[name.replace("_", ".")][...] = value
    return mlp.backend.asarray(mlp.network.layout.flatten(state), mlp.dtype)


@pytest.mark.parametrize(
    ("values", "place", "word"),
    [
        ({"dense1_W": 1e30, "dense2_W": 1e30}, "dense2", "forward: the output of dense2"),
        ({"dense1_W": 1e15, "dense2_W": 1e10}, "loss", "the loss mse has infinity"),
        ({"dense1_W": 1e25, "dense2_W": 1e-8}, "dense2.W", "the gradient of dense2.W"),
        ({"dense1_W": 1e-25, "dense2_W": 1e30, "dense2_b": 1e15}, "dense2", "d(its input)"),
        ({"dense1_b": math.nan}, "dense1.b", "dense1.b already is NaN"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_first_number_that_is_not_finite_is_named(
    backend: Any, values: dict[str, float], place: str, word: str
) -> None:
    found = locate(*planted(backend, **values))
    assert found is not None
    assert found.place == place
    assert word in str(found)


def test_a_finite_step_names_nothing_and_its_update_is_blamed(backend: Any) -> None:
    mlp, X, y, params = planted(backend, dense1_W=1.0, dense2_W=1.0)
    assert locate(mlp, X, y, params) is None
    found = locate(mlp, X, y, params, changed(mlp, {"dense2_b": math.inf}))
    assert found is not None
    assert found.place == "dense2.b"
    assert "becomes infinity in the update" in str(found)


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled")
def test_the_probe_takes_rows_of_real_targets_evenly() -> None:
    X = np.arange(1000.0)[:, None]
    seen: list[Probe] = []

    class Watch(xpmlp.Callback):
        def on_train_begin(self, training: Any) -> None:
            seen.append(Probe(training))

    xpmlp.MLP([1, 1], seed=0, backend="numpy").fit(
        X, X[:, 0] / 1000.0, epochs=1, callbacks=[Watch()]
    )
    assert len(seen[0]._X) == ROWS
    assert (seen[0]._X[0, 0], seen[0]._X[-1, 0]) == (0.0, 999.0)
