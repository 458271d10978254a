"""A device whose memory runs out: what is said, what is kept, and that the advice works."""

import gc
import logging
import re
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend, readonly_numpy

import xpmlp
from xpmlp.arrays.rows import HostRows
from xpmlp.errors import DeviceMemoryError, InvalidValueError
from xpmlp.model.memory import gibibytes, release, row_bytes, state_bytes
from xpmlp.nn.contract import Memory
from xpmlp.nn.ops import OPERATIONS

SIZES = (20, 64, 64, 3)
ROWS = 8192
MB = 2**20


class OutOfMemoryError(RuntimeError):
    """A library's own error."""


def limited(limit: int) -> Any:
    """NumPy on a "device" of so many bytes: all that is allocated from now on lies there.

    The plain formulas, whose arrays are new each: ``tracemalloc`` counts them, and after each
    operation its peak is held against the limit.
    """
    made = readonly_numpy()
    made.limit, made.arrays = limit, []
    base = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()

    def check(made_now: Any) -> Any:
        peak = tracemalloc.get_traced_memory()[1] - base
        tracemalloc.reset_peak()
        if peak > made.limit:
            raise OutOfMemoryError(f"out of memory\nat {peak} bytes")
        return made_now

    def checked(f: Any) -> Any:
        return lambda *args, **options: check(f(*args, **options))

    def asarray(host: Any, dtype: str | None = None) -> Any:
        array = np.array(host, dtype=dtype)
        made.arrays.append(weakref.ref(array))
        return check(array)

    def memory() -> Memory:
        tracemalloc.reset_peak()  # what failed is gone
        used = max(tracemalloc.get_traced_memory()[0] - base, 0)
        return Memory(used, max(made.limit - used, 0), made.limit)

    made.ops = replace(made.ops, **{name: checked(getattr(made.ops, name)) for name in OPERATIONS})
    made.asarray, made.memory = asarray, memory
    made.ran_out = lambda error: isinstance(error, OutOfMemoryError)
    made.device_name = lambda: "Small 1"
    return made


@pytest.fixture(autouse=True)
def _traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


