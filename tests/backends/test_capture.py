"""Steps captured in CUDA graphs: on an imitated device, and on a real one with ``-m gpu``."""

import ctypes
import logging
import threading
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from emulation import device as imitated
from emulation import emulated
from emulation.cublaslt import CublasLt
from xpmlp_backends.base import differs, strays
from xpmlp_backends.cuda.capture import CHUNK, CapturedRun, powers

import xpmlp
from xpmlp import losses
from xpmlp.callbacks import Callback
from xpmlp.errors import DeviceMemoryError
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.contract import Execution
from xpmlp.nn.optimizers import OPTIMIZERS

CAPTURED = Execution("captured in CUDA graphs")
N, FEATURES, CLASSES = 3 * 4 * CHUNK + 2, 7, 3


@pytest.fixture(params=["cupy-emulated", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    """A backend that captures."""
    return make_backend(request.param)


def eager(device: Any) -> Any:
    """The same without captures."""
    if isinstance(device.xp, emulated.Namespace):
        return emulated.backend(capture=False)
    from xpmlp_backends.cupy.backend import create

    return create(capture=False)


def example(n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, FEATURES)).astype(np.uint8), rng.integers(0, CLASSES, n)


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([FEATURES, 9, 9, CLASSES], backend=backend, **{"seed": 1} | options)


def trained(backend: Any, data: Any = None, **options: Any) -> tuple[xpmlp.MLP, Any]:
    """A model trained for two epochs, and its history."""
    fitting = {name: options.pop(name) for name in FITTING if name in options}
    mlp = model(backend, **options)
    history = mlp.fit(*(data or example()), **{"epochs": 2, "batch_size": 4} | fitting)
    return mlp, history


FITTING = ("epochs", "batch_size", "optimizer", "callbacks", "sample_weight")


def assert_same(a: xpmlp.MLP, b: xpmlp.MLP, rtol: float = 1e-5) -> None:
    for name, value in a.state_dict().items():
        assert_close(value, b.state_dict()[name], of_max=rtol, atol=1e-7)


# How steps are divided between graphs


@pytest.mark.parametrize("steps", [1, 2, 3, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1, 468])
def test_any_number_of_steps_is_a_few_powers_of_two(steps: int) -> None:
    counts = list(powers(steps))
    assert sum(counts) == steps
    assert set(counts) <= {1, 2, 4, 8, 16, 32}
    assert len(counts) <= steps // CHUNK + 5


def test_captured_steps_are_the_plain_ones(device: Any) -> None:
    """3 chunks and a smaller last batch, in two epochs: 2 (3 · 32 + 1) steps."""
    mlp, history = trained(device)
    other, plainly = trained(eager(device))
    assert history.execution == CAPTURED
    assert plainly.execution == Execution("eager")
    assert_same(mlp, other)
    assert_close(history["loss"], plainly["loss"], rtol=1e-5)
    assert history["accuracy"] == plainly["accuracy"]


def test_captured_steps_are_those_of_numpy(device: Any) -> None:
    mlp, history = trained(device, dropout=0.2)
    other, expected = trained(make_backend("numpy"), dropout=0.2)
    assert_same(mlp, other)
    assert_close(history["loss"], expected["loss"], rtol=1e-5)


def test_a_chunk_is_the_same_as_its_steps_one_by_one(device: Any) -> None:
    class EachStep(Callback):
        every = 1

    together, _ = trained(device)
    apart, _ = trained(device, callbacks=[EachStep()])
    for name, value in together.state_dict().items():
        np.testing.assert_array_equal(value, apart.state_dict()[name])


@pytest.mark.parametrize("every", [3, 5, CHUNK + 1])
@pytest.mark.sampled(4)
def test_pieces_that_end_for_a_callback(device: Any, every: int) -> None:
    seen = []

    class Count(Callback):
        def on_batch_end(self, training: Any) -> None:
            seen.append(training.step)

    Count.every = every
    apart, _ = trained(device, callbacks=[Count()], epochs=1)
    assert seen == list(range(every, N // 4 + 2, every))
    assert_same(apart, trained(eager(device), epochs=1)[0])


# What can be captured


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.sampled(7)
def test_every_optimizer_is_captured(device: Any, name: str) -> None:
    mlp, history = trained(device, optimizer=name, epochs=1)
    assert history.execution == CAPTURED
    assert_same(mlp, trained(eager(device), optimizer=name, epochs=1)[0])


@pytest.mark.parametrize("name", sorted({*ACTIVATIONS} - {"sign", "binary_step"}))
@pytest.mark.sampled(4)
def test_every_activation_is_captured(device: Any, name: str) -> None:
    data = example(44)
    mlp, history = trained(device, data, activation=name, epochs=1)
    assert history.execution == CAPTURED
    assert_same(mlp, trained(make_backend("numpy"), data, activation=name, epochs=1)[0], 1e-4)


def targets(loss: Any, labels: np.ndarray) -> np.ndarray:
    if loss.targets == "labels":
        return labels
    one_hot = np.eye(CLASSES)[labels]
    return one_hot + 0.25 if loss.targets == "values" else one_hot


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.sampled(5)
def test_every_loss_is_captured(device: Any, name: str, weighted: bool) -> None:
    X, labels = example(45)
    data = X, targets(losses.LOSSES[name], labels)
    weight = np.linspace(0.2, 2, 45) if weighted else None
    options: dict[str, Any] = {"loss": name, "epochs": 1, "sample_weight": weight}
    mlp, history = trained(device, data, **options)
    assert history.execution == CAPTURED
    other, expected = trained(make_backend("numpy"), data, **options)
    assert_same(mlp, other, 1e-4)
    assert history.keys() == expected.keys()
    assert_close(history["loss"], expected["loss"], rtol=1e-5)
    for metric in {"accuracy", "r2"} & history.keys():
        assert_close(history[metric], expected[metric], rtol=1e-4)


@pytest.mark.parametrize("name", losses.DISTRIBUTIONS)
def test_every_distribution_is_captured(device: Any, name: str) -> None:
    X, _ = example(45)
    y, outputs = X[:, :2].astype(float), 2 * losses.loss(name).outputs_per_target

    def fitted(backend: Any) -> tuple[xpmlp.MLP, Any]:
        sizes = [FEATURES, 9, outputs]
        mlp = xpmlp.MLP(sizes, loss=name, scaling="standard", backend=backend, seed=1)
        return mlp, mlp.fit(X, y, epochs=2, batch_size=4)

    (mlp, history), (other, expected) = fitted(device), fitted(make_backend("numpy"))
    assert history.execution == CAPTURED
    assert_same(mlp, other, 1e-4)
    for measure in ("loss", "r2"):
        assert_close(history[measure], expected[measure], rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "batch", "bias": False},
        {"normalization": "layer", "residual": True},
        {"dropout": 0.3, "input_dropout": 0.1},
        {"l1": 1e-3, "l2": 1e-3, "max_norm": 0.5},
        {"optimizer": xpmlp.Adam(clip_norm=0.1, clip_value=0.05)},
        {"optimizer": xpmlp.AdamW(xpmlp.schedules.Cosine(1e-2), weight_decay=0.1)},
        {"bias": False, "scaling": "standard"},
        {"dtype": "float64"},
    ],
    ids=["batch", "layer", "dropout", "penalty", "clipping", "schedule", "no bias", "float64"],
)
@pytest.mark.sampled(4)
def test_whatever_else_a_network_has_is_captured(device: Any, options: dict[str, Any]) -> None:
    data = example(70)
    mlp, history = trained(device, data, **options)
    assert history.execution == CAPTURED
    assert_same(mlp, trained(make_backend("numpy"), data, **options)[0], 1e-4)


# What graphs outlive


def test_a_second_fit_launches_the_same_graphs_on_other_data(device: Any) -> None:
    captures = []
    mlp, other = model(device), model(eager(device))
    graph = imitated.Stream.end_capture
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(device.cupy.cuda.get_current_stream(), imitated.Stream):
            patch.setattr(
                imitated.Stream,
                "end_capture",
                lambda stream: captures.append(made := graph(stream)) or made,
            )
        for seed in range(3):
            captures.clear()
            data = example(40, seed)
            mlp.fit(*data, epochs=1, batch_size=8)
            other.fit(*data, epochs=1, batch_size=8)
            assert_same(mlp, other)
            assert not captures or seed == 0


def test_each_thread_launches_graphs_of_its_own(device: Any) -> None:
    """A graph keeps the scratch memory of the thread that captured it."""
    mlp, other = model(device), model(eager(device))
    for each in (mlp, other):
        each.fit(*example(40), epochs=1, batch_size=8)
        thread = threading.Thread(
            target=each.fit, args=example(40), kwargs={"epochs": 1, "batch_size": 8}
        )
        thread.start()
        thread.join()
    assert_same(mlp, other)
    (run,) = mlp.compiled.values()
    assert len(run._captures) == 2


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
def test_other_shapes_and_dtypes_get_graphs_of_their_own(device: Any) -> None:
    mlp, other = model(device, scaling=None), model(eager(device), scaling=None)
    X, y = example(40)
    for made in (X, X.astype(np.float32) / 7, X.astype(np.int16), X.astype(bool), X):
        for batch in (8, 16):
            for each in (mlp, other):
                assert each.fit(made, y, epochs=1, batch_size=batch)["loss"]
    assert_same(mlp, other, 1e-4)


def test_a_state_in_between_is_the_models(device: Any) -> None:
    """After each epoch the model has its own copy of the weights."""
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, training: Any) -> None:
            kept.append(training.mlp.state_dict())

    mlp, _ = trained(device, epochs=3, callbacks=[Keep()])
    assert any((kept[0][name] != kept[2][name]).any() for name in kept[0])
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, kept[2][name])


