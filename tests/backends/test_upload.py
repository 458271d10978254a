"""Copies on a second stream: the order of operations, on a machine that only records it."""

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from xpmlp_backends.cuda.upload import Lane, PinnedUploader, of_cupy, of_torch

import xpmlp
from xpmlp.training import batches


class Recorder:
    """Streams and events that do work when they are made to: what waits is really late.

    A stream is a queue. ``settle`` runs all queues, the copies' as late as events allow, so that a
    missing wait gives wrong numbers, not only a log that looks wrong.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.compute, self.second = Stream(self, "compute"), Stream(self, "copy")
        self.events = 0

    def event(self) -> "Event":
        self.events += 1
        return Event(self, self.events)

    def run(self, late: "Stream") -> None:
        """Run the queues as far as they go, ``late`` only where nothing else can."""
        first = self.second if late is self.compute else self.compute
        while first.step() or late.step():
            pass
        assert not first.queue, "a stream waits for ever"
        assert not late.queue, "a stream waits for ever"


class Stream:
    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder, self.name = recorder, name
        self.queue: list[tuple[Any, Any]] = []

    def wait_event(self, event: "Event") -> None:
        count = event.recorded
        self.queue.append((lambda: event.done >= count, lambda: None))
        self.recorder.log.append(f"{self.name} waits for {event.number}")

    def enqueue(self, work: Any) -> None:
        self.queue.append((lambda: True, work))

    def step(self) -> bool:
        if not self.queue or not self.queue[0][0]():
            return False
        self.queue.pop(0)[1]()
        return True


class Event:
    """Numbered in the order of making: a place's "copied" and "used", then the next place's."""

    def __init__(self, recorder: Recorder, number: int) -> None:
        self.recorder, self.number = recorder, number
        self.recorded = self.done = 0

    def record(self, stream: Stream) -> None:
        self.recorded += 1
        count = self.recorded
        stream.enqueue(lambda: setattr(self, "done", count))
        self.recorder.log.append(f"{stream.name} records {self.number}")

    def synchronize(self) -> None:
        self.recorder.log.append(f"host waits for {self.number}")
        while self.done < self.recorded:
            streams = (self.recorder.second, self.recorder.compute)
            assert any(stream.step() for stream in streams), "the host waits for ever"


def lane(recorder: Recorder) -> Lane:
    def pinned(shape: Any, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        made = np.zeros(shape, dtype)
        return made, made

    def copy(place: np.ndarray, source: np.ndarray, rows: int) -> None:
        recorder.log.append("copy")

        def work() -> None:
            place[:rows] = source[:rows]

        recorder.second.enqueue(work)

    compute = recorder.compute
    return Lane(recorder.second, lambda: compute, recorder.event, pinned, np.zeros, copy)


def pieces(rows: int, size: int) -> list[np.ndarray]:
    order = np.random.default_rng(1).permutation(rows)
    return [order[start : start + size] for start in range(0, rows, size)]


@pytest.mark.parametrize("late", ["compute", "copy"])
def test_every_piece_is_read_whole_however_late_a_stream_is(late: str) -> None:
    recorder = Recorder()
    X, y = np.arange(46.0).reshape(23, 2), np.arange(23, dtype=np.int32)
    upload = PinnedUploader(lane(recorder), (X, y, None), 4)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    addresses = set()
    for _ in range(2):  # two epochs use the same places
        for piece, (x, t, weight) in zip(pieces(23, 4), upload(pieces(23, 4)), strict=True):
            assert weight is None
            addresses.add((x.ctypes.data, t.ctypes.data))
            n = len(piece)
            recorder.compute.enqueue(
                lambda x=x, t=t, n=n: seen.append((x[:n].copy(), t[:n].copy()))
            )
    recorder.run(recorder.compute if late == "compute" else recorder.second)
    for (x, t), piece in zip(seen, pieces(23, 4) * 2, strict=True):
        np.testing.assert_array_equal(x, X[piece])
        np.testing.assert_array_equal(t, y[piece])
    assert len(addresses) == 2


@pytest.mark.parametrize("missing", ["copied", "used", "host"])
def test_without_any_of_the_waits_the_numbers_are_wrong(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    recorder = Recorder()
    if missing == "host":
        monkeypatch.setattr(Event, "synchronize", lambda self: None)
    else:
        stream = recorder.compute if missing == "copied" else recorder.second
        stream.wait_event = lambda event: None  # type: ignore[method-assign]
    X = np.arange(1.0, 24.0)[:, None]
    seen = []
    for x, *_ in PinnedUploader(lane(recorder), (X,), 4)(pieces(23, 4)):
        recorder.compute.enqueue(lambda x=x: seen.append(x.copy()))
    recorder.run(recorder.second if missing == "copied" else recorder.compute)
    whole = [a[: len(p)] for a, p in zip(seen, pieces(23, 4), strict=True)]
    assert not np.array_equal(np.concatenate(whole), X[np.concatenate(pieces(23, 4))])


def test_the_next_copy_is_enqueued_while_the_steps_before_it_are_not_through() -> None:
    """What all this is for: the copy of a piece stands beside the work on the one before."""
    recorder = Recorder()
    upload = PinnedUploader(lane(recorder), (np.zeros((12, 1)),), 4)
    for number, _ in enumerate(upload(pieces(12, 4)), start=1):
        recorder.log.append(f"steps {number}")
    log = recorder.log
    assert log[:2] == ["compute records 2", "compute records 4"]  # the places are free
    one = ["host waits for {0}", "copy waits for {1}", "copy", "copy records {0}"]
    turn = [*one, "compute waits for {0}", "steps {2}", "compute records {1}"]
    expected = [line.format(*n) for n in ((1, 2, 1), (3, 4, 2), (1, 2, 3)) for line in turn]
    assert log[2:] == expected
    # The second copy waits for the second place's own steps alone, never for those under way.
    assert log.index("copy waits for 4") > log.index("steps 1")


def test_an_epoch_that_is_left_early_marks_its_place_as_used() -> None:
    recorder = Recorder()
    upload = PinnedUploader(lane(recorder), (np.zeros((12, 1)),), 4)
    for _ in upload(pieces(12, 4)):
        break
    assert recorder.log[-1] == "compute records 2"


def test_a_training_on_late_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through ``fit``: the run is NumPy's, whose steps are run when their stream comes to them."""
    monkeypatch.setattr(batches, "CHUNK_STEPS", 3)
    recorder, backend = Recorder(), make_backend("numpy-plain")
    X = np.random.default_rng(11).standard_normal((50, 6))
    y = np.argmax(X[:, :3], axis=1)

    def fitted(data_on: str) -> dict[str, np.ndarray]:
        mlp = xpmlp.MLP([6, 8, 3], backend=backend, dtype="float64", seed=3)
        mlp.fit(X, y, epochs=2, batch_size=6, data_on=data_on)
        return mlp.state_dict()

    expected = fitted("device")

    def uploader(arrays: Any, rows: int) -> Any:
        return PinnedUploader(lane(recorder), arrays, rows)

    class Late:
        """Runs a piece only when its stream is through with all before it."""

        def __init__(self, run: Any) -> None:
            self._run = run
            self.execution = run.execution

        def __call__(self, *args: Any) -> Any:
            made: list[Any] = []
            recorder.compute.enqueue(lambda: made.append(self._run(*args)))
            while not made:
                assert recorder.compute.step() or recorder.second.step()
            return made[0]

    compile_step = backend.compile
    monkeypatch.setattr(backend, "uploader", uploader, raising=False)
    monkeypatch.setattr(backend, "compile", lambda step: Late(compile_step(step)))
    found = fitted("host")
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    assert recorder.log.count("copy") == 2 * 4 * 2  # X and y, 9 steps in chunks of 3 and 1


