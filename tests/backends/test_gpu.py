"""What only a real GPU can show, beside every numeric test, which runs on it as ``cupy``."""

import re
import threading
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend

import xpmlp
from xpmlp import losses
from xpmlp.data import load_mnist
from xpmlp.errors import DataError, DeviceMemoryError, DivergenceError, MissingExtraError
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.contract import PRECISIONS, Execution
from xpmlp.nn.optimizers import OPTIMIZERS

pytestmark = pytest.mark.gpu

CAPTURED = Execution("captured in CUDA graphs")
SIZES = [784, 64, 48, 10]


@pytest.fixture
def gpu() -> Any:
    return make_backend("cupy")


def pixels(n: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (n, 784)).astype(np.uint8)
    return X, np.argmax(X[:, :10], axis=1)


def trained(backend: Any, **options: Any) -> tuple[xpmlp.MLP, Any]:
    fitting = {name: options.pop(name) for name in ("optimizer", "batch_size") if name in options}
    mlp = xpmlp.MLP(SIZES, backend=backend, seed=1, **options)
    return mlp, mlp.fit(*pixels(), **{"epochs": 2, "batch_size": 32} | fitting)


def assert_same(a: xpmlp.MLP, b: xpmlp.MLP, share: float) -> None:
    for name, value in a.state_dict().items():
        assert_close(value, b.state_dict()[name], of_max=share, atol=share)


# Nothing falls back


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_runs_as_it_should(gpu: Any, optimizer: str, precision: str) -> None:
    _, history = trained(gpu, optimizer=optimizer, precision=precision)
    assert history.execution == CAPTURED
    assert np.isfinite(history["loss"][-1])


@pytest.mark.parametrize("activation", sorted({*ACTIVATIONS} - {"exp"}))
def test_every_activation_runs_as_it_should(gpu: Any, activation: str) -> None:
    _, history = trained(gpu, activation=activation)
    assert history.execution == CAPTURED


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_runs_as_it_should(gpu: Any, name: str) -> None:
    X, labels = pixels()
    y = labels if losses.LOSSES[name].targets == "labels" else np.eye(10)[labels]
    mlp = xpmlp.MLP(SIZES, loss=name, backend=gpu, seed=1)
    assert mlp.fit(X, y, epochs=2, batch_size=32).execution == CAPTURED


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_on_the_gpu_is_the_one_on_the_cpu(gpu: Any, dtype: str) -> None:
    mlp, history = trained(gpu, dropout=0.2, dtype=dtype)
    other, expected = trained("numpy", dropout=0.2, dtype=dtype)
    bar = 1e-4 if dtype == "float32" else 1e-10
    assert_close(history["loss"], expected["loss"], rtol=bar)
    assert_same(mlp, other, bar)


@pytest.mark.parametrize(("precision", "bar"), [("tf32", 1e-2), ("bf16", 5e-2)])
def test_lower_precision_trains_nearly_the_same(gpu: Any, precision: str, bar: float) -> None:
    _, history = trained(gpu, precision=precision)
    _, expected = trained(gpu)
    assert history["loss"] != expected["loss"]  # it does round
    assert_close(history["loss"], expected["loss"], rtol=bar)