# What cannot be captured


def reads(xp: Any, z: Any, y: Any) -> Any:
    bound = float(xp.max(xp.abs(z)))
    return xp.sum((z - y) * (z - y), axis=1) / (1 + 0 * bound), 2 * (z - y)


def test_a_step_that_reads_on_the_host_runs_eagerly_and_says_so(
    device: Any, caplog: pytest.LogCaptureFixture
) -> None:
    X, labels = example(40)
    data = X, np.eye(CLASSES)[labels]
    with caplog.at_level(logging.WARNING, "xpmlp"):
        mlp, history = trained(device, data, loss=reads)
    mode, (note,) = history.execution
    assert mode == "eager"
    assert "could not be captured" in note
    assert sum("runs eagerly, because" in r.getMessage() for r in caplog.records) == 1
    assert_same(mlp, trained(make_backend("numpy"), data, loss=reads)[0])


def test_a_number_that_the_host_changes_from_step_to_step_is_noticed(device: Any) -> None:
    """A graph would go on with the number of its capture."""
    calls = []

    def grows(xp: Any, z: Any, y: Any) -> Any:
        if xp is device.ops.xp:
            calls.append(1)
        scale = 1.0 + len(calls)
        return xp.sum((z - y) * (z - y), axis=1) * scale, 2 * (z - y) * scale

    X, labels = example(40)
    _, history = trained(device, (X, np.eye(CLASSES)[labels]), loss=grows)
    assert history.execution.mode == "eager"
    assert "another result" in history.execution.notes[0]


