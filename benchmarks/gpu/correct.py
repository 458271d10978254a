"""Whether xpmlp is right on this GPU, in 90 seconds: ``python -m benchmarks.gpu.correct``.

It needs CuPy and what xpmlp itself needs. Every check runs, whatever the ones before it found; the
exit status is 1 if one failed. The whole GPU suite is ``pytest -m gpu``.
"""

import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np

import xpmlp
from benchmarks.gpu.steps import TOLERANCES
from xpmlp import losses
from xpmlp.nn import metrics
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.contract import PRECISIONS
from xpmlp.nn.ops import Ops

SIZES, ROWS = (784, 64, 48, 10), 1000
"""A small network, and the rows that it is trained on."""

BARS = {"float32": 1e-5, "float64": 1e-12}
"""How far an operation may be off, as a share of its largest result."""

SAME = {"float32": 1e-4, "float64": 1e-10}
"""How far weights may be off after a small training, as a share of the largest."""

Make = Callable[[bool], Any]
"""Makes the backend: ``make(capture)``."""


class Table:
    """Stands for the table of operations, which some operations take first."""


class Dtype:
    """Stands for the dtype."""


# Operations


def operations(make: Make) -> str:
    """Compare operations with the plain formulas in float64."""
    gpu, count = make(True), 0
    for dtype, bar in BARS.items():
        for name, arguments in cases(np.random.default_rng(0)):
            given = [a.astype(dtype) if _is_real(a) else a for a in arguments]
            found = _call(gpu.ops, name, given, gpu.asarray, getattr(gpu.xp, dtype))
            exact = [a.astype(np.float64) if _is_real(a) else a for a in given]
            plain = Ops.reference(numpy_xp, "cpu")
            right = _call(plain, name, exact, np.copy, np.float64)
            for ours, expected in zip(found, right, strict=True):
                agree(f"{name}, {dtype}", gpu.to_numpy(ours), expected, bar)
            count += 1
    return f"{count} calls agree with float64"


def cases(rng: np.random.Generator) -> Iterator[tuple[str, list[Any]]]:
    """Yield operations and arguments, of awkward sizes."""
    x, W, b = (rng.standard_normal(shape) for shape in ((67, 784), (784, 33), 33))
    z, dh = (rng.standard_normal((67, 33)) for _ in range(2))
    yield "dense", [x, W, b]
    yield "dense_activation", [Table, x, W, b, ACTIVATIONS["relu"]]
    yield "dense_grad", [x, W, dh, True]
    for f in ACTIVATIONS.values():
        yield "activation", [Table, z, f]
        h = f.function(Ops.reference(numpy_xp, "cpu"), z)
        yield "activation_grad", [Table, z, h, dh, f]
    labels = rng.integers(0, 33, 67).astype(np.int32)
    cross_entropy, mse = losses.SparseCategoricalCrossEntropy(), losses.MSE()
    for weight in (None, rng.random(67) + 0.5):
        yield "assess", [Table, cross_entropy, metrics.LABELS, z, labels, weight]
        yield "assess", [Table, mse, metrics.R2, z, dh, weight]
    pixels, rows = rng.integers(0, 256, (67, 784)).astype(np.uint8), labels[:9]
    yield "gather_batch", [pixels, labels, None, rows, None, np.array([1 / 255]), Dtype]
    p, g, m, v = (rng.random(1027) + 0.1 for _ in range(4))
    rate = np.array([0.03])
    yield "sgd", [p, g, rate]
    yield "momentum", [p, g, m, rate, 0.9]
    yield "rmsprop", [p, g, v, rate, 0.99, 1e-8]
    yield "adam", [p, g, m, v, np.array([0.02, 1.5, 0.99]), 0.9, 0.999, 1e-8]


def _is_real(a: object) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def _call(
    ops: Ops, name: str, arguments: list[Any], to: Callable[..., Any], dtype: Any
) -> list[Any]:
    """Call an operation with arguments on its device; return its arrays."""
    placed = [to(a) if isinstance(a, np.ndarray) else a for a in arguments]
    placed = [ops if a is Table else dtype if a is Dtype else a for a in placed]
    found = list(_arrays(getattr(ops, name)(*placed)))
    if name == "dense_activation":  # whether z is kept is the backend's to choose
        return found[1:]
    if name == "assess":  # by rows or by sums of rows, as a backend likes
        found[2] = ops.xp.sum(found[2], keepdims=True)
    return found


def _arrays(value: Any) -> Iterator[Any]:
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, tuple):
            yield from _arrays(part)
        elif part is not None:
            yield part