def test_the_same_seed_gives_the_same_bits(gpu: Any) -> None:
    first, second = (trained(gpu, dropout=0.2)[0].state_dict() for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


def test_weights_that_are_not_numbers_end_the_training(gpu: Any) -> None:
    """Also where cuBLASLt's ReLU should make 0 of NaN, and the loss with it finite."""
    mlp = xpmlp.MLP(SIZES, backend=gpu, seed=1)
    flat = gpu.to_numpy(mlp.weights.flat)
    flat[7] = np.nan  # of the first layer
    mlp.weights.adopt(gpu.asarray(flat), mlp.weights.statistics)
    with pytest.raises(DivergenceError):
        mlp.fit(*pixels(), epochs=1, batch_size=32)


# Memory


def test_a_large_allocation_between_launches_changes_nothing(gpu: Any) -> None:
    expected, _ = trained(gpu)
    mlp = xpmlp.MLP(SIZES, backend=gpu, seed=1)

    class Disturb(xpmlp.callbacks.Callback):
        every = 3

        def on_batch_end(self, training: Any) -> None:
            # What graphs keep must not be lent to others, who write to it.
            blocks = [gpu.cupy.full(1 << k, np.nan, dtype=np.float32) for k in range(8, 26)]
            del blocks
            gpu.cupy.full(1 << 26, np.nan, dtype=np.float32)

    mlp.fit(*pixels(), epochs=2, batch_size=32, callbacks=[Disturb()])
    for name, value in expected.state_dict().items():
        np.testing.assert_array_equal(value, mlp.state_dict()[name])


def test_a_thousand_captures_leak_nothing(gpu: Any) -> None:
    X, y = pixels(64)

    def use(times: int) -> int:
        for _ in range(times):
            mlp = xpmlp.MLP([784, 32, 10], backend=gpu, seed=0)
            assert mlp.fit(X, y, epochs=1, batch_size=32).execution == CAPTURED
        gpu.synchronize()
        gpu.cupy.get_default_memory_pool().free_all_blocks()
        return int(gpu.device.mem_info[0])

    before = use(25)
    after = use(475)  # two captures each
    assert before - after < 64 << 20


def test_what_runs_out_of_memory_says_what_fits(gpu: Any) -> None:
    free, _ = gpu.device.mem_info
    hog = gpu.cupy.empty(max(free - (3 << 30), 0), dtype=np.uint8)
    n = 1 << 17
    X, y = np.zeros((n, 64), np.uint8), np.arange(n) % 10
    mlp = xpmlp.MLP([64, 4096, 4096, 10], backend=gpu, seed=0)
    before = mlp.state_dict()
    with pytest.raises(DeviceMemoryError, match=r"Try batch_size=(\d+)") as caught:
        mlp.fit(X, y, epochs=1, batch_size=n)
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    fits = int(str(caught.value).split("batch_size=")[2].split(",")[0])
    mlp.fit(X[: 2 * fits], y[: 2 * fits], epochs=1, batch_size=fits)
    del hog


def test_data_on_the_host_train_the_same(gpu: Any) -> None:
    expected, _ = trained(gpu)
    mlp = xpmlp.MLP(SIZES, backend=gpu, seed=1)
    history = mlp.fit(*pixels(), epochs=2, batch_size=32, data_on="host")
    assert history.execution.mode == CAPTURED.mode
    for name, value in expected.state_dict().items():
        np.testing.assert_array_equal(value, mlp.state_dict()[name])


def test_threads_train_at_the_same_time(gpu: Any) -> None:
    expected, _ = trained(gpu)
    found: dict[int, xpmlp.MLP] = {}

    def work(number: int) -> None:
        with gpu.cupy.cuda.Stream(non_blocking=True):
            found[number] = trained(gpu)[0]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for mlp in found.values():
        assert_same(mlp, expected, 1e-5)


# What a graph consists of


def test_a_step_is_about_a_dozen_nodes_and_copies_nothing_from_the_host(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpmlp_backends.cupy import graphs as _cupy_graphs

    texts: list[str] = []
    search = _cupy_graphs.HOST_COPY.search

    class Watching:
        def search(self, text: str) -> Any:
            texts.append(text)
            return search(text)

    monkeypatch.setattr(_cupy_graphs, "HOST_COPY", Watching())
    trained(gpu)
    assert "adam" in texts[0]
    nodes = re.findall(r'^"graph_\d+_node_\d+"\s*\[', texts[0], re.MULTILINE)
    assert 10 <= len(nodes) <= 40, texts[0]  # a product may be two kernels
    assert "HtoD" not in texts[0]


def test_a_description_names_a_copy_from_the_host(gpu: Any) -> None:
    """By which a graph that makes one is refused."""
    from cupyx import empty_pinned
    from xpmlp_backends.cupy.graphs import HOST_COPY

    runtime, stream = gpu.cupy.cuda.runtime, gpu.cupy.cuda.Stream(non_blocking=True)
    x, other = (gpu.cupy.ones(4, dtype=np.float32) for _ in range(2))
    host = empty_pinned(4, np.float32)

    def from_the_host() -> None:  # CuPy's own ``set`` refuses to be captured
        to, kind = x.data.ptr, runtime.memcpyHostToDevice
        runtime.memcpyAsync(to, host.ctypes.data, x.nbytes, kind, stream.ptr)

    texts = []
    for copy in (from_the_host, lambda: gpu.cupy.copyto(x, other)):
        with stream:
            stream.begin_capture()
            try:
                copy()
            finally:  # a stream that still captures would break the tests after this one
                graph = stream.end_capture()
        texts.append(graph.debug_dot_str(1))
    assert HOST_COPY.search(texts[0]), texts[0]
    assert not HOST_COPY.search(texts[1]), texts[1]


# The other libraries


def torch_on_the_gpu() -> Any:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    return torch


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pytorch_captures_its_steps(precision: str) -> None:
    torch_on_the_gpu()
    mlp, history = trained(xpmlp.backend("torch", "cuda"), dropout=0.2, precision=precision)
    assert history.execution == CAPTURED
    other, expected = trained("numpy", dropout=0.2)
    bar = {"float32": 1e-4, "tf32": 2e-2, "bf16": 1e-1}[precision]
    assert_close(history["loss"], expected["loss"], rtol=bar)
    if precision == "float32":
        assert_same(mlp, other, 1e-3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pytorch_captures_every_optimizer(optimizer: str) -> None:
    torch_on_the_gpu()
    _, history = trained(xpmlp.backend("torch", "cuda"), optimizer=optimizer)
    assert history.execution == CAPTURED


def test_jax_trains_on_the_gpu() -> None:
    jax = pytest.importorskip("jax")
    if not any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("JAX finds no GPU")
    _, history = trained(xpmlp.backend("jax", "gpu"), dropout=0.2)
    _, expected = trained("numpy", dropout=0.2)
    assert_close(history["loss"], expected["loss"], rtol=1e-4)


def test_pytorchs_tensors_go_in_and_come_out_without_a_copy(gpu: Any) -> None:
    torch = torch_on_the_gpu()
    X, y = pixels()
    mlp = xpmlp.MLP(SIZES, backend=gpu, seed=1)
    mlp.fit(torch.from_numpy(X).cuda(), torch.from_numpy(y).cuda(), epochs=2, batch_size=32)
    expected, _ = trained(gpu)
    for name, value in expected.state_dict().items():
        np.testing.assert_array_equal(value, mlp.state_dict()[name])
    rows = torch.from_numpy(X[:100]).cuda()
    assert gpu.from_dlpack(rows).data.ptr == rows.data_ptr()
    classes = mlp.predict(rows)
    assert isinstance(classes, torch.Tensor)
    assert classes.is_cuda
    np.testing.assert_array_equal(classes.cpu().numpy(), mlp.predict(X[:100]))


def test_jaxs_arrays_go_in_and_come_out(gpu: Any) -> None:
    jax = pytest.importorskip("jax")
    if not any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("JAX finds no GPU")
    mlp, _ = trained(gpu)
    X, _ = pixels(100)
    classes = mlp.predict(jax.device_put(X, jax.devices("gpu")[0]))
    assert isinstance(classes, jax.Array)
    np.testing.assert_array_equal(np.asarray(classes), mlp.predict(X))


# MNIST


def test_mnist_is_learned_as_on_the_cpu(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XPMLP_CACHE_DIR", raising=False)  # MNIST may be in the user's own cache
    try:
        data = load_mnist(mirrors=())  # nothing is downloaded
    except (DataError, OSError, MissingExtraError) as error:
        pytest.skip(f"MNIST is not here: {error}")
    mlp = xpmlp.MLP([784, 512, 512, 10], dropout=0.2, backend=gpu, seed=0)
    schedule = xpmlp.schedules.Cosine(1e-3)
    history = mlp.fit(data.X, data.y, epochs=20, batch_size=128, optimizer=xpmlp.Adam(schedule))
    assert history.execution == CAPTURED
    assert mlp.evaluate(data.X_test, data.y_test)["accuracy"] >= 0.984