def test_without_cublaslt_steps_run_eagerly_and_say_so() -> None:
    backend = emulated.backend(lt="cuBLASLt cannot be used (ImportError: none)")
    mlp, history = trained(backend, epochs=1)
    assert history.execution == Execution("eager", ("cuBLASLt cannot be used (ImportError: none)",))
    assert_same(mlp, trained(make_backend("numpy"), epochs=1)[0])


@pytest.mark.parametrize("missing", ["BIAS", "RELU_BIAS", "BGRADA"])
@pytest.mark.sampled(3)
def test_an_epilogue_that_cublaslt_has_not_is_a_kernel_and_is_said_once(
    missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = emulated.backend(CublasLt(unsupported={missing}))
    with caplog.at_level(logging.INFO, "xpmlp"):
        mlp, history = trained(backend, epochs=1)
    assert history.execution == CAPTURED
    said = [r.getMessage() for r in caplog.records if missing in r.getMessage()]
    assert said
    assert len(said) == len(set(said)) == len(backend.products.missing)
    rows = backend.products.table()[1:]
    assert {row[0] for row in rows if row[1] == 0} == set(backend.products.missing)
    assert_same(mlp, trained(make_backend("numpy"), epochs=1)[0])


class Refusing:
    """Graphs whose capture fails from a number of steps on, or whose launch does nothing."""

    def __init__(self, graphs: Any, failing: Any) -> None:
        self._graphs, self._failing, self.captures = graphs, failing, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graphs, name)

    def capture(self, work: Any) -> Any:
        self.captures += 1
        return self._failing(self.captures, self._graphs.capture(work))


