"""NumPy's recorded steps: the same numbers as the step itself, on memory that is made once."""

import gc
import logging
import tracemalloc
import weakref
from threading import Thread
from typing import Any

import numpy as np
import pytest
from xpmlp_backends.base import EagerBackend
from xpmlp_backends.numpy.backend import RECORDINGS, NumpyBackend, RecordedRun
from xpmlp_backends.numpy.record import Recorded, Tape, Unrecordable, empty, launch

import xpmlp
from xpmlp import optimizers
from xpmlp.callbacks import Callback

NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout and batch normalization": {"dropout": 0.3, "normalization": "batch"},
    "layer normalization, gelu": {"normalization": "layer", "activation": "gelu"},
    "residual, tanh": {"residual": True, "activation": "tanh"},
    "mish, input dropout": {"activation": "mish", "input_dropout": 0.2},
    "penalties": {"l1": 1e-3, "l2": 1e-2, "max_norm": 0.5},
    "no bias, elu": {"bias": False, "activation": "elu"},
    "softmax inside": {"activation": "softmax"},
    "selu, mixed": {"activation": "selu", "activation_mix": True, "dropout": 0.1},
    "for tables": {
        "activation": "mish",
        "activation_mix": True,
        "input_scale": True,
        "parametrization": "ntk",
        "embedding": xpmlp.Embedding("pbld", columns=[0, 2, 3]),
        "scaling": "robust",
    },
    "piecewise": {"embedding": xpmlp.Embedding("piecewise"), "input_dropout": 0.2},
    "networks for tables": {
        "ensemble": 2,
        "activation": "selu",
        "activation_mix": True,
        "input_scale": True,
        "parametrization": "ntk",
        "embedding": xpmlp.Embedding("pbld", columns=[0, 2]),
        "dropout": xpmlp.schedules.FlatCos(0.2),
    },
    "networks that share": {
        "ensemble": 2,
        "sharing": "mini",
        "activation_mix": True,
        "embedding": xpmlp.Embedding("piecewise"),
    },
}
OPTIMIZERS = {
    name: make(clip_norm=0.5, clip_value=0.1) if name == "momentum" else make()
    for name, make in optimizers.OPTIMIZERS.items()
}


class Eager(NumpyBackend):
    """The same operations, called step by step."""

    compile = EagerBackend.compile


@pytest.fixture(params=[True, False], ids=["numba", "plain"])
def fused(request: pytest.FixtureRequest) -> Any:
    if request.param:
        pytest.importorskip("numba")
    return request.param


def problem(n: int = 70, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 6)).astype(np.float32), rng.integers(0, 3, n)


def train(backend: Any, X: Any, y: Any, optimizer: Any = "adam", **options: Any) -> Any:
    mlp = xpmlp.MLP([6, 8, 8, options.pop("outputs", 3)], seed=1, backend=backend, **options)
    weight = np.linspace(0.1, 2.0, len(X)) if "l1" in options else None
    history = mlp.fit(X, y, epochs=3, batch_size=16, optimizer=optimizer, sample_weight=weight)
    return mlp, history


def assert_same(ours: Any, right: Any) -> None:
    """Two trainings, bit for bit."""
    for name, value in right[0].state_dict().items():
        np.testing.assert_array_equal(ours[0].state_dict()[name], value, err_msg=name)
    for figure in ("loss", "accuracy", "r2"):
        assert ours[1].get(figure) == right[1].get(figure)


def recorded(mlp: Any) -> Any:
    """The run of a model, which must have recorded its step."""
    (run,) = mlp.compiled.values()
    assert isinstance(run, RecordedRun)
    assert run.execution.mode == "recorded"
    assert run._recordings
    return run


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.sampled(3)
def test_a_recorded_training_is_the_training(fused: bool, options: dict[str, Any]) -> None:
    """With a smaller last batch, so two recordings take turns on one state."""
    ours = train(NumpyBackend(fused), *problem(), **options)
    assert len(recorded(ours[0])._recordings) == 2
    assert_same(ours, train(Eager(fused), *problem(), **options))


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.sampled(3)
def test_every_optimizer_is_recorded(fused: bool, optimizer: Any) -> None:
    ours = train(NumpyBackend(fused), *problem(), optimizer)
    recorded(ours[0])
    assert_same(ours, train(Eager(fused), *problem(), optimizer))