def example(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((rows, SIZES[0])).astype(np.float32)
    return X, np.argmax(X[:, :3], axis=1)


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP(SIZES, backend=backend, seed=1, **options)


def suggested(error: BaseException) -> dict[str, Any]:
    """The arguments of ``fit`` that a message proposes."""
    said = re.search(r"Try (data_on='(\w+)', )?batch_size=(\d+), which fits", str(error))
    assert said, error
    found = {"batch_size": int(said[3])}
    return found | ({"data_on": said[2]} if said[2] else {})


def assert_unharmed(mlp: xpmlp.MLP, before: dict[str, np.ndarray]) -> None:
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


class AfterEpoch(xpmlp.Callback):
    """Do something once, at the end of the first epoch."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def on_epoch_end(self, training: Any) -> None:
        if training.epoch == 0:
            self.action()


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2}, {"normalization": "batch"}])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.sampled(4)
def test_the_batch_size_in_the_message_trains(options: dict[str, Any], optimizer: str) -> None:
    X, y = example()
    backend = limited(4 * MB)
    mlp = model(backend, **options)
    before = mlp.state_dict()
    with pytest.raises(DeviceMemoryError) as raised:
        mlp.fit(X, y, epochs=1, batch_size=ROWS, optimizer=optimizer)
    message = str(raised.value)
    assert "fit: the memory of Small 1 (numpy) is too small for batch_size=8192: a step" in message
    assert "of 4 MiB are free" in message
    assert message.endswith("What failed: OutOfMemoryError: out of memory")
    assert "\n" not in message
    assert_unharmed(mlp, before)
    assert mlp.epochs_trained == 0
    with pytest.raises(InvalidValueError, match="has not been trained"):
        _ = mlp.task
    size = suggested(raised.value)["batch_size"]
    assert ROWS % size == 0
    assert size >= 128  # the estimate is not absurd
    mlp.fit(X, y, epochs=2, batch_size=size, optimizer=optimizer)
    assert mlp.epochs_trained == 2


def test_a_full_batch_is_named_by_its_size() -> None:
    X, y = example()
    with pytest.raises(DeviceMemoryError, match="batch_size=8192:"):
        model(limited(4 * MB)).fit(X, y, batch_size=None)


def test_nothing_keeps_the_failed_attempt_alive() -> None:
    X, y = example()
    backend = limited(4 * MB)
    mlp = model(backend, dropout=0.1)
    gc.collect()
    standing, count = backend.memory().used, len(backend.arrays)
    with pytest.raises(DeviceMemoryError) as raised:
        mlp.fit(X, y, batch_size=ROWS)
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None
    alive = [ref() for ref in backend.arrays[count:]]
    assert len(alive) > 3
    assert not any(array is not None for array in alive)
    assert backend.memory().used < standing + 0.05 * MB


def test_what_an_error_in_a_circle_holds_is_released() -> None:
    """Without waiting for the collector: the next attempt needs the memory at once."""
    held: list[Any] = []

    def fail(error: Any, cause: Exception | None) -> None:
        array = np.zeros(3)
        held.append(weakref.ref(array))
        error.itself = error
        if cause is None:
            raise error
        try:
            fail(cause, None)
        finally:
            raise error

    said = ""
    gc.disable()
    try:
        fail(OutOfMemoryError("\nno room\nat all"), ZeroDivisionError())
    except OutOfMemoryError as error:
        said = release(error)
    finally:
        gc.enable()
    assert said == "OutOfMemoryError: no room"
    assert len(held) == 2
    assert [ref() for ref in held] == [None, None]


def test_a_later_epoch_keeps_what_was_learned() -> None:
    """Somebody else takes memory in between."""
    X, y = example()
    backend = limited(30 * MB)
    mlp, states = model(backend), []

    def shrink() -> None:
        states.append(mlp.state_dict())
        backend.limit = 3 * MB

    with pytest.raises(DeviceMemoryError) as raised:
        mlp.fit(X, y, epochs=3, batch_size=4096, callbacks=[AfterEpoch(shrink)])
    assert_unharmed(mlp, states[0])
    assert mlp.epochs_trained == 1
    assert mlp.task.kind == "labels"
    mlp.fit(X, y, epochs=1, **suggested(raised.value))
    assert mlp.epochs_trained == 2


def test_data_that_are_too_large_are_better_on_the_host() -> None:
    X, y = example(100_000)  # 8 MB
    backend = limited(6 * MB)
    mlp = model(backend)
    with pytest.raises(DeviceMemoryError, match=r"with the data taking 8 MiB. Try data_on") as e:
        mlp.fit(X, y, epochs=1, batch_size=500, data_on="device")
    assert suggested(e.value)["data_on"] == "host"
    mlp.fit(X[:20_000], y[:20_000], epochs=1, **suggested(e.value))
    mlp.fit(X[:20_000], y[:20_000], epochs=1, batch_size=500, data_on="auto")
    with pytest.raises(DeviceMemoryError, match="data_on='host', batch_size=") as e:
        mlp.fit(X, y, epochs=1, batch_size=50_000, data_on="host")
    assert suggested(e.value)["batch_size"] < 50_000


def test_a_network_that_is_too_large_is_said_so() -> None:
    X, y = example()
    backend = limited(20 * MB)
    mlp = model(backend)
    backend.limit = 2**17
    with pytest.raises(DeviceMemoryError, match="No batch size fits: try a smaller network"):
        mlp.fit(X, y, batch_size=64, data_on="host")
    backend.limit = 20 * MB
    mlp.fit(X, y, epochs=1)


def test_a_device_without_a_size_gets_advice_without_one() -> None:
    X, y = example()
    backend = limited(4 * MB)
    backend.memory = lambda: None
    with pytest.raises(DeviceMemoryError, match="batch_size=8192; try a smaller one") as raised:
        model(backend).fit(X, y, batch_size=ROWS)
    assert isinstance(raised.value, MemoryError)


# Validation and use


def test_validation_goes_on_with_fewer_rows_at_a_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = example()
    held = X[:4000], y[:4000]
    expected = model(readonly_numpy()).fit(
        X[:500], y[:500], epochs=2, batch_size=100, validation_data=held
    )
    backend = limited(2 * MB)
    mlp = model(backend)
    with caplog.at_level(logging.WARNING, "xpmlp"):
        found = mlp.fit(X[:500], y[:500], epochs=2, batch_size=100, validation_data=held)
    assert_close(found["val_loss"], expected["val_loss"], rtol=1e-5)
    assert found["val_accuracy"] == expected["val_accuracy"]
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "4000 rows at a time are too many for the device's memory"
    assert len(said) <= 3  # it is learned once, not in every epoch


def test_use_goes_on_with_fewer_rows_at_a_time() -> None:
    X, y = example()
    backend = limited(20 * MB)
    mlp = model(backend)
    mlp.fit(X, y, epochs=1)
    plain = mlp.copy(readonly_numpy())
    expected = plain.predict(X), plain.predict_proba(X), plain.evaluate(X, y)
    backend.limit = backend.memory().used + MB
    np.testing.assert_array_equal(mlp.predict(X), expected[0])
    assert_close(mlp.predict_proba(X), expected[1], of_max=1e-5)
    assert_close(mlp.evaluate(X, y)["loss"], expected[2]["loss"], rtol=1e-5)


@pytest.mark.parametrize("call", ["predict", "predict_proba", "evaluate"])
def test_use_without_room_for_a_row_is_refused(call: str) -> None:
    X, y = example(64)
    backend = limited(20 * MB)
    mlp = model(backend)
    mlp.fit(X, y, epochs=1)
    before, limit = mlp.state_dict(), backend.limit
    backend.limit = 0
    with pytest.raises(DeviceMemoryError, match=f"^{call}: the memory of Small 1.*one row") as e:
        getattr(mlp, call)(*((X, y) if call == "evaluate" else (X,)))
    assert e.value.__context__ is None
    backend.limit = limit
    assert_unharmed(mlp, before)
    assert len(mlp.predict(X)) == 64


def test_validation_without_room_for_a_row_ends_the_fit() -> None:
    X, y = example(64)
    backend = limited(20 * MB)
    mlp = model(backend)

    class Last(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            held = HostRows(backend, X.astype(np.float32))
            training.validation = (held, training.validation[1])
            backend.asarray = no_room

    def no_room(*_: Any) -> Any:
        raise OutOfMemoryError("no room")

    with pytest.raises(DeviceMemoryError, match="What failed: OutOfMemoryError: no room"):
        mlp.fit(X, y, epochs=1, batch_size=64, validation_data=(X, y), callbacks=[Last()])


# Other errors


def test_other_errors_pass_as_they_are() -> None:
    X, y = example(64)

    class Faulty(xpmlp.Callback):
        def __init__(self, error: Exception) -> None:
            self.error = error

        def on_epoch_end(self, training: Any) -> None:
            raise self.error

    for error in (ZeroDivisionError("a fault"), DeviceMemoryError("said by another call")):
        with pytest.raises(type(error)) as raised:
            model("numpy").fit(X, y, epochs=1, callbacks=[Faulty(error)])
        assert raised.value is error


def test_each_library_has_its_own_error(backend: Any) -> None:
    assert backend.ran_out(MemoryError())
    assert not backend.ran_out(ValueError("out of memory"))
    if backend.name == "torch":
        import torch

        assert backend.ran_out(torch.OutOfMemoryError("CUDA out of memory."))
        assert not backend.ran_out(RuntimeError("CUDA error: invalid argument"))
    if backend.name == "jax":
        import jax

        full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 bytes.")
        assert backend.ran_out(full)
        assert not backend.ran_out(jax.errors.JaxRuntimeError("INTERNAL: something"))


def test_pytorch_reports_its_gpus_memory(
    torch_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has reserved and does not use is free, though not to others."""
    cuda = torch_backend.torch.cuda
    monkeypatch.setattr(cuda, "mem_get_info", lambda device: (50, 100))
    monkeypatch.setattr(cuda, "memory_allocated", lambda device: 10)
    monkeypatch.setattr(cuda, "memory_reserved", lambda device: 30)
    monkeypatch.setattr(cuda, "get_device_name", lambda device: "NVIDIA Fake 100")
    assert (torch_backend.memory(), torch_backend.device_name()) == (None, "cpu")
    torch_backend.device = torch_backend.torch.device("cuda:0")
    assert torch_backend.memory() == Memory(10, 70, 100)
    assert torch_backend.device_name() == "NVIDIA Fake 100"


def test_jax_reports_what_its_allocator_says() -> None:
    backend = make_backend("jax")

    class Device:
        platform, device_kind = "gpu", "NVIDIA Fake 100"

        def memory_stats(self) -> dict[str, int]:
            return {"bytes_in_use": 3, "bytes_limit": 10, "peak_bytes_in_use": 5}

    made = type(backend)(backend.jax, Device())
    assert made.memory() == Memory(3, 7, 10)
    assert made.device_name() == "NVIDIA Fake 100"


# The estimate


NETWORKS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "relu": ((100, 200, 200, 10), {}),
    "dropout": ((100, 200, 200, 10), {"dropout": 0.3, "input_dropout": 0.1}),
    "layer": ((20, 128, 128, 5), {"normalization": "layer", "activation": "gelu", "dropout": 0.2}),
    "batch": ((20, 128, 128, 5), {"normalization": "batch", "residual": True}),
    "wide inputs": ((1000, 16, 4), {}),
    "wide outputs": ((10, 16, 500), {}),
    "deep": ((10, 64, 64, 64, 64, 64, 2), {"activation": "elu"}),
    "mixed": ((20, 64, 64, 3), {"activation_mix": True, "parametrization": "ntk"}),
    "pbld": ((20, 64, 64, 3), {"embedding": xpmlp.Embedding(categories={0: 256, 1: 300})}),
    "piecewise": ((20, 64, 64, 3), {"embedding": xpmlp.Embedding("piecewise", outputs=16)}),
    "many codes": ((20, 64, 64, 3), {"embedding": xpmlp.Embedding(None, categories={0: 2000})}),
    "double": ((30, 300, 2), {"dtype": "float64", "activation": "swish"}),
}