def failing_from(number: int, error: Exception) -> Any:
    def capture(count: int, launch: Any) -> Any:
        if count >= number:
            raise error
        return launch

    return capture


def refusing(failing: Any) -> tuple[Any, list[CapturedRun]]:
    """An imitated backend whose captures fail so, and the runs that it made."""
    backend, runs = emulated.backend(), []
    right = backend.compile

    def compiled(step: Any) -> Any:
        run = right(step)
        run._graphs = Refusing(run._graphs, failing)
        runs.append(run)
        return run

    backend.compile = compiled
    return backend, runs


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.slow
def test_a_capture_that_fails_leaves_the_training_right(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    backend, _ = refusing(failing_from(number, RuntimeError("no luck")))
    with caplog.at_level(logging.WARNING, "xpmlp"):
        mlp, history = trained(backend)
    assert history.execution == Execution(
        "eager", ("the step could not be captured: RuntimeError: no luck",)
    )
    assert "no luck" in caplog.text
    assert_same(mlp, trained(eager(backend))[0])


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_noticed() -> None:
    backend, _ = refusing(lambda count, launch: lambda: None)
    mlp, history = trained(backend)
    assert "another result" in history.execution.notes[0]
    assert_same(mlp, trained(eager(backend))[0])


def test_memory_that_runs_out_in_a_capture_leaves_the_model_and_no_graphs() -> None:
    errors = [emulated.OutOfMemoryError("out of memory")]

    def once(count: int, launch: Any) -> Any:
        if count == 2 and errors:
            raise errors.pop()
        return launch

    backend, runs = refusing(once)
    mlp = model(backend)
    before = mlp.state_dict()
    with pytest.raises(DeviceMemoryError, match="Try batch_size="):
        mlp.fit(*example(), epochs=1, batch_size=4)
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert not runs[0]._captures
    history = mlp.fit(*example(), epochs=1, batch_size=4)
    assert history.execution == CAPTURED
    assert_same(mlp, trained(eager(backend), epochs=1)[0])


def test_an_error_of_the_step_itself_is_its_own(device: Any) -> None:
    def broken(xp: Any, z: Any, y: Any) -> Any:
        if z.shape[0] == 8:
            raise ZeroDivisionError("mine")
        return xp.sum((z - y) * (z - y), axis=1), 2 * (z - y)

    X, labels = example(40)
    with pytest.raises(ZeroDivisionError, match="mine"):
        trained(device, (X, np.eye(CLASSES)[labels]), loss=broken, batch_size=8)
    with pytest.raises(ZeroDivisionError, match="mine"):
        trained(device, (X, np.eye(CLASSES)[labels]), loss=broken, batch_size=8)


# What a captured step consists of


def nodes(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[str]:
    """Names of the nodes of a graph of one step."""
    graphs = []
    end = imitated.Stream.end_capture
    monkeypatch.setattr(
        imitated.Stream, "end_capture", lambda s: graphs.append(made := end(s)) or made
    )
    trained(emulated.backend(), example(40), **options)
    steps = [graph.debug_dot_str().split("\n") for graph in graphs]
    return next(names for names in steps if any("gather" in name for name in names))


def test_a_step_is_about_a_dozen_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three layers: 8 products, 6 kernels, and the loss's copy once a chunk."""
    names = nodes(monkeypatch)
    assert names.count("product") == 8
    assert [name.partition("<")[0] for name in names if "<" in name] == [
        "gather", "assess", "slope", "slope", "accumulate", "adam"
    ]  # fmt: skip
    assert len(names) == 15


def test_dropout_after_two_layers_is_two_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    names = nodes(monkeypatch, dropout=0.3)
    assert [name.partition("<")[0] for name in names if "<" in name] == [
        "gather", "dropout", "dropout", "assess", "slope", "slope", "accumulate", "adam"
    ]  # fmt: skip
    assert len(names) == 17


def test_bfloat16_rounds_each_array_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters at once, two hidden layers' outputs; other kernels round what they make."""
    names = nodes(monkeypatch, precision="bf16")
    assert names.count("product") == 8
    kernels = [name.partition("<")[0] for name in names if name not in ("product", "copy")]
    assert kernels == [
        "gather", "to_bfloat16", "to_bfloat16", "to_bfloat16", "assess", "column_sums", "slope",
        "column_sums", "slope", "column_sums", "accumulate", "adam",
    ]  # fmt: skip
    assert len(names) == 21  # with the loss's copy, once a chunk
    with monkeypatch.context() as patch:
        dropping = nodes(patch, precision="bf16", dropout=0.3)
    assert len(dropping) == len(names)  # dropout rounds instead


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("options", [{}, {"residual": True}, {"normalization": "batch"}])
@pytest.mark.slow
def test_bfloat16_is_near_float32_and_not_the_same(options: Any, dropout: float) -> None:
    mlp, history = trained(emulated.backend(), precision="bf16", dropout=dropout, **options)
    assert history.execution == CAPTURED
    assert mlp.backend.precision == "bf16"
    _, exactly = trained(make_backend("numpy"), dropout=dropout, **options)
    assert history["loss"] != exactly["loss"]
    assert_close(history["loss"], exactly["loss"], rtol=2e-2)


class Wrong(CublasLt):
    """Whose sums of columns are wrong from two columns on."""

    def _compute(self, described: Any, which: int, *places: int) -> None:
        super()._compute(described, which, *places)
        if described[7] == self.Epilogue.BGRADA:
            address, columns = described[8], self.objects[places[1]][1]
            (ctypes.c_float * columns).from_address(address)[0] += 1.0


@pytest.mark.slow
def test_wrong_sums_of_a_product_are_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """By the captured step and the eager one alike: both have them from cuBLASLt."""
    with caplog.at_level(logging.WARNING, "xpmlp"):
        mlp, history = trained(emulated.backend(Wrong()))
    assert history.execution == CAPTURED
    assert "a kernel sums" in caplog.text
    assert_same(mlp, trained(make_backend("numpy"))[0])


def test_an_epoch_ends_with_one_wait_of_the_host() -> None:
    mlp = model(emulated.backend(), dropout=0.2)
    data, waits = example(200), []
    mlp.fit(*data, epochs=1, batch_size=8)
    for epochs in (1, 2, 5):
        imitated.WAITS.clear()
        mlp.fit(*data, epochs=epochs, batch_size=8)
        waits.append(len(imitated.WAITS))
    assert waits[1] == waits[0] + 1
    assert waits[2] == waits[0] + 4


def test_a_graph_that_copies_from_the_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    describe = imitated.Graph.debug_dot_str
    monkeypatch.setattr(
        imitated.Graph, "debug_dot_str", lambda graph, flags: describe(graph) + "\n| HtoD |"
    )
    _, history = trained(emulated.backend(), example(40))
    assert "copies between the host and the device" in history.execution.notes[0]


# Whether a graph's result is the step's


def test_small_steps_of_noise_are_no_other_result() -> None:
    rng = np.random.default_rng(0)
    before = rng.standard_normal(10_000).astype(np.float32)
    way = 1e-3 * np.sign(rng.standard_normal(10_000)).astype(np.float32)
    expected = before + way
    turned = np.where(np.arange(10_000) == 7, before - way, expected)
    assert differs(turned, expected)  # an element is off by two whole steps
    assert not strays(turned, expected, before)
    assert not strays(expected, expected, before)
    assert strays(before, expected, before)
    assert strays(before + 1.1 * way, expected, before)  # another rate


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0])
def test_what_is_not_finite_is_so_in_both(wrong: float) -> None:
    before = np.ones(3, np.float32)
    expected = np.array([np.nan, 2.0, np.inf], np.float32)
    assert not strays(expected.copy(), expected, before)
    assert strays(np.array([wrong, wrong, wrong], np.float32), expected, before)
    assert strays(np.array([1, 2]), np.array([1, 3]), np.array([1, 1]))
    assert not strays(np.array([1, 3]), np.array([1, 3]), np.array([1, 1]))