def test_jax_does_not_send_pieces_far_ahead_of_the_steps() -> None:
    """A piece is sent when the steps on the one before the last are through."""
    backend, log = make_backend("jax"), []

    class Sent:
        """An array on the device; a part of it is ready after all that was enqueued before."""

        def __init__(self, number: float) -> None:
            self.number = number
            log.append(f"send {number:.0f}")

        def __getitem__(self, key: Any) -> Any:
            return SimpleNamespace(
                block_until_ready=lambda: log.append(f"wait for {self.number:.0f}")
            )

    backend.asarray = lambda host: Sent(host[0])
    for x, none in backend.uploader((np.arange(4.0), None), 1)(np.arange(4)[:, None]):
        assert none is None
        log.append(f"steps {x.number:.0f}")
    expected = "send 0, steps 0, send 1, steps 1, wait for 0, send 2, steps 2, wait for 1, send 3"
    assert log[:9] == expected.split(", ")


# The two libraries' lanes, with NumPy standing in


class Entered:
    """A device or a stream context that notes being entered."""

    depth = 0

    def __enter__(self) -> "Entered":
        Entered.depth += 1
        return self

    def __exit__(self, *args: object) -> None:
        Entered.depth -= 1


def fake_cuda(recorder: Recorder, asked: dict[str, Any]) -> Any:
    def stream(*args: Any, **options: Any) -> Stream:
        asked["stream"] = (args, options)
        return recorder.second

    def event(**options: Any) -> Event:
        asked["event"] = options
        return recorder.event()

    def current(*args: Any) -> Stream:
        return recorder.compute

    return SimpleNamespace(
        Stream=stream, Event=event, get_current_stream=current, current_stream=current
    )


