"""Sparse matrices: the numbers of the dense ones, and never all rows dense at once."""

import tracemalloc
from types import MethodType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from xpmlp_backends.base import EagerBackend

import xpmlp
from xpmlp.arrays.rows import rows as rows_of
from xpmlp.arrays.sparse import SparseMatrix
from xpmlp.errors import DivergenceError, InvalidTypeError, InvalidValueError
from xpmlp.inspect.diagnose import probe
from xpmlp.model import memory
from xpmlp.training import batches

sparse = pytest.importorskip("scipy.sparse")

N, INPUTS, CLASSES = 50, 12, 3
ROW = 8 * INPUTS
"""Bytes of a dense row in float64."""
FORMATS = [
    f"{name}_{kind}" for name in ("csr", "csc", "coo", "lil") for kind in ("array", "matrix")
]


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some chunks in an epoch of a few steps."""
    monkeypatch.setattr(batches, "CHUNK_STEPS", 3)


@pytest.fixture
def uncompiled(backend: Any) -> None:
    """Let JAX run each step as it comes, where a test is not about the loop: compiling is slow."""
    if backend.name == "jax":
        backend.compile = MethodType(EagerBackend.compile, backend)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows became dense at once, each time."""
    seen: list[int] = []
    take = SparseMatrix.take

    def watched(self: SparseMatrix, rows: Any, *args: Any, **options: Any) -> np.ndarray:
        dense = take(self, rows, *args, **options)
        seen.append(len(dense))
        return dense

    monkeypatch.setattr(SparseMatrix, "take", watched)
    return seen