# PyTorch's steps, which a GPU's graphs are to capture


FROM_HOST = ("lift_fresh", "_local_scalar_dense", "nonzero", "aten.index.", "index_put")
"""PyTorch's operations that make tensors of numbers, read them, or may count what is true."""


def host_operations(step: Any) -> list[str]:
    """What a call does between host and device, on a GPU, by the operations that it dispatches."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, f: Any, types: Any, args: Any = (), options: Any = None
        ) -> Any:
            if any(name in str(f) for name in FROM_HOST):
                found.append(str(f))
            return f(*args, **(options or {}))

    with Watch(), pytest.MonkeyPatch.context() as patch:
        for name in ("asarray", "as_tensor", "tensor"):  # which are not dispatched
            right = getattr(torch, name)
            patch.setattr(
                torch, name, lambda *a, r=right, n=name, **o: found.append(n) or r(*a, **o)
            )
        step()
    return found


def test_the_watch_finds_what_pytorch_cannot_capture() -> None:
    torch = pytest.importorskip("torch")
    xp = make_backend("torch").xp
    x = torch.ones(3)
    assert host_operations(lambda: xp.maximum(x, 0.0))
    assert host_operations(lambda: float(x[0]))
    assert host_operations(lambda: x[x > 0])
    assert not host_operations(lambda: x * 2.0 + x.sum())


def watched(torch_backend: Any) -> list[str]:
    """The backend's steps, watched; what they do is added to the list that is returned."""
    found: list[str] = []
    right = torch_backend.compile

    def compiled(step: Any) -> Any:
        def seen(*arguments: Any) -> Any:
            result = []
            found.extend(host_operations(lambda: result.append(step(*arguments))))
            return result[0]

        return right(seen)

    torch_backend.compile = compiled
    return found


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_pytorchs_activations_can_be_captured(torch_backend: Any, name: str) -> None:
    found = watched(torch_backend)
    trained(torch_backend, example(10), activation=name, normalization="layer", epochs=1)
    assert not found