@pytest.mark.parametrize("name", xpmlp.losses.LOSSES)
def test_every_loss_is_recorded(fused: bool, name: str) -> None:
    X, y = problem()
    kind = xpmlp.losses.LOSSES[name].targets
    target: Any = y if kind == "labels" else np.eye(3)[y]
    if kind in ("values", "counts"):
        target = np.abs(X[:, :3]).astype(np.float64)
    options = {"loss": name, "normalization": "layer"}
    ours = train(NumpyBackend(fused), X, target, **options)
    recorded(ours[0])
    assert_same(ours, train(Eager(fused), X, target, **options))


@pytest.mark.parametrize("name", xpmlp.losses.DISTRIBUTIONS)
def test_every_distribution_is_recorded(fused: bool, name: str) -> None:
    X, _ = problem()
    target = np.abs(X[:, :2]).astype(np.float64)
    outputs = 2 * xpmlp.losses.loss(name).outputs_per_target
    ours = train(NumpyBackend(fused), X, target, loss=name, outputs=outputs)
    recorded(ours[0])
    assert_same(ours, train(Eager(fused), X, target, loss=name, outputs=outputs))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, bool])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.sampled(3)
def test_every_kind_of_data_is_recorded(fused: bool, dtype: Any, order: Any) -> None:
    X, y = problem()
    X = np.asarray(np.abs(X * 3).astype(dtype), order=order)
    for scaling in ("auto", "standard"):
        ours = train(NumpyBackend(fused), X, y, scaling=scaling)
        recorded(ours[0])
        assert_same(ours, train(Eager(fused), X, y, scaling=scaling))


def test_a_later_fit_plays_the_same_recording_on_its_own_data(fused: bool) -> None:
    trained = []
    for backend in (NumpyBackend(fused), Eager(fused)):
        mlp = xpmlp.MLP([6, 8, 3], seed=1, backend=backend)
        for seed, rows in ((0, 64), (1, 64), (2, 96)):
            history = mlp.fit(*problem(rows, seed), epochs=2, batch_size=32)
        trained.append((mlp, history))
    assert len(recorded(trained[0][0])._recordings) == 1
    assert_same(*trained)


def test_few_recordings_are_kept(fused: bool) -> None:
    trained = []
    for backend in (NumpyBackend(fused), Eager(fused)):
        mlp = xpmlp.MLP([6, 8, 3], seed=1, backend=backend)
        for rows in (*range(10, 20), 10):
            history = mlp.fit(*problem(rows), epochs=1, batch_size=None)
        trained.append((mlp, history))
    assert len(recorded(trained[0][0])._recordings) == RECORDINGS
    assert_same(*trained)