def peak(sizes: tuple[int, ...], batch: int, options: dict[str, Any]) -> tuple[int, xpmlp.MLP]:
    """The most bytes that the second step of a training has at once, above what was there."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (2 * batch, sizes[0]), dtype=np.uint8)
    y = rng.integers(0, sizes[-1], 2 * batch)
    mlp = xpmlp.MLP(sizes, backend=readonly_numpy(), seed=0, **options)
    marks: list[int] = []

    class Mark(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            marks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()

    base = tracemalloc.get_traced_memory()[0]
    mlp.fit(X, y, epochs=2, batch_size=batch, optimizer="adam", callbacks=[Mark()])
    return marks[-1] - base, mlp


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.sampled(3)
@pytest.mark.slow
def test_the_estimate_is_somewhat_more_than_a_step_takes(name: str) -> None:
    sizes, options = NETWORKS[name]
    (small, _), (large, mlp) = peak(sizes, 3000, options), peak(sizes, 6000, options)
    data = 2 * (sizes[0] + 8 + 4)  # per row of a batch: the data set has two batches
    found = (large - small) / 3000 - data
    assert found <= row_bytes(mlp) <= 2.5 * found


def test_the_estimate_of_the_state_holds_what_a_training_has() -> None:
    sizes = (300, 500, 10)
    found, mlp = peak(sizes, 8, {})
    size = mlp.weights.flat.nbytes
    assert found <= state_bytes(mlp, 2) + 8 * row_bytes(mlp) + size
    assert state_bytes(mlp, 2) <= 2 * found


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (2048, "2 KiB"), (3 * MB, "3 MiB"), (2**31, "2.0 GiB")],
)
def test_bytes_in_words(size: int, text: str) -> None:
    assert gibibytes(size) == text