@pytest.mark.parametrize("name", losses.LOSSES)
def test_pytorchs_losses_can_be_captured(torch_backend: Any, name: str) -> None:
    found = watched(torch_backend)
    X, labels = example(10)
    data = X, targets(losses.LOSSES[name], labels)
    trained(torch_backend, data, loss=name, sample_weight=np.linspace(0.2, 2, 10), epochs=1)
    assert not found


@pytest.mark.parametrize("name", losses.DISTRIBUTIONS)
def test_pytorchs_distributions_can_be_captured(torch_backend: Any, name: str) -> None:
    found = watched(torch_backend)
    X, _ = example(10)
    outputs = losses.loss(name).outputs_per_target
    mlp = xpmlp.MLP([FEATURES, 9, outputs], loss=name, backend=torch_backend, seed=1)
    mlp.fit(X, X[:, 0] / 255.0, epochs=1, batch_size=4)
    assert not found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pytorchs_optimizers_can_be_captured(torch_backend: Any, name: str) -> None:
    found = watched(torch_backend)
    optimizer = OPTIMIZERS[name](clip_norm=0.1, clip_value=0.05)
    options: dict[str, Any] = {"l1": 1e-3, "l2": 1e-3, "max_norm": 0.5, "dropout": 0.3}
    trained(
        torch_backend, example(10), optimizer=optimizer, normalization="batch", epochs=1, **options
    )
    assert not found