class CupyArray(np.ndarray):
    """An array of the fake CuPy: its memory takes copies on a stream."""

    recorder: Any = None

    @property
    def data(self) -> Any:  # type: ignore[override]
        address = self.ctypes.data

        def copy(source: int, size: int, stream: Stream) -> None:
            stream.enqueue(lambda: ctypes.memmove(address, source, size))

        return SimpleNamespace(copy_from_host_async=copy)


class TorchArray:
    """A tensor of the fake PyTorch, over a NumPy array."""

    def __init__(self, recorder: Recorder, values: np.ndarray) -> None:
        self.recorder, self.values = recorder, values

    def numpy(self) -> np.ndarray:
        return self.values

    def __getitem__(self, key: Any) -> "TorchArray":
        return TorchArray(self.recorder, self.values[key])

    def copy_(self, source: "TorchArray", non_blocking: bool) -> None:
        assert non_blocking
        assert Entered.depth == 1, "the copy is not on the second stream"

        def work() -> None:
            self.values[...] = source.values

        self.recorder.second.enqueue(work)


def cupy_lane(recorder: Recorder, asked: dict[str, Any]) -> Lane:
    cuda = fake_cuda(recorder, asked)
    cuda.alloc_pinned_memory = lambda size: memoryview(bytearray(size))
    empty = lambda shape, dtype: np.zeros(shape, dtype).view(CupyArray)  # noqa: E731
    return of_cupy(SimpleNamespace(cuda=cuda, empty=empty))


def torch_lane(recorder: Recorder, asked: dict[str, Any]) -> Lane:
    def empty(shape: Any, dtype: Any, pin_memory: bool = False, device: Any = None) -> TorchArray:
        asked.setdefault("empty", []).append((pin_memory, device))
        return TorchArray(recorder, np.zeros(shape, dtype))

    cuda = fake_cuda(recorder, asked)
    cuda.stream = lambda stream: Entered()
    dtypes = {name: getattr(np, name) for name in ("float32", "int32", "uint8")}
    return of_torch(SimpleNamespace(cuda=cuda, empty=empty, **dtypes), "cuda:0")


@pytest.mark.parametrize("make", [cupy_lane, torch_lane])
def test_the_libraries_lanes_bring_every_row(make: Any) -> None:
    recorder, asked = Recorder(), {}
    made = make(recorder, asked)
    X = np.arange(69, dtype=np.float32).reshape(23, 3)
    y, pixels = np.arange(23, dtype=np.int32), np.arange(46, dtype=np.uint8).reshape(23, 2)
    upload = PinnedUploader(made, (X, y, pixels), 4)
    seen = []
    for piece, arrays in zip(pieces(23, 4), upload(pieces(23, 4)), strict=True):
        values = [getattr(a, "values", a) for a in arrays]
        n = len(piece)
        recorder.compute.enqueue(
            lambda values=values, n=n: seen.append([np.array(a[:n]) for a in values])
        )
    recorder.run(recorder.compute)
    for (x, t, p), piece in zip(seen, pieces(23, 4), strict=True):
        np.testing.assert_array_equal(x, X[piece])
        np.testing.assert_array_equal(t, y[piece])
        np.testing.assert_array_equal(p, pixels[piece])
    if make is cupy_lane:
        assert asked["stream"] == ((), {"non_blocking": True})
        assert asked["event"] == {"disable_timing": True}
    else:
        assert asked["stream"] == (("cuda:0",), {})
        assert asked["empty"].count((True, None)) == asked["empty"].count((False, "cuda:0")) == 6