def agree(what: str, found: Any, expected: Any, bar: float) -> None:
    """Compare arrays; NaN is close to nothing.

    Raises
    ------
    AssertionError
        With how far they are from each other.
    """
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    assert found.shape == expected.shape, f"{what}: found {found.shape}, expected {expected.shape}"
    off = float(np.max(np.abs(found - expected), initial=0.0))
    allowed = bar * float(np.max(np.abs(expected), initial=0.0))
    assert off <= allowed, f"{what}: off by {off:.3g}, allowed are {allowed:.3g}"


# Trainings


def fit(backend: Any, **options: Any) -> tuple[dict[str, Any], Any]:
    """Train a small network with dropout; return its weights and history."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (ROWS, SIZES[0])).astype(np.uint8)
    mlp = xpmlp.MLP(SIZES, backend=backend, dropout=0.2, seed=1, **options)
    history = mlp.fit(X, np.argmax(X[:, :10], axis=1), epochs=2, batch_size=32)
    return mlp.state_dict(), history


def captured(history: Any) -> None:
    """Check that steps ran in CUDA graphs."""
    execution = history.execution
    assert execution.mode == "captured in CUDA graphs", "; ".join(
        [execution.mode, *execution.notes]
    )


def same(what: str, ours: Any, other: Any, bar: float, loss_bar: float | None = None) -> None:
    """Compare losses, and weights unless only losses have a bar."""
    agree(f"{what}: losses", ours[1]["loss"], other[1]["loss"], loss_bar or bar)
    for name, value in ours[0].items() if loss_bar is None else ():
        agree(f"{what}: {name}", value, other[0][name], bar)


def capture(make: Make) -> str:
    """Compare captured steps with eager ones, in each precision."""
    for precision in PRECISIONS:
        ours, eager = (fit(make(way), precision=precision) for way in (True, False))
        captured(ours[1])
        loose = None if precision == "float32" else TOLERANCES[precision]
        same(f"captured and eager, {precision}", ours, eager, SAME["float32"], loose)
    return f"captured steps are the eager ones in {', '.join(PRECISIONS)}"


def training(make: Make) -> str:
    """Compare a training with NumPy's."""
    for dtype, bar in SAME.items():
        ours = fit(make(True), dtype=dtype)
        captured(ours[1])
        same(f"a training in {dtype}", ours, fit("numpy", dtype=dtype), bar)
    return "a training is NumPy's in float32 and float64"


def threads(make: Make) -> str:
    """Train in two threads at once, each on a stream."""
    gpu = make(True)
    expected, found = fit(gpu), {}

    def work(number: int) -> None:
        with gpu.cupy.cuda.Stream(non_blocking=True):
            found[number] = fit(gpu)

    both = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(found) == 2, "a thread ended with an error"
    for ours in found.values():
        captured(ours[1])
        same("a training in a thread", ours, expected, SAME["float32"])
    return "two threads train as one does"


def other(name: str, device: str, make: Make) -> str:
    """Compare a training by another library on the GPU with NumPy's."""
    try:
        backend = xpmlp.backend(name, device)
    except xpmlp.errors.BackendError as error:
        return f"left out: {error}"
    ours = fit(backend)
    if name == "torch":
        captured(ours[1])
    same(f"a training by {name}", ours, fit("numpy"), SAME["float32"], TOLERANCES["float32"])
    return f"a training by {name} is NumPy's"


CHECKS: Mapping[str, Callable[[Make], str]] = {
    "operations": operations,
    "capture": capture,
    "training": training,
    "threads": threads,
    "PyTorch": partial(other, "torch", "cuda"),
    "JAX": partial(other, "jax", "gpu"),
}


def run(make: Make, checks: Mapping[str, Callable[[Make], str]]) -> list[str]:
    """Run the checks, saying what each found; return the names of those that failed."""
    failed = []
    for name, check in checks.items():
        begin = perf_counter()
        try:
            found = check(make)
        except Exception as error:  # the other checks may show more
            traceback.print_exc()
            failed.append(name)
            found = f"FAILED: {type(error).__name__}: {error}"
        print(f"{name} ({perf_counter() - begin:.1f} s): {found}", flush=True)
    return failed


def main() -> str | None:
    """Run all of them; return what failed, if anything did."""
    from xpmlp_backends.cupy.backend import create

    make = partial(create, None)
    try:
        make(True)
    except xpmlp.errors.BackendError as error:
        return str(error)
    failed = run(make, CHECKS)
    return f"failed: {', '.join(failed)}" if failed else None


if __name__ == "__main__":
    sys.exit(main())
