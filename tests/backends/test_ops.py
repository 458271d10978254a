"""Every operation that a backend may replace, against the plain formula in float64.

``CASES`` holds the arguments for each operation; an operation without a case is an error, so a
new one, or a new fast kernel for an old one, cannot go untested.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from conftest import assert_close, make_backend

from xpmlp import losses
from xpmlp.nn import metrics
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.ops import OPERATIONS, Ops
from xpmlp.nn.parameters import ALIGNMENT, Layout
from xpmlp.nn.penalty import Penalty
from xpmlp.nn.random import dropout_keys, dropout_mask

BAR = {"float64": 2e-15, "float32": 2e-6}
SHAPES = [(1, 1, 1), (1, 9, 3), (65, 1, 67)]
Arguments = list[Any]


class Dtype:
    """Stands for the namespace's dtype in a list of arguments."""


class Table:
    """Stands for the table itself, which some operations take first."""


def dense(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    x, W, b = rng.standard_normal((n, n_in)), rng.standard_normal((n_in, n_out)), rng.random(n_out)
    yield [x, W, b]
    yield [x, W, None]


def dense_grad(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    x, W = rng.standard_normal((n, n_in)), rng.standard_normal((n_in, n_out))
    dz = rng.standard_normal((n, n_out))
    yield [x, W, dz, True]
    yield [x, W, dz, False]


def dense_activation(
    n: int, n_in: int, n_out: int, rng: np.random.Generator
) -> Iterator[Arguments]:
    for x, W, b in dense(n, n_in, n_out, rng):
        for name in ACTIVATIONS:
            yield [Table, x, W, b, ACTIVATIONS[name]]


def dense_activation_grad(
    n: int, n_in: int, n_out: int, rng: np.random.Generator
) -> Iterator[Arguments]:
    for x, W, dh, need_dx in dense_grad(n, n_in, n_out, rng):
        for name in ACTIVATIONS:
            f, z = ACTIVATIONS[name], x @ W
            with np.errstate(under="ignore"):
                h = f.function(Ops.reference(numpy_xp, "cpu"), z)
            yield [Table, x, W, z, h, dh, f, need_dx]


def one_array(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    yield [rng.standard_normal((n, n_in)) * 2]
    if n == n_in == 1:
        yield [np.array([[0.0, -0.0, 1e-30, -1e-30, 6.0, -6.0, 1e4, -1e30]])]


def activation(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    for f in ACTIVATIONS.values():
        for scale in (1, 2):
            yield [Table, rng.standard_normal((n, n_in)) * scale, f]


def activation_grad(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    ops = Ops.reference(numpy_xp, "cpu")
    for table, z, f in activation(n, n_in, n_out, rng):
        yield [table, z, f.function(ops, z), rng.standard_normal(z.shape), f]


def softmax_cross_entropy(
    n: int, n_in: int, n_out: int, rng: np.random.Generator
) -> Iterator[Arguments]:
    yield [rng.standard_normal((n, n_in)) * 3, rng.dirichlet(np.ones(n_in), n)]
    yield [rng.standard_normal((n, n_in)) * 300, np.eye(n_in)[rng.integers(0, n_in, n)]]


def label_cross_entropy(
    n: int, n_in: int, n_out: int, rng: np.random.Generator
) -> Iterator[Arguments]:
    for smoothing in (0.0, 0.1):
        for dtype in (np.int32, np.int64):
            z, labels = rng.standard_normal((n, n_in)), rng.integers(0, n_in, n).astype(dtype)
            yield [z * 3, labels, smoothing]
            yield [z * 300, labels, smoothing]


def batch_mean(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    rows, dz = rng.random(n), rng.standard_normal((n, n_out))
    yield [rows, dz, None]
    yield [rows, dz, rng.random(n)]
    yield [rows, dz, np.zeros(n)]


def is_largest(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    z = rng.standard_normal((n, n_in))
    yield [z, rng.integers(0, n_in, n).astype(np.int32)]
    yield [np.round(z), rng.integers(0, n_in, n)]  # with equals


def accumulate(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    for value in (0.7, np.inf, np.nan):
        totals, carry = rng.random(2) * 100, rng.random(2) * 1e-6
        yield [totals, carry, np.array([3, 4], np.int32), np.array(value), n, rng.random(n)]
        yield [totals, carry, np.array([3, 4], np.int32), np.array(value), n, None]


def sigmoid_cross_entropy(
    n: int, n_in: int, n_out: int, rng: np.random.Generator
) -> Iterator[Arguments]:
    yield [rng.standard_normal((n, n_in)) * 3, rng.random((n, n_in))]
    yield [rng.standard_normal((n, n_in)) * 300, rng.integers(0, 2, (n, n_in)).astype(float)]


def mask(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    for rate in (0.0, 0.1, 0.5, 0.99):
        yield [dropout_keys(3, 0, 1, 1)[0, 0], (n, n_in), rate, Dtype]
        yield [dropout_keys(3, 0, 1, 1, [[rate]])[0, 0], (n, n_in), None, Dtype]


def dropout(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    for rate in (0.0, 0.1, 0.5, 0.99):
        yield [Table, rng.standard_normal((n, n_in)), dropout_keys(3, 0, 1, 1)[0, 0], rate]
        key = dropout_keys(3, 0, 1, 1, [[rate]])[0, 0]
        yield [Table, rng.standard_normal((n, n_in)), key, None]


def gather(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    rows = rng.integers(0, n, 5).astype(np.int32)
    column, number = rng.random(n_in) + 0.5, np.array([1 / 255])
    labels, values, weight = rng.integers(0, 9, n), rng.standard_normal((n, n_out)), rng.random(n)
    labels = labels.astype(np.int32)
    for X, y, w, shift, scale in (
        (rng.integers(0, 256, (n, n_in)).astype(np.uint8), labels, None, None, number),
        (rng.integers(-100, 100, (n, n_in)).astype(np.int32), values, weight, column, column),
        (rng.integers(-100, 100, (n, n_in)).astype(np.int8), values, None, column, column),
        (rng.integers(-100, 100, (n, n_in)).astype(np.int16), labels, weight, None, column),
        (rng.integers(0, 2, (n, n_in)).astype(bool), labels, weight, column, None),
        (rng.standard_normal((n, n_in)), labels, weight, column, column),
        (rng.standard_normal((n, n_in)).astype(np.float32), values, None, None, None),
    ):
        yield [X, y, w, rows, shift, scale, Dtype]


def uniform(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    keys = dropout_keys(3, 0, 1, 2)[0]
    yield [keys[0], (n, n_in), 0, Dtype]
    yield [keys[0], (n, n_in), 7 << 27, Dtype]
    yield [keys, (2, n_in, n), 1 << 27, Dtype]


def warped(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    """Maps and fields of each picture, or of all; some look outside."""
    for h, w, c, maps, fields in (
        (5, 4, 1, n, n),
        (5, 4, 3, 1, n),
        (1, 6, 2, n, 1),
        (1, 1, 1, 1, 1),
    ):
        x, shape = rng.random((n, h * w * c)), (h, w, c)
        A = np.array([1.0, 0, 0, 0, 1, 0]) + rng.standard_normal((maps, 6)) * 0.7
        field = rng.standard_normal((h, fields, 2, w))
        yield [x, A, field, shape]
        yield [x, None, field, shape]
        yield [x, A, None, shape]


def assess(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    """Every loss with the metrics that go with it, with weights and without."""
    outputs = max(n_out, 2)
    z = rng.standard_normal((n, outputs)) * 3
    labels = rng.integers(0, outputs, n).astype(np.int32)
    targets = {
        "labels": labels,
        "distribution": rng.dirichlet(np.ones(outputs), n),
        "binary": rng.integers(0, 2, (n, outputs)).astype(float),
        "counts": rng.integers(0, 5, (n, outputs)).astype(float),
        "values": rng.standard_normal((n, outputs)),
    }
    chosen = [make() for make in losses.LOSSES.values()]
    chosen += [losses.Huber(0.3), losses.Quantile(0.8)]
    chosen += [losses.SparseCategoricalCrossEntropy(0.1), losses.BinaryCrossEntropy(0.1)]
    chosen += [losses.CategoricalCrossEntropy(0.1), losses.CustomLoss(own_loss)]
    for loss in chosen:
        for metric in METRICS.get(loss.targets, METRICS["values"]):
            for weight in (None, rng.random(n) * 3):
                yield [Table, loss, metric, z, targets[loss.targets], weight]


def own_loss(xp: Any, z: Any, y: Any) -> Any:
    return xp.sum(z * z * y, axis=1), 2 * z * y


METRICS: dict[str, Any] = {
    "labels": [None, metrics.LABELS],
    "distribution": [metrics.ONE_HOT],
    "binary": [metrics.LOGIT_SIDES, metrics.PROBABILITY_SIDES],
    "counts": [metrics.RATE_R2],
    "values": [None, metrics.R2],
}


def pack(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    layout = Layout({"W": (n_in, n_out), "b": (n_out,), "g": (n,)})
    tensors = {name: rng.standard_normal(slot.shape) for name, slot in layout.slots.items()}
    yield [layout, tensors]


def unpack(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    layout = Layout({"W": (n_in, n_out), "b": (n_out,), "g": (n,)})
    yield [layout, rng.standard_normal(layout.size)]


def penalize(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    W, dW = rng.standard_normal((n_in, n_out)), rng.standard_normal((n_in, n_out))
    W[0, 0] = 0.0
    for l1, l2 in ((0.3, 0.0), (0.0, 0.7), (0.3, 0.7), (np.array(0.3), np.array(0.7))):
        yield [Penalty(l1, l2), W, dW]
    yield [Doubled(l2=0.7), W, dW]


class Doubled(Penalty):
    """A penalty with a gradient of its own."""

    def add_gradient(self, xp: Any, W: Any, dW: Any) -> Any:
        return dW + 2 * self.l2 * W


def flat(count: int, *settings: float) -> Callable[..., Iterator[Arguments]]:
    """Arguments of an update: parameters, gradient and averages, then the rate and settings."""

    def case(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
        size = n * n_in + n_out
        arrays = [rng.standard_normal(size) for _ in range(2)]
        yield [*arrays, *(rng.random(size) for _ in range(count)), np.array(0.03), *settings]

    return case


def adam(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    size = n * n_in + n_out
    p, g, m = (rng.standard_normal(size) for _ in range(3))
    yield [p, g, m, rng.random(size), np.array([0.02, 1.5, 0.99]), 0.9, 0.999, 1e-8]


def clip(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    for limit in (0.1, 1e6):
        yield [rng.standard_normal(n * n_in + n_out), limit]


def mixed(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    yield [*(rng.standard_normal((n, n_in)) for _ in range(2)), rng.random(n_in)]


def mixed_grad(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    for given in mixed(n, n_in, n_out, rng):
        yield [*given, rng.standard_normal((n, n_in))]


def angles(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    yield [rng.standard_normal((n, n_in)), *(rng.standard_normal((n_in, n_out)) for _ in range(2))]


def angles_grad(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    x, w = rng.standard_normal((n, n_in)), rng.standard_normal((n_in, n_out))
    both = [rng.standard_normal((n_in, n, n_out)) for _ in range(2)]
    yield [x, w, *both, True]
    yield [x, w, *both, False]


def shares(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    edge, slope = rng.standard_normal((n_in, n_out)), rng.random((n_in, n_out))
    low = np.where(rng.random((n_in, n_out)) < 0.5, 0.0, -1e9)
    yield [rng.standard_normal((n, n_in)) * 3, edge, slope, low, 1.0 - low]


def batch_product(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    yield [rng.standard_normal((n_in, n, n_out)), rng.standard_normal((n_in, n_out, 3))]


def sum_by_code(n: int, n_in: int, n_out: int, rng: np.random.Generator) -> Iterator[Arguments]:
    for count in (1, 5, 200):
        codes = rng.integers(0, count, n).astype(np.int32)
        yield [rng.standard_normal((n, n_in)), codes, count]


CASES: dict[str, Callable[..., Iterator[Arguments]]] = {
    "dense": dense,
    "dense_grad": dense_grad,
    "activation": activation,
    "activation_grad": activation_grad,
    "dense_activation": dense_activation,
    "dense_activation_grad": dense_activation_grad,
    "label_cross_entropy": label_cross_entropy,
    "assess": assess,
    "batch_mean": batch_mean,
    "is_largest": is_largest,
    "accumulate": accumulate,
    "mixed": mixed,
    "mixed_grad": mixed_grad,
    "angles": angles,
    "angles_grad": angles_grad,
    "shares": shares,
    "batch_product": batch_product,
    "sum_by_code": sum_by_code,
    "erf": one_array,
    "softmax_cross_entropy": softmax_cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "dropout_mask": mask,
    "dropout": dropout,
    "dropout_grad": dropout,
    "gather_batch": gather,
    "uniform": uniform,
    "warped": warped,
    "penalize": penalize,
    "pack": pack,
    "unpack": unpack,
    "clip_by_norm": clip,
    "sgd": flat(0),
    "momentum": flat(1, 0.9),
    "nesterov": flat(1, 0.9),
    "adagrad": flat(1, 1e-10),
    "rmsprop": flat(1, 0.99, 1e-8),
    "adam": adam,
}


CHOSEN = {
    "dense_activation": [1],  # whether z is kept is the backend's to choose
    "accumulate": [0, 2],  # what rounding lost has a test of its own
}
"""Which results to compare, where not all of them."""


def test_every_operation_has_a_case() -> None:
    assert set(CASES) == set(OPERATIONS)


def results(value: Any) -> list[Any]:
    """Flatten what an operation gives back: an array, or nested tuples of arrays and None."""
    if isinstance(value, tuple):
        return [one for part in value for one in results(part)]
    if isinstance(value, dict):
        return list(value.values())
    return [value]


def call(backend: Any, ops: Ops, name: str, arguments: Arguments, dtype: str) -> list[Any]:
    """Call an operation in ``dtype``; results on the host."""

    def convert(a: Any) -> Any:
        if isinstance(a, np.ndarray) and a.ndim == 0:
            return backend.asarray(a.reshape(1), dtype)[0]
        if a is Table:
            return ops
        if isinstance(a, np.ndarray):  # a copy, because updates may write to their arguments
            return backend.asarray(a.copy(), dtype if a.dtype == np.float64 else None)
        if isinstance(a, dict):
            return {key: convert(value) for key, value in a.items()}
        if isinstance(a, Penalty):
            return replace(a, l1=convert(a.l1), l2=convert(a.l2))
        return getattr(ops.xp, dtype) if a is Dtype else a

    given = [convert(a) for a in arguments]
    if name == "pack":
        layout = given[0]
        out = backend.asarray(np.zeros(layout.size), dtype)
        if "mutable" in backend.capabilities and type(backend).__name__ != "ReadonlyNumpy":
            out = backend.xp.asarray(out, copy=True)
        given += [out, layout.views(ops.xp, out)]
    if name == "dropout_grad":
        _, x, key, rate = given
        given = [ops, x, ops.dropout(ops, x, key, rate)[1]]
    with np.errstate(invalid="ignore"):  # infinity minus infinity, in accumulate
        found = getattr(ops, name)(*given)
    found = found[:1] if name == "dropout" else found  # the mask is the backend's own
    found = [None if r is None else backend.to_numpy(r) for r in results(found)]
    if name == "assess" and found[2] is not None:  # by rows or by sums of rows, as a backend likes
        found[2] = found[2].sum(keepdims=True)
    return found


def formula(ops: Ops, name: str) -> Any:
    """The function behind an operation."""
    operation = getattr(ops, name)
    return getattr(operation, "func", operation)


def judge(name: str, arguments: Arguments, dtype: str) -> list[Any]:
    """The plain formula, by NumPy in float64, on arguments rounded to ``dtype``."""

    def rounded(a: Any) -> Any:
        if isinstance(a, np.ndarray) and a.dtype == np.float64:
            return a.astype(dtype).astype(np.float64)
        if isinstance(a, dict):
            return {key: rounded(value) for key, value in a.items()}
        if isinstance(a, Penalty):
            return replace(a, l1=rounded(a.l1), l2=rounded(a.l2))
        return a

    host = make_backend("numpy")
    ops = Ops.reference(numpy_xp, "cpu")
    return call(host, ops, name, [rounded(a) for a in arguments], "float64")


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.sampled(2)
def test_the_backends_operation_is_the_plain_formula(backend: Any, name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    tables = [backend.ops]
    reference = Ops.reference(backend.xp, backend.ops.device)
    if formula(backend.ops, name) is not formula(reference, name):
        tables.append(reference)  # the backend has its own, so the plain one is tried as well
    for shape in SHAPES:
        for arguments in CASES[name](*shape, rng):
            expected = judge(name, arguments, dtype)
            for ops in tables:
                found = call(backend, ops, name, arguments, dtype)
                assert len(found) == len(expected)
                for i in CHOSEN.get(name, range(len(found))):
                    ours, right = found[i], expected[i]
                    assert (ours is None) == (right is None)
                    if ours is None:
                        continue
                    assert ours.dtype == (dtype if right.dtype == np.float64 else right.dtype)
                    # Infinite sums lose NaN, which is close to nothing: there they must agree.
                    lost = np.isnan(right)
                    np.testing.assert_array_equal(np.isnan(ours), lost)
                    ours, right = np.where(lost, 0, ours), np.where(lost, 0, right)
                    # Sums of up to 130 products lose a little of the largest.
                    assert_close(
                        ours, right, rtol=BAR[dtype], of_max=4 * BAR[dtype], atol=BAR[dtype]
                    )


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("rate", [0.3, 0.0, None])
def test_gradients_after_dropout(backend: Any, name: str, rate: float | None) -> None:
    rng, f = np.random.default_rng(0), ACTIVATIONS[name]
    x, W, dy = rng.standard_normal((9, 5)), rng.standard_normal((5, 7)), rng.standard_normal((9, 7))
    key, b = dropout_keys(3, 0, 1, 1, [[0.6]])[0, 0], rng.standard_normal(7)

    def computed(backend: Any, ops: Ops) -> list[Any]:
        given = [backend.asarray(a.copy()) for a in (x, W, b, dy, key)]
        z, h = ops.dense_activation(ops, *given[:3], f)
        y, mask = ops.dropout(ops, h, given[4], rate)
        none = (None, None)
        grads = ops.dense_activation_grad(ops, *given[:2], z, h, given[3], f, True, none, mask)
        return [backend.to_numpy(a) for a in (y, *grads)]

    expected = computed(make_backend("numpy"), Ops.reference(numpy_xp, "cpu"))
    for found, right in zip(computed(backend, backend.ops), expected, strict=True):
        assert_close(found, right, rtol=1e-13, atol=1e-14)


def test_dense_grad_fills_the_places_it_is_given(backend: Any) -> None:
    """Or leaves them; what it returns counts, and the arguments stay as they were."""
    rng = np.random.default_rng(0)
    x, W, dz = rng.standard_normal((6, 5)), rng.standard_normal((5, 3)), rng.standard_normal((6, 3))
    given = [backend.asarray(a.copy()) for a in (x, W, dz)]
    out = (None, None)
    if type(backend).__name__ != "ReadonlyNumpy":
        out = tuple(backend.xp.zeros_like(backend.asarray(a)) for a in (W, dz[0]))
    dx, dW, db = backend.ops.dense_grad(*given, True, out)
    assert_close(backend.to_numpy(dx), dz @ W.T, rtol=1e-13)
    assert_close(backend.to_numpy(dW), x.T @ dz, rtol=1e-13)
    assert_close(backend.to_numpy(db), dz.sum(axis=0), rtol=1e-13)
    for a, copy in zip(given, (x, W, dz), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(a), copy)


def test_an_epochs_sums_lose_nothing_to_rounding(backend: Any) -> None:
    """300 times 0.1 onto 30,000 in float32, where each plain sum would lose up to 0.001."""
    value, score = (backend.asarray(np.array(x, dtype=np.float32)) for x in (0.1, [0.1]))
    totals, carry = (backend.asarray(np.zeros(2, np.float32)) for _ in range(2))
    finite, steps = backend.asarray(np.zeros(2, np.int32)), 300
    start = backend.asarray(np.full(2, 3e4, np.float32))
    totals = totals + start
    for _ in range(steps):
        totals, carry, finite = backend.ops.accumulate(totals, carry, finite, value, 1, score)
    expected = 3e4 + steps * float(np.float32(0.1))
    assert_close(backend.to_numpy(totals), np.full(2, expected), rtol=6e-8)
    np.testing.assert_array_equal(backend.to_numpy(finite), [steps, steps])


# The flat layout


def test_layout_aligns_and_returns_what_was_packed(backend: Any) -> None:
    rng = np.random.default_rng(0)
    shapes = {"a": (1,), "b": (8, 8), "c": (5, 13), "d": (200,)}
    layout = Layout(shapes)
    assert all(slot.start % ALIGNMENT == 0 for slot in layout.slots.values())
    assert [slot.start for slot in layout.slots.values()] == [0, 64, 128, 256]
    assert (layout.size, layout.count) == (512, 1 + 64 + 65 + 200)
    tensors = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    views = layout.views(backend.xp, backend.asarray(layout.flatten(tensors)))
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(backend.to_numpy(views[name]), tensor)


def test_an_empty_layout(backend: Any) -> None:
    layout = Layout({})
    assert layout.size == layout.count == 0
    empty = backend.asarray(np.zeros(0))
    assert layout.views(backend.xp, empty) == {}
    assert tuple(backend.ops.pack(layout, {}, empty, {}).shape) == (0,)


# Dropout


def masks(backend: Any, keys: np.ndarray, shape: tuple[int, ...], rate: float) -> np.ndarray:
    made = [
        backend.to_numpy(
            backend.ops.dropout_mask(backend.asarray(key), shape, rate, backend.xp.float32)
        )
        for key in keys
    ]
    return np.stack(made)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (128, 65), (4096,)])
def test_masks_are_the_same_bits_everywhere(
    backend: Any, shape: tuple[int, ...], rate: float
) -> None:
    keys = np.concatenate(
        [
            dropout_keys(9, 2, 2, 1)[:, 0],
            np.array([[0, 0], [-1, -1], [2**31 - 1, -(2**31)]], dtype=np.int32),
        ]
    )
    with np.errstate(over="ignore"):
        expected = [dropout_mask(np, key, shape, rate, np.float32) for key in keys]
    np.testing.assert_array_equal(masks(backend, keys, shape, rate), expected)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_scheduled_rate_has_the_same_bits_everywhere(
    backend: Any, dtype: str, rate: float
) -> None:
    """It drops what the same constant rate does; 1/(1 − rate) follows from the threshold."""
    shape, ops = (7, 13), backend.ops
    key = dropout_keys(9, 2, 1, 1, [[rate]])[0, 0]
    given = backend.asarray(np.ones(shape), dtype), backend.asarray(key)
    constant, scheduled = (backend.to_numpy(ops.dropout(ops, *given, r)[0]) for r in (rate, None))
    np.testing.assert_array_equal(scheduled, dropout_mask(np, key, shape, None, np.dtype(dtype)))
    assert_close(scheduled, constant, rtol=1e-6)


def test_a_known_mask() -> None:
    """The same in every version: model files promise that a seed gives the same run."""
    key = np.array([12345, -678], dtype=np.int32)
    found = dropout_mask(np, key, (2, 8), 0.5, np.float64)
    assert_close(found, [[2, 0, 2, 0, 2, 0, 2, 0], [2, 2, 2, 2, 2, 2, 2, 2]])


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_the_rate_is_right(rate: float) -> None:
    """Within five standard deviations, over a million elements, and in each of the columns."""
    backend, keys = make_backend("numpy"), dropout_keys(1, 0, 10, 1)[:, 0]
    found = masks(backend, keys, (1000, 100), rate)
    n, deviation = found.size, np.sqrt(rate * (1 - rate))
    assert abs(np.mean(found == 0) - rate) <= 5 * deviation / np.sqrt(n)
    columns = np.mean(found == 0, axis=(0, 1))
    assert np.max(np.abs(columns - rate)) <= 5 * deviation / np.sqrt(n / 100) + 1e-12
    assert_close(np.unique(found[found > 0]), [1 / (1 - rate)], rtol=1e-6)
    assert np.mean(found) == pytest.approx(1.0, abs=5 * deviation / (1 - rate) / np.sqrt(n) + 1e-6)


def test_masks_of_different_keys_and_neighbouring_elements_are_independent() -> None:
    """Correlations between keys whose first words differ in a bit, and along a mask, are noise."""
    backend = make_backend("numpy")
    near = np.array([[5, 7], [4, 7], [5 ^ 2**30, 7], [7, 5], [-5, 7]], dtype=np.int32)
    drawn = dropout_keys(1, 0, 8, 1)[:, 0]
    found = masks(backend, np.concatenate([near, drawn]), (40_000,), 0.5)
    correlation = np.corrcoef(found)
    off = correlation[~np.eye(len(found), dtype=bool)]
    assert np.max(np.abs(off)) <= 5 / np.sqrt(40_000)
    for lag in (1, 2, 3, 10, 64, 100, 128, 256, 1024):
        along = [np.corrcoef(m[:-lag], m[lag:])[0, 1] for m in found]
        assert np.max(np.abs(along)) <= 5 / np.sqrt(40_000)


def test_keys_differ_for_seeds_epochs_steps_and_layers() -> None:
    words = np.concatenate(
        [dropout_keys(s, e, 5, 3).reshape(-1, 2) for s in (0, 1) for e in (0, 1, 2)]
    )
    assert len(np.unique(words, axis=0)) == len(words) == 2 * 3 * 5 * 3
    np.testing.assert_array_equal(dropout_keys(4, 1, 3, 2), dropout_keys(4, 1, 3, 2))
    # Fewer steps are the beginning of more.
    np.testing.assert_array_equal(dropout_keys(4, 1, 2, 2), dropout_keys(4, 1, 3, 2)[:2])


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name",
    # Of assess the parts are here; the plain sum_by_code spreads NaN to the codes of other rows.
    sorted({*OPERATIONS} - {"assess", "sum_by_code"}),
)
@pytest.mark.parametrize("which", ["numpy", "numpy-plain", "cupy-emulated"])
@pytest.mark.sampled(3)
def test_nan_and_infinity_keep_their_meaning(which: str, name: str, special: float) -> None:
    """Put into each array in turn, they come out of NumPy's own operations where they should.

    But for NaN in cuBLASLt's ReLU, which makes 0 of it.
    """
    rng = np.random.default_rng(0)
    host = make_backend(which)
    reference = Ops.reference(host.xp, host.device)
    for arguments in CASES[name](5, 4, 3, rng):
        loses = (which, name) == ("cupy-emulated", "dense_activation") and (
            arguments[-1].name == "relu"
        )
        for i, argument in enumerate(arguments):
            if not isinstance(argument, np.ndarray) or argument.dtype != np.float64:
                continue
            changed = argument.copy()
            changed.reshape(-1)[min(1, changed.size - 1)] = special
            given = [*arguments[:i], changed, *arguments[i + 1 :]]
            with np.errstate(all="ignore"):
                expected = call(host, reference, name, given, "float64")
                found = call(host, host.ops, name, given, "float64")
            for k in CHOSEN.get(name, range(len(found))):
                if expected[k] is None:
                    continue
                for test in (np.isnan, np.isposinf, np.isneginf):
                    if test is np.isnan and loses:
                        continue
                    np.testing.assert_array_equal(test(found[k]), test(expected[k]))
