"""The imitated GPU refuses what CuPy refuses, and breaks what a GPU would break."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emulation import device as imitated
from emulation import emulated
from emulation.cublaslt import CublasLtError
from xpmlp_backends.cupy.cublaslt import Recipe

import xpmlp


@pytest.fixture
def gpu() -> Any:
    return emulated.backend()


def captured(gpu: Any, work: Callable[[], object], pool: Any = None) -> Any:
    """The graph of some work, in a pool of its own or in the common one."""
    with gpu.cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        try:
            with imitated.using_allocator((pool or imitated.DEFAULT).malloc):
                work()
        finally:
            graph = stream.end_capture()
    return graph


# Captures


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda gpu, x: gpu.asarray(np.ones(3)), "copy from the host"),
        (lambda gpu, x: gpu.xp.asarray([1.0]), "copy from the host"),
        (lambda gpu, x: gpu.to_numpy(x), "waited for"),
        (lambda gpu, x: float(x[0]), "waited for"),
        (lambda gpu, x: gpu.synchronize(), "waited for"),
        (lambda gpu, x: x @ x, "cuBLAS"),
        (lambda gpu, x: gpu.xp.concat([x] * 9), "more than 8"),
    ],
    ids=["array", "asarray", "to_numpy", "float", "synchronize", "matmul", "concat"],
)
def test_what_a_capture_refuses(gpu: Any, work: Any, message: str) -> None:
    x = gpu.asarray(np.ones(3))
    work(gpu, x)  # as a rule it is allowed
    with pytest.raises(RuntimeError, match=message):
        captured(gpu, lambda: work(gpu, x))


def test_a_default_stream_is_not_captured() -> None:
    with pytest.raises(RuntimeError, match="default"):
        imitated.current_stream().begin_capture()


def test_memory_of_a_capture_is_lent_again(gpu: Any) -> None:
    """In the common pool another array gets it, and the graph computes with that."""
    x, y = gpu.asarray(np.ones(4)), gpu.asarray(np.zeros(4))
    work = lambda: gpu.cupy.copyto(y, (x + 1.0) * 2.0)  # noqa: E731
    private = captured(gpu, work, imitated.MemoryPool())
    private.launch()
    np.testing.assert_array_equal(gpu.to_numpy(y), 4.0)

    kept: list[Any] = []
    graph = captured(gpu, lambda: gpu.cupy.copyto(y, kept.append(x + 1.0) or kept[0]))
    kept.clear()
    other = gpu.asarray(np.full(4, 7.0))  # lies where the sum was
    graph.launch()
    np.testing.assert_array_equal(gpu.to_numpy(other), 2.0)


@pytest.mark.parametrize("planted", [False, True])
def test_graphs_leave_other_arrays_alone(monkeypatch: pytest.MonkeyPatch, planted: bool) -> None:
    """They would not without a pool of their own, which is the planted fault."""
    if planted:
        malloc = imitated.MemoryPool.malloc
        monkeypatch.setattr(
            imitated.MemoryPool, "malloc", lambda pool, size: malloc(imitated.DEFAULT, size)
        )
    backend, kept = emulated.backend(), []

    class Allocate(xpmlp.callbacks.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            kept.extend(backend.asarray(np.full(n, 7.0, np.float32)) for n in range(1, 200, 8))

    mlp = xpmlp.MLP([5, 4, 3], backend=backend, seed=0)
    X, y = np.random.default_rng(0).random((40, 5)), np.arange(40) % 3
    history = mlp.fit(X, y, epochs=2, batch_size=8, callbacks=[Allocate()])
    assert history.execution.mode == "captured in CUDA graphs"
    assert planted == any((backend.to_numpy(x) != 7.0).any() for x in kept)


# Products


def test_relu_along_the_way_makes_0_of_nan(gpu: Any) -> None:
    a, b = (gpu.asarray(np.full((2, 2), np.nan, np.float32)) for _ in range(2))
    bias = gpu.asarray(np.ones(2, np.float32))
    np.testing.assert_array_equal(gpu.to_numpy(gpu.products(a, b, bias=bias, relu=True)), 0.0)


def test_an_algorithm_is_for_its_alignment(gpu: Any) -> None:
    flat = gpu.asarray(np.zeros(64, np.float32))
    a, out = flat[:16].reshape(4, 4), gpu.cupy.empty((4, 4), np.float32)
    gpu.products(a, a, out)
    ((shape, recipe),) = gpu.products._recipes.items()
    moved = flat[1:17].reshape(4, 4)
    with pytest.raises(CublasLtError, match="misaligned"):
        gpu.products._compute(recipe, (moved, moved, out), None)
    gpu.products(moved, moved, out)  # asks for another
    assert len(gpu.products._recipes) == 2
    assert shape.first.alignment == 256


@pytest.mark.parametrize(
    ("rows", "columns", "ld", "message"),
    [(4, 4, 3, "leading dimension"), (5, 4, 5, "sides"), (4, 5, 4, "sides")],
)
def test_descriptions_that_do_not_fit(
    gpu: Any, rows: int, columns: int, ld: int, message: str
) -> None:
    a, out = gpu.asarray(np.ones((4, 4), np.float32)), gpu.cupy.empty((4, 4), np.float32)
    gpu.products(a, a, out)
    ((_, recipe),) = gpu.products._recipes.items()
    wrong = gpu._lt.matrix_layout_create(0, rows, columns, ld)
    recipe.layouts = (wrong, *recipe.layouts[1:])
    with pytest.raises(CublasLtError, match=message):
        gpu.products._compute(recipe, (a, a, out), None)


def test_an_algorithm_that_splits_k_has_no_epilogue(gpu: Any) -> None:
    a, out = gpu.asarray(np.ones((4, 4), np.float32)), gpu.cupy.empty((4, 4), np.float32)
    bias = gpu.asarray(np.ones(4, np.float32))
    gpu.products(a, a, out, bias=bias)
    ((shape, recipe),) = gpu.products._recipes.items()
    found = gpu.products._heuristics(recipe.operation, recipe.layouts, shape)
    last = Recipe(recipe.operation, recipe.layouts, np.array(found["algo"][-1]))
    with pytest.raises(CublasLtError, match="split-K"):
        gpu.products._compute(last, (a, a, out), bias)


# Devices


@pytest.mark.parametrize(
    "work",
    [
        lambda gpu, x: x + 1.0,
        lambda gpu, x: x.astype(np.float64),
        lambda gpu, x: gpu.cupy.copyto(gpu.cupy.empty((4, 4), np.float32), x),
        lambda gpu, x: x.__setitem__(0, 1.0),
        lambda gpu, x: gpu.products(x, x),
        lambda gpu, x: gpu.ops.sgd(x, x, x),
    ],
    ids=["ufunc", "astype", "copyto", "setitem", "product", "kernel"],
)
def test_arrays_of_another_device_are_refused(work: Any) -> None:
    gpu = emulated.backend(number=1)
    x = gpu.asarray(np.ones((4, 4), np.float32))
    with gpu.current():
        work(gpu, x)
    with pytest.raises(ValueError, match="is on device 1, while device 0 is current"):
        work(gpu, x)


def test_streams_and_graphs_are_for_their_device(gpu: Any) -> None:
    with gpu.cupy.cuda.Device(1):
        stream = gpu.cupy.cuda.Stream(non_blocking=True)
    graph = captured(gpu, lambda: None)
    with pytest.raises(ValueError, match="a stream is on device 1"), stream:
        pass
    with pytest.raises(ValueError, match="a graph is on device 0"), gpu.cupy.cuda.Device(1):
        graph.launch()


def test_host_arrays_do_not_mix(gpu: Any) -> None:
    with pytest.raises(TypeError, match="Unsupported type"):
        gpu.asarray(np.ones(3)) + np.ones(3)