def test_pauses_for_callbacks_change_nothing(fused: bool) -> None:
    class Watch(Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            losses.append(training.batch_loss)

    histories, seen = [], []
    for backend in (NumpyBackend(fused), Eager(fused)):
        losses: list[float] = []
        mlp = xpmlp.MLP([6, 8, 3], seed=1, backend=backend)
        histories.append((mlp, mlp.fit(*problem(), epochs=2, batch_size=16, callbacks=[Watch()])))
        seen.append(losses)
    assert_same(*histories)
    assert len(seen[0]) == 10
    assert seen[0] == seen[1]


# Memory


@pytest.mark.parametrize(
    "name", ["plain", "dropout and batch normalization", "mish, input dropout"]
)
def test_a_step_makes_no_array(fused: bool, name: str) -> None:
    """512 rows of 64 units are 128 KiB an array; what is left is a few of Python's numbers."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4096, 64)).astype(np.float32), rng.integers(0, 3, 4096)
    mlp = xpmlp.MLP([64, 64, 64, 3], seed=0, backend=NumpyBackend(fused), **NETWORKS[name])
    grown: list[int] = []

    class Watch(Callback):
        every = 4

        def on_batch_end(self, training: Any) -> None:
            if tracemalloc.is_tracing():
                grown.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
            elif training.epoch:
                tracemalloc.start()

    mlp.fit(X, y, epochs=2, batch_size=512, callbacks=[Watch()])
    recorded(mlp)
    assert grown
    assert max(grown) < 64 * 1024


def test_memory_of_what_is_gone_is_used_again() -> None:
    tape = Tape([])
    start = np.zeros(1000)
    with tape:
        x = tape.wrap(start)
        for _ in range(20):
            x = x + 1.0
    assert len(tape.calls([])) == 20
    assert sum(len(free) for free in tape.free.values()) <= 2
    start[:] = 5.0
    for call in tape.calls([]):
        call()
    np.testing.assert_array_equal(np.asarray(x), np.full(1000, 25.0))


def test_the_data_set_is_not_kept(fused: bool) -> None:
    X, y = problem()
    mlp, _ = train(NumpyBackend(fused), X, y)
    recorded(mlp)
    gone = weakref.ref(X)
    del X
    gc.collect()
    assert gone() is None


# Forward passes


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.sampled(5)
def test_predictions_for_few_rows_are_those_for_many(
    fused: bool, options: dict[str, Any], dtype: str
) -> None:
    """Rows in small lots are recorded, all at once they are not; after each fit anew."""
    X, y = problem(200)
    mlp = xpmlp.MLP([6, 8, 8, 3], seed=1, backend=NumpyBackend(fused), dtype=dtype, **options)
    for _ in range(2):
        mlp.fit(X, y, epochs=1)
        expected = mlp.predict_proba(X)
        for size in (1, 1, 2, 7, 1, 64, 33):
            lots = [mlp.predict_proba(X[i : i + size]) for i in range(0, size * 3, size)]
            found = np.concatenate(lots)
            tolerance = 1e-5 if dtype == "float32" else 1e-13  # BLAS sums rows of few otherwise
            np.testing.assert_allclose(found, expected[: len(found)], rtol=tolerance)
        assert mlp.forward_pass.run._recordings
        np.testing.assert_array_equal(mlp.predict(X[:5]), expected[:5].argmax(axis=1))


def test_a_prediction_stays_when_the_next_one_is_made(fused: bool) -> None:
    X, y = problem()
    mlp, _ = train(NumpyBackend(fused), X, y)
    first = mlp.predict_proba(X[:1])
    kept = first.copy()
    mlp.predict_proba(X[1:2])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(
        mlp.predict_proba(np.asfortranarray(X[:2]))[:1], mlp.predict_proba(X[:2])[:1]
    )


def test_predictions_in_many_threads(fused: bool) -> None:
    X, y = problem(64)
    mlp, _ = train(NumpyBackend(fused), X, y)
    expected = [mlp.predict_proba(X[i : i + 1]) for i in range(64)]
    wrong = []

    def work(start: int) -> None:
        for i in [*range(start, 64), *range(start)] * 5:
            if not np.allclose(mlp.predict_proba(X[i : i + 1]), expected[i], rtol=1e-5):
                wrong.append(i)

    threads = [Thread(target=work, args=(8 * k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forward_pass_that_cannot_be_recorded_is_computed() -> None:
    def halved(xp: Any, z: Any) -> Any:
        return z * (0.5 if float(z[0, 0]) < 1e30 else 0.25)

    own = xpmlp.activations.from_functions(halved, lambda xp, z: xp.ones_like(z) * 0.5)
    X, y = problem()
    mlp = xpmlp.MLP([6, 4, 3], activation=own, seed=0, backend=NumpyBackend())
    mlp.fit(X, y, epochs=1)
    np.testing.assert_allclose(mlp.predict_proba(X[:3]), mlp.predict_proba(X)[:3], rtol=1e-5)
    assert mlp.forward_pass.run._refused


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_forward_pass_that_leaves_the_recording_is_computed(first: float) -> None:
    """What it keeps from the recording would be the prediction of every later row."""

    def copied(xp: Any, z: Any) -> Any:
        return np.array(z) * 0.5

    own = xpmlp.activations.from_functions(copied, lambda xp, z: xp.ones_like(z) * 0.5)
    X, y = problem()
    mlp = xpmlp.MLP([6, 4, 3], activation=own, seed=0, backend=NumpyBackend())
    mlp.fit(X, y, epochs=1)
    mlp.predict_proba(np.full((3, 6), first))
    np.testing.assert_allclose(mlp.predict_proba(X[:3]), mlp.predict_proba(X)[:3], rtol=1e-5)
    assert mlp.forward_pass.run._refused


def test_two_trainings_in_two_threads(fused: bool) -> None:
    expected = [train(Eager(fused), *problem(), **options) for options in NETWORKS.values()]
    found: dict[int, Any] = {}

    def work(i: int, options: dict[str, Any]) -> None:
        found[i] = train(NumpyBackend(fused), *problem(), **options)

    threads = [Thread(target=work, args=pair) for pair in enumerate(NETWORKS.values())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Tape.recording == 0
    for i, right in enumerate(expected):
        assert_same(found[i], right)


# What cannot be recorded


def reads_on_the_host(xp: Any, z: Any, y: Any) -> Any:
    e = z - y
    return xp.sum(e * e, axis=1) * (1.0 if float(e[0, 0]) < 1e30 else 0.5), 2.0 * e


def branches(xp: Any, z: Any, y: Any) -> Any:
    e = z - y
    if xp.any(e > 1e30):
        e = e * 1.0
    return xp.sum(e * e, axis=1), 2.0 * e


def uses_an_unknown_function(xp: Any, z: Any, y: Any) -> Any:
    e = np.nan_to_num(z - y)
    return xp.sum(e * e, axis=1), 2.0 * e


def leaves_the_recording(xp: Any, z: Any, y: Any) -> Any:
    e = np.array(z - y)  # a copy that nothing can follow
    return xp.sum(e * e, axis=1), 2.0 * e


def sorts(xp: Any, z: Any, y: Any) -> Any:
    e = z - y
    e.sort(axis=0) if e.shape[0] > 10**6 else None
    return xp.cumulative_sum(e * e, axis=1)[:, -1], 2.0 * e


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (reads_on_the_host, "read on the host"),
        (branches, "read on the host"),
        (uses_an_unknown_function, "nan_to_num"),
        (leaves_the_recording, "another result"),
        (sorts, "cum"),
    ],
)
def test_a_step_that_cannot_be_recorded_runs_eagerly_and_says_so(
    fused: bool, loss: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    X, _ = problem()
    target = np.abs(X[:, :2]).astype(np.float64)
    with caplog.at_level(logging.WARNING, logger="xpmlp"):
        ours = train(NumpyBackend(fused), X, target, loss=loss, outputs=2)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "runs eagerly" in message
    assert reason in message
    assert_same(ours, train(Eager(fused), X, target, loss=loss, outputs=2))


@pytest.mark.parametrize("rows", [70, 64])
def test_a_step_that_leaves_the_recording_only_sometimes(fused: bool, rows: int) -> None:
    """Only in the smaller last batch, and from parameters that are all zero."""

    def loss(xp: Any, z: Any, y: Any) -> Any:
        e = np.array(z - y) if z.shape[0] < 16 or rows == 64 else z - y
        return xp.sum(e * e, axis=1), 2.0 * e

    X, _ = problem(rows)
    target = np.abs(X[:, :2]).astype(np.float64)
    options = {"loss": loss, "outputs": 2, "initializer": lambda rng, *shape: np.zeros(shape)}
    ours = train(NumpyBackend(fused), X, target, **options)
    assert_same(ours, train(Eager(fused), X, target, **options))


def test_a_fault_of_the_step_is_the_callers_to_see() -> None:
    def broken(xp: Any, z: Any, y: Any) -> Any:
        if armed:
            raise ZeroDivisionError("the loss is broken")
        e = z - y
        return xp.sum(e * e, axis=1), 2.0 * e

    armed = False
    X, _ = problem()
    mlp = xpmlp.MLP([6, 4, 2], loss=broken, seed=0, backend=NumpyBackend())
    armed = True
    with pytest.raises(ZeroDivisionError, match="the loss is broken"):
        mlp.fit(X, X[:, :2].astype(np.float64), epochs=1)
    assert Tape.recording == 0


def play(f: Any, *arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Record f on zeros, play it on the arrays; and f of the arrays itself."""
    tape, own = Tape([]), [np.zeros_like(a) for a in arrays]
    with tape:
        result = f(*map(tape.wrap, own))
    for place, a in zip(own, arrays, strict=True):
        place[...] = a
    for call in tape.calls([]):
        call()
    return np.asarray(result), np.asarray(f(*arrays))


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: a @ b.T + 1,
        lambda a, b: np.where(a > 0, a, 0.5 * b),
        lambda a, b: np.where(a > 0, 1.0, b)[1:, 0],
        lambda a, b: np.stack([a[0], b[1]]) - np.concatenate([a, b])[3],
        lambda a, b: np.mean(a, axis=0) + np.max(b, axis=1, keepdims=True) * np.std(a),
        lambda a, b: (a[0, 0] + b[1, 1]) * a.sum(axis=0),
        lambda a, b: np.argmax(a, axis=1) == np.argmin(b, axis=1),
        lambda a, b: (a > b).astype(np.float32) * np.ones_like(a) + np.zeros_like(b),
        lambda a, b: np.reshape(a, (-1,))[::2] ** 2,
        lambda a, b: np.take(a, np.array([2, 0, 1], np.int32), axis=0) * np.clip(b, -1, 1),
        lambda a, b: a.copy() + np.expand_dims(b[0], 0) + np.abs(-b),
        lambda a, b: np.log1p(np.exp(-np.abs(a))) * np.sign(b) + a.max() - b.mean(),
    ],
)
def test_calls_are_played_on_later_values(f: Any) -> None:
    rng = np.random.default_rng(3)
    found, expected = play(f, rng.standard_normal((3, 4)), rng.standard_normal((3, 4)))
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_writing_to_a_recorded_array_is_played_too() -> None:
    def f(a: Any, b: Any) -> Any:
        c = a + 0.0
        c[1:] = b[:-1]
        c += 1.0
        c[0, 0] = b[2, 2]
        return c

    rng = np.random.default_rng(3)
    found, expected = play(f, rng.standard_normal((3, 4)), rng.standard_normal((3, 4)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "f",
    [
        lambda a: a if a[0] > 0 else -a,
        lambda a: a * int(a[0]),
        lambda a: a * a.tolist()[0],
        lambda a: a[[0, 1]] + 1,
        lambda a: np.cumsum(a) + 1,
        lambda a: np.add.accumulate(a),
        lambda a: np.modf(a)[0],
        lambda a: a.cumsum() + 1,
        lambda a: np.linalg.norm(a),
        lambda a: np.add(a, 1.0, out=np.zeros(3)),
        lambda a: a[::-1] + 1,
    ],
)
def test_what_could_not_be_played_is_refused(f: Any) -> None:
    tape = Tape([])
    with tape, pytest.raises(Unrecordable):
        f(tape.wrap(np.ones(3)))
    assert Tape.recording == 0


def test_launch_and_empty_outside_of_a_recording() -> None:
    out = empty(np.ones(2), (2,), np.float32)
    assert not isinstance(out, Recorded)
    assert out.dtype == np.float32
    launch(np.add, np.ones(2, np.float32), np.ones(2, np.float32), out)
    np.testing.assert_array_equal(out, [2, 2])


def test_recordings_that_are_over_are_let_go_of() -> None:
    """Weights are others after each epoch, and so is the recording of what is measured then."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((64, 4)), rng.integers(0, 3, 64)
    mlp = xpmlp.MLP([4, 8, 3], normalization="batch", backend="numpy", seed=0)

    def tapes() -> int:
        gc.collect()
        return sum(type(thing) is Tape for thing in gc.get_objects())

    before = tapes()
    for _ in range(3):
        mlp.fit(X, y, epochs=20, batch_size=10, validation_data=(X[:20], y[:20]))
        mlp.forget_compiled()
    del mlp
    assert tapes() == before
