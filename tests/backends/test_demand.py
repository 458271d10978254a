"""When NumPy records: as soon as that pays, with the same numbers as before and after."""

from typing import Any

import numpy as np
import pytest
import xpmlp_backends.numpy.backend as numpy_backend
from conftest import make_backend
from xpmlp_backends.base import EagerBackend
from xpmlp_backends.numpy.backend import MANY, RECORDINGS, Demand, NumpyBackend, RecordedRun

import xpmlp

PAYS = 8


class Eager(NumpyBackend):
    """The same operations, called step by step."""

    compile, compile_forward = EagerBackend.compile, EagerBackend.compile_forward


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch, _record_at_once: None) -> None:
    """Let it pay from eight calls on."""
    monkeypatch.setattr(numpy_backend, "PAYS", PAYS)


def problem(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 6)).astype(np.float32), rng.integers(0, 3, n)


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([6, 8, 3], seed=1, backend=backend, **options)


def the_run(mlp: xpmlp.MLP) -> Any:
    (run,) = mlp.compiled.values()
    return run


@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "normalization": "batch"}], ids=str)
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
@pytest.mark.parametrize("fused", [True, False], ids=["numba", "plain"])
def test_steps_before_and_after_are_the_same(fused: bool, optimizer: str, options: Any) -> None:
    """Four steps an epoch, one of them smaller: eager, then one recording, then both."""
    if fused:
        pytest.importorskip("numba")
    ours, right = model(NumpyBackend(fused), **options), model(Eager(fused), **options)
    modes = []
    for epochs in (1, 1, 1, 6, 1):
        fit: dict[str, Any] = {"epochs": epochs, "batch_size": 16, "optimizer": optimizer}
        fit["continued"] = ours.progress is not None
        histories = [m.fit(*problem(55), **fit) for m in (ours, right)]
        assert histories[0]["loss"] == histories[1]["loss"]
        modes.append(histories[0].execution)
    assert modes == [("eager", ()), ("eager", ()), *[("recorded", ())] * 3]
    assert len(the_run(ours)._recordings) == 2
    for name, value in right.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], value, err_msg=name)


def test_a_long_epoch_is_recorded_at_once() -> None:
    mlp = model(make_backend("numpy"))
    assert mlp.fit(*problem(80), epochs=1, batch_size=10).execution == ("recorded", ())


def test_many_rows_are_recorded_sooner() -> None:
    mlp = model(make_backend("numpy"))
    for mode in ("eager", "eager", "recorded"):
        n = MANY if mode == "recorded" else MANY // 2
        assert mlp.fit(*problem(n), epochs=1, batch_size=None).execution.mode == mode


def test_many_shapes_in_turn_are_seldom_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten that come 32 times: each is recorded after 8 times, and then after 16."""
    ours, right = model(NumpyBackend()), model(Eager())
    made: list[Any] = []
    record = RecordedRun._record
    monkeypatch.setattr(RecordedRun, "_record", lambda *a: made.append(0) or record(*a))  # type: ignore[func-returns-value]
    for _ in range(4 * PAYS):
        for n in range(20, 30):
            for m in (ours, right):
                m.fit(*problem(n), epochs=1, batch_size=None)
    assert len(made) == 20
    assert len(the_run(ours)._recordings) == RECORDINGS
    for name, value in right.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], value, err_msg=name)


def test_what_did_not_pay_must_come_more_often() -> None:
    demand, kept = Demand(), dict.fromkeys("abcd")
    assert [demand.pays("a", 1) for _ in range(PAYS)] == [False] * (PAYS - 1) + [True]
    demand.make_room(kept)
    assert list(kept) == ["b", "c", "d"]
    demand.make_room(kept)  # there is room
    assert [demand.pays("a", 1) for _ in range(2 * PAYS)] == [False] * (2 * PAYS - 1) + [True]
    assert demand.pays("a", 1, 3 * PAYS)
    demand.make_room(kept := dict.fromkeys("abcd"))  # it has paid
    assert not demand.pays("a", 1, 2 * PAYS - 1)
    assert demand.pays("a", 1)


def test_passes_over_few_rows_are_recorded_when_they_come_often() -> None:
    mlp = model(NumpyBackend())
    X, y = problem(60)
    mlp.fit(X, y, epochs=1)
    expected = mlp.predict_proba(X)
    run = mlp.forward_pass.run
    for k in range(2 * PAYS):
        np.testing.assert_allclose(mlp.predict_proba(X[k : k + 1]), expected[k : k + 1], rtol=1e-5)
        assert len(run._recordings) == (k >= PAYS - 1)
    mlp.load_state_dict(mlp.state_dict())  # other weights: it has to come often again
    mlp.predict_proba(X[:1])
    assert not run._recordings