def example(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """A dense table of which two thirds are 0, with an empty row and an empty column."""
    rng = np.random.default_rng(11)
    X = rng.standard_normal((N, INPUTS))
    y = np.argmax(X[:, :CLASSES] + 0.3 * X[:, CLASSES : 2 * CLASSES], axis=1)
    X *= rng.uniform(size=X.shape) < 1 / 3
    X[4], X[:, 7] = 0, 0
    return (np.abs(X) * 80).clip(0, 255).astype(dtype) if dtype == "uint8" else X.astype(dtype), y


def model(backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    made = {"backend": backend, "dtype": "float64", "seed": 3} | options
    return xpmlp.MLP([INPUTS, 8, CLASSES], **made)


def as_sparse(X: np.ndarray, form: str = "csr_array") -> Any:
    return getattr(sparse, form)(X)


def assert_same(a: xpmlp.MLP, b: xpmlp.MLP, rtol: float = 0.0) -> None:
    """Bit for bit, unless a tolerance is given."""
    ours, theirs = a.state_dict(), b.state_dict()
    assert set(ours) == set(theirs)
    for name in ours:
        assert ours[name].dtype == theirs[name].dtype
        assert_close(ours[name], theirs[name], rtol=rtol, atol=rtol)


# The same numbers


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.sampled(3)
def test_every_format_trains_and_predicts_as_dense_data(backend: Any, form: str) -> None:
    X, y = example()
    S = as_sparse(X, form)
    dense, ours = model(backend), model(backend)
    dense.fit(X, y, epochs=2, batch_size=6, data_on="host")
    ours.fit(S, y, epochs=2, batch_size=6)
    assert_same(dense, ours)
    for call in ("predict", "predict_proba"):
        found = getattr(ours, call)(S)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, getattr(dense, call)(X), strict=True)
    assert ours.evaluate(S, y) == dense.evaluate(X, y)
    assert ours.epochs_trained == 2


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "last batch smaller": ({}, {"batch_size": 6}, "float64"),
    "one chunk": ({}, {"batch_size": 32}, "float64"),
    "full batch": ({}, {"batch_size": None}, "float64"),
    "in order": ({}, {"batch_size": 7, "shuffle": False}, "float64"),
    "pixels": ({"dtype": "float32"}, {"batch_size": 6}, "uint8"),
    "integers": ({"dtype": "float32"}, {"batch_size": 6}, "int64"),
    "float64 in float32": ({"dtype": "float32"}, {"batch_size": 6}, "float64"),
    "weights": ({}, {"batch_size": 6, "sample_weight": np.arange(1.0, N + 1)}, "float32"),
    "dropout": ({"dropout": 0.3, "input_dropout": 0.1}, {"batch_size": 5}, "float64"),
    "held out": ({"normalization": "batch"}, {"batch_size": 6, "validation_split": 0.2}, "float64"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(3)
def test_the_same_bits_as_dense_data_on_the_host(backend: Any, case: str) -> None:
    options, fit, dtype = CASES[case]
    X, y = example(dtype)
    trained, histories = [], []
    for x in (X, as_sparse(X)):
        mlp = model(backend, **options)
        histories.append(mlp.fit(x, y, epochs=2, **fit, data_on="host"))
        trained.append(mlp)
    assert_same(*trained)
    assert set(histories[0]) == set(histories[1])
    for name in set(histories[0]) - {"seconds"}:
        assert histories[0][name] == histories[1][name], name
    assert histories[0].execution == histories[1].execution
    assert histories[0].examples == histories[1].examples
    assert trained[0].evaluate(X, y) == trained[1].evaluate(as_sparse(X), y)


@pytest.mark.usefixtures("uncompiled")
def test_standard_scaling_is_that_of_dense_data(backend: Any) -> None:
    X, _ = example()
    X[:, 5] = 2.0  # constant, and not 0
    target = X[:, :2] @ [[1.0], [2.0]] + 3.0
    trained = []
    for x in (X, as_sparse(X, "csc_array")):
        mlp = xpmlp.MLP(
            [INPUTS, 8, 1], scaling="standard", dtype="float64", backend=backend, seed=1
        )
        mlp.fit(x, target, epochs=2, batch_size=6, validation_split=0.2)
        trained.append(mlp)
    dense, ours = trained
    assert_close(ours.scaling.shift, dense.scaling.shift, rtol=1e-14, atol=1e-15)
    assert_close(ours.scaling.scale, dense.scaling.scale, rtol=1e-14)
    assert ours.scaling.scale[5] == ours.scaling.scale[7] == 1.0
    assert_same(dense, ours, rtol=1e-12)
    assert_close(ours.predict(as_sparse(X)), dense.predict(X), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_moments_are_those_of_the_dense_table(dtype: str) -> None:
    X, _ = example(dtype)
    mean, std = SparseMatrix.of(as_sparse(X)).moments()
    assert_close(mean, X.mean(axis=0, dtype=np.float64), rtol=1e-14, atol=1e-15)
    assert_close(std, X.std(axis=0, dtype=np.float64), rtol=1e-14)
    assert std[7] == 0.0


@pytest.mark.usefixtures("uncompiled")
def test_sparse_validation_data_beside_any_training_data(backend: Any) -> None:
    X, y = example()
    S = as_sparse(X)
    measured = []
    for train, held in ((X, X), (X, S), (S, X), (S, S)):
        history = model(backend).fit(
            train[:30], y[:30], epochs=2, batch_size=6, validation_data=(held[30:], y[30:])
        )
        measured.append((history["val_loss"], history["val_accuracy"]))
    assert measured[1:] == measured[:1] * 3


@pytest.mark.usefixtures("uncompiled")
def test_callbacks_see_the_same(backend: Any) -> None:
    X, y = example()
    reports, epochs, trained = [], [], []
    for x in (X, as_sparse(X)):
        stopping, diagnosis = xpmlp.EarlyStopping(2), xpmlp.Diagnosis()
        mlp = model(backend)
        mlp.fit(
            x,
            y,
            epochs=40,
            batch_size=6,
            optimizer=xpmlp.Adam(0.3),
            validation_split=0.3,
            callbacks=[stopping, diagnosis],
            data_on="host",
        )
        reports.append(diagnosis.report())
        epochs.append((stopping.best_epoch, mlp.epochs_trained))
        trained.append(mlp)
    assert reports[0] == reports[1]
    assert epochs[0] == epochs[1]
    assert epochs[0][1] < 40
    assert_same(*trained)


@pytest.mark.usefixtures("uncompiled")
def test_a_divergence_is_found_in_the_same_place(backend: Any) -> None:
    X, y = example()
    messages = []

    def share(time: float, total: float) -> float:
        return 1e300 if time >= 1.4 else 1.0

    for x in (X, as_sparse(X)):
        sgd = xpmlp.SGD(xpmlp.schedules.Custom(0.1, share))
        with pytest.raises(DivergenceError) as raised, np.errstate(all="ignore"):
            model(backend).fit(x, y, epochs=3, batch_size=6, optimizer=sgd, data_on="host")
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    assert "epoch 2 of 3, step 6 of 9" in messages[0]


@pytest.mark.usefixtures("uncompiled")
def test_a_training_goes_on_with_the_other_kind(backend: Any) -> None:
    X, y = example()
    trained = []
    for first, second in ((X, X), (as_sparse(X), X), (X, as_sparse(X, "coo_matrix"))):
        mlp = model(backend)
        mlp.fit(first, y, epochs=1, batch_size=6)
        history = mlp.fit(second, y, epochs=1, batch_size=6, continued=True)
        assert len(history["loss"]) == mlp.epochs_trained == 2
        trained.append(mlp)
    assert_same(trained[0], trained[1])
    assert_same(trained[0], trained[2])


# What is stored


def test_duplicates_count_as_their_sum() -> None:
    """One of them twice, in rows whose columns are not in order either."""
    X, y = example()
    S = as_sparse(X, "coo_array")
    order = np.random.default_rng(0).permutation(2 * S.nnz)
    values, row, column = (np.concatenate([a, a])[order] for a in (S.data / 2, *S.coords))
    twice = sparse.coo_array((values, (row, column)), S.shape)
    starts = np.searchsorted(np.sort(row), np.arange(N + 1))
    by_row = np.argsort(row, kind="stable")
    unsorted = sparse.csr_array((values[by_row], column[by_row], starts), S.shape)
    assert not sparse.csr_array(unsorted, copy=True).has_canonical_format
    expected = model()
    expected.fit(X, y, epochs=1, batch_size=6)
    for S in (twice, unsorted):
        mlp = model(scaling="standard")
        mlp.fit(S, y, epochs=1)
        deviation = np.where(X.any(axis=0), X.std(axis=0), 1.0)
        assert_close(mlp.scaling.shift, X.mean(axis=0), rtol=1e-12)
        assert_close(mlp.scaling.scale, 1 / deviation, rtol=1e-12)
        mlp = model()
        mlp.fit(S, y, epochs=1, batch_size=6)
        assert_same(mlp, expected)


def test_infinities_that_only_a_sum_has_are_found() -> None:
    S = sparse.csr_array(([1.0, 1e308, 1e308], [1, 5, 5], [0, 1, 1, 3, 3]), (4, INPUTS))
    with pytest.raises(InvalidValueError, match=r"X: found inf at X\[2, 5\]"):
        model().fit(S, np.arange(4) % CLASSES)


@pytest.mark.parametrize("form", [*FORMATS, "dok_array", "bsr_array", "dia_matrix", "unsorted"])
def test_the_users_matrix_stays_as_it_is(form: str) -> None:
    X, y = example()
    if form == "unsorted":
        columns, row = np.array([3, 1, 3]), np.array([0, 3, *[3] * (N - 1)])
        S = sparse.csr_array((np.array([1.0, 2.0, 4.0]), columns, row), (N, INPUTS))
    else:
        S = as_sparse(X, form)
    for name in ("data", "indices", "indptr", "row", "col"):
        if isinstance(getattr(S, name, None), np.ndarray) and form[:3] in ("csr", "csc", "uns"):
            getattr(S, name).flags.writeable = False
    kind, known, before = type(S), set(vars(S)), S.copy()
    mlp = model(scaling="standard", dtype="float32")
    mlp.fit(S, y, epochs=1, validation_split=0.2)
    mlp.predict(S), mlp.predict_proba(S), mlp.evaluate(S, y)
    assert type(S) is kind
    assert set(vars(S)) == known  # nor has it been asked for what it would remember
    assert S.dtype == before.dtype
    assert S.nnz == before.nnz
    np.testing.assert_array_equal(S.toarray(), before.toarray())
    if form == "unsorted":
        assert S.indices.tolist() == [3, 1, 3]


def test_pixels_are_bytes_in_sparse_matrices_too() -> None:
    X, y = example("uint8")
    mlp = model(dtype="float32")
    mlp.fit(as_sparse(X), y, epochs=1)
    assert mlp.scaling.pixels
    np.testing.assert_array_equal(mlp.predict_proba(X), mlp.predict_proba(as_sparse(X)))
    with pytest.raises(InvalidTypeError, match="fitted on uint8 pixels"):
        mlp.predict(as_sparse(X.astype(np.float32)))
    other = model()
    other.fit(as_sparse(X.astype(np.float32)), y, epochs=1)
    with pytest.raises(InvalidTypeError, match="X: found uint8"):
        other.evaluate(as_sparse(X), y)


@pytest.mark.parametrize(
    ("found", "expected"),
    [("bool", "bool"), ("uint8", "uint8"), ("int64", "float32"), ("float64", "float32")],
)
def test_rows_have_the_dtype_that_dense_ones_have(found: str, expected: str) -> None:
    X = (np.abs(example()[0]) > 0.5).astype(found)
    backend = make_backend("numpy")
    dense = rows_of(backend, X, INPUTS, "float32").array
    ours = rows_of(backend, as_sparse(X), INPUTS, "float32").array
    assert ours.dtype == dense.dtype == expected
    assert ours.nbytes == dense.nbytes
    np.testing.assert_array_equal(ours[np.array([4, 2, 2])], dense[[4, 2, 2]], strict=True)
    np.testing.assert_array_equal(ours[10:13, ...], dense[10:13], strict=True)


# Memory


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(("steps", "rows"), [(2.5, 12), (0.5, 6)])
def test_chunks_hold_as_many_steps_as_their_bytes_allow(
    backend: Any, steps: float, rows: int, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them, or one where not even that fits."""
    X, y = example()
    expected = model(backend)
    expected.fit(X, y, epochs=2, batch_size=6, data_on="host")
    monkeypatch.setattr(batches, "CHUNK_BYTES", int(steps * 6 * (ROW + 4)))  # a label has 4 bytes
    mlp = model(backend)
    mlp.fit(as_sparse(X), y, epochs=2, batch_size=6)
    assert max(taken) == rows
    assert sum(taken) == 2 * N
    assert_same(mlp, expected)


@pytest.mark.usefixtures("uncompiled")
def test_predictions_take_as_many_rows_as_their_bytes_allow(
    backend: Any, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = example()
    S = as_sparse(X)
    mlp = model(backend)
    mlp.fit(X, y, epochs=1)
    whole = mlp.predict_proba(S), mlp.predict(S), mlp.evaluate(S, y)
    assert taken == [N] * 3
    for limit, rows in ((15 * ROW // 2, 7), (ROW // 2, 1)):
        monkeypatch.setattr(memory, "CHUNK_BYTES", limit)
        mlp.forget_compiled()
        taken.clear()
        parts = mlp.predict_proba(S), mlp.predict(S), mlp.evaluate(S, y)
        assert max(taken) == rows
        assert sum(taken) == 3 * N
        assert_close(parts[0], whole[0], rtol=1e-12)
        np.testing.assert_array_equal(parts[1], whole[1])
        assert_close(list(parts[2].values()), list(whole[2].values()), rtol=1e-12)


def test_a_diagnosis_looks_at_no_more_rows_than_fit(
    taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = example()
    monkeypatch.setattr(memory, "CHUNK_BYTES", 9 * ROW)
    monkeypatch.setattr(probe, "ROWS", 6)
    model().fit(as_sparse(X), y, epochs=1, batch_size=2, callbacks=[xpmlp.Diagnosis()])
    assert taken[:2] == [6, 9]
    assert max(taken[2:]) == 2 * batches.CHUNK_STEPS


def test_rows_too_many_for_the_memory_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = example()
    mlp = model()
    mlp.fit(X, y, epochs=1)
    expected = mlp.predict_proba(X)
    take = SparseMatrix.take

    def scarce(self: SparseMatrix, rows: Any, *args: Any, **options: Any) -> np.ndarray:
        if self.rows(rows).shape[0] > 12:
            raise MemoryError
        return take(self, rows, *args, **options)

    monkeypatch.setattr(SparseMatrix, "take", scarce)
    assert_close(mlp.predict_proba(as_sparse(X)), expected, rtol=1e-12)


@pytest.mark.slow
def test_a_wide_matrix_needs_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.5 GiB if it were dense."""
    rows, columns, limit = 2000, 200_000, 2**24
    rng = np.random.default_rng(0)
    where = rng.integers(0, rows, 20_000), rng.integers(0, columns, 20_000)
    S = sparse.coo_array((np.ones(20_000, np.float32), where), (rows, columns))
    y = np.arange(rows) % 2
    monkeypatch.setattr(batches, "CHUNK_BYTES", limit)
    monkeypatch.setattr(memory, "CHUNK_BYTES", limit)
    mlp = xpmlp.MLP([columns, 2, 2], scaling="standard", backend="numpy", seed=0)
    tracemalloc.start()
    try:
        history = mlp.fit(S, y, epochs=1, batch_size=10, validation_split=0.1)
        classes, measured = mlp.predict(S), mlp.evaluate(S, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < rows * columns * 4 / 10
    assert classes.shape == (rows,)
    assert np.isfinite([*history["loss"], *history["val_loss"], measured["loss"]]).all()
    assert history.examples == 1800
    assert "and would take 1.3 GiB if dense" in history.execution.notes[0]


# What is refused


def with_value(value: float) -> Any:
    X = example()[0]
    X[9, 2] = X[7, 8] = value
    return as_sparse(X, "csc_array")


class OnDevice:
    """As CuPy's matrices are: they have ``tocsr``, and their arrays are not the host's."""

    shape, dtype = (N, INPUTS), np.dtype(np.float64)
    data = indices = indptr = SimpleNamespace()

    def tocsr(self) -> Any:
        return self


X, Y = example()


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (as_sparse(X[:, :2]), InvalidValueError, r"X: found shape \(50, 2\).*expected 12"),
        (sparse.coo_array(X[0]), InvalidValueError, r"found shape \(12,\).*two dimensions"),
        (sparse.csr_array((0, INPUTS)), InvalidValueError, "X: found no rows"),
        (with_value(np.nan), InvalidValueError, r"X: found nan at X\[7, 8\].*finite"),
        (with_value(-np.inf), InvalidValueError, r"X: found -inf at X\[7, 8\]"),
        (as_sparse(X).astype(complex), InvalidTypeError, "X: found dtype complex128"),
        (OnDevice(), InvalidTypeError, r"X: found a .*OnDevice whose .*on the host.*X\.get\(\)"),
    ],
)
def test_bad_matrices(x: Any, error: type, match: str) -> None:
    mlp = model()
    with pytest.raises(error, match=match):
        mlp.fit(x, Y)
    assert mlp.epochs_trained == 0
    assert mlp.known_task is None
    mlp.fit(X, Y, epochs=1)
    for call in (mlp.predict, mlp.predict_proba, lambda x: mlp.evaluate(x, Y)):
        with pytest.raises(error, match=match):
            call(x)


def test_numbers_beyond_float32_are_refused_in_float32(backend: Any) -> None:
    x = with_value(1e39)
    with pytest.raises(InvalidValueError, match=r"X: found inf at X\[7, 8\].*of float32"):
        model(backend, dtype="float32").fit(x, Y)


def test_as_many_targets_as_rows() -> None:
    with pytest.raises(InvalidValueError, match=r"y: found shape \(49,\); X has 50 rows"):
        model().fit(as_sparse(X), Y[:-1])
    held = (with_value(np.nan), Y)
    with pytest.raises(InvalidValueError, match=r"validation X: found nan at validation X\[7, 8\]"):
        model().fit(as_sparse(X), Y, validation_data=held)


def test_only_the_inputs_may_be_sparse() -> None:
    one_hot = sparse.csr_matrix(np.eye(CLASSES)[Y])
    with pytest.raises(InvalidTypeError, match=r"y: found a sparse csr_matrix.*y\.toarray\(\)"):
        model().fit(X, one_hot)
    for call in (xpmlp.explain, xpmlp.verify):
        with pytest.raises(InvalidTypeError, match=r"X: found a sparse csr_array.*X\.toarray\(\)"):
            call(model(), as_sparse(X), Y)


def test_all_of_it_on_the_device_is_refused(backend: Any) -> None:
    """Before any compute, and on NumPy too, where it would be dense all the same."""
    S = as_sparse(X)
    mlp = model(backend)
    with pytest.raises(
        InvalidValueError,
        match=r"data_on: found 'device' for sparse data.*'auto'.*X\.toarray\(\).* 5 KiB",
    ):
        mlp.fit(S, Y, data_on="device")
    with pytest.raises(InvalidValueError, match="found 'device' for sparse validation data"):
        mlp.fit(X, Y, data_on="device", validation_data=(S, Y))
    assert mlp.known_task is None
    assert mlp.epochs_trained == 0


@pytest.mark.usefixtures("uncompiled")
def test_the_history_says_why_data_stay_on_the_host(backend: Any) -> None:
    S = as_sparse(X)
    fit = {"epochs": 1, "batch_size": 6}
    dense = model(backend).fit(X, Y, **fit).execution
    asked = model(backend).fit(S, Y, **fit, data_on="host").execution
    assert asked == dense
    found = model(backend).fit(S, Y, **fit, validation_data=(S[:10], Y[:10])).execution
    assert found.mode == dense.mode
    assert found.notes == (
        *dense.notes,
        "the data stay on the host: they are sparse, and would take 5 KiB if dense; "
        "the validation data stay on the host: they are sparse, and would take 960 bytes if dense",
    )


def test_results_are_numpys_whatever_the_matrix_offers() -> None:
    """An array API namespace of its own would not have arrays for them."""

    class Standard(sparse.csr_array):
        def __array_namespace__(self, api_version: Any = None) -> Any:
            return sparse

    mlp = model()
    mlp.fit(Standard(X), Y, epochs=1)
    assert type(mlp.predict(Standard(X))) is np.ndarray
