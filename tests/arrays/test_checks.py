"""What people pass in: refused with what was found and what was expected, or taken over whole."""

import re
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from hypothesis import given, settings
from hypothesis import strategies as st

import xpmlp
from xpmlp.arrays.checks import weights
from xpmlp.arrays.rows import rows
from xpmlp.errors import InvalidTypeError, InvalidValueError, XpmlpError
from xpmlp.model.task import kind_of
from xpmlp.training.prepare import settle, split

COLUMNS, CLASSES, ROWS = 3, 4, 12
X = np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
Y = np.arange(ROWS) % CLASSES


def model(backend: Any = "numpy", outputs: int = CLASSES, **options: Any) -> xpmlp.MLP:
    options = {"dtype": "float64", "seed": 0} | options
    return xpmlp.MLP([COLUMNS, 5, outputs], backend=backend, **options)


def fitted(backend: Any = "numpy", x: Any = X, y: Any = Y, **options: Any) -> xpmlp.MLP:
    mlp = model(backend, **options)
    mlp.fit(x, y, epochs=1, batch_size=6)
    return mlp


def refused(mlp: xpmlp.MLP, x: Any, y: Any, match: str, **options: Any) -> XpmlpError:
    """The error, which is one of ours and a builtin, and before which nothing was computed."""
    before = mlp.state_dict()

    def never(*arguments: Any) -> Any:
        raise AssertionError("something was computed")

    mlp.backend.compile = never
    with pytest.raises(XpmlpError, match=match) as raised:
        mlp.fit(x, y, epochs=1, **options)
    assert isinstance(raised.value, ValueError | TypeError)
    assert mlp.epochs_trained == 0
    assert mlp.known_task is None
    assert all(np.array_equal(before[name], value) for name, value in mlp.state_dict().items())
    return raised.value


def with_value(value: Any, place: tuple[int, int] = (7, 2)) -> np.ndarray:
    x = X.copy()
    x[place] = value
    return x


# Examples


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (X[:, :2], InvalidValueError, r"X: found shape \(12, 2\).*expected 3"),
        (np.ones((ROWS, COLUMNS + 1)), InvalidValueError, r"X: found shape \(12, 4\).*expected 3"),
        (X[0], InvalidValueError, r"X: found shape \(3,\).*\(n, 3\).*reshape\(1, -1\)"),
        (X.reshape(ROWS, COLUMNS, 1), InvalidValueError, r"found shape \(12, 3, 1\).*reshape\("),
        (np.float64(1.0), InvalidValueError, r"X: found shape \(\)"),
        (X[:0], InvalidValueError, "no rows"),
        (with_value(np.nan), InvalidValueError, r"X: found nan at X\[7, 2\].*finite"),
        (with_value(np.inf), InvalidValueError, r"X: found inf at X\[7, 2\]"),
        (with_value(-np.inf, (0, 0)), InvalidValueError, r"X: found -inf at X\[0, 0\]"),
        (X.astype(complex), InvalidTypeError, "X: found dtype complex128"),
        (X.astype(str), InvalidTypeError, "X: found dtype <U"),
        (X.astype(object), InvalidTypeError, "X: found dtype object"),
        (X.astype("datetime64[s]"), InvalidTypeError, "X: found dtype datetime64"),
        ([[1.0, 2.0, 3.0], [1.0]], InvalidTypeError, "X: NumPy cannot make one array"),
        (None, InvalidTypeError, "X: found dtype object"),
        ("digits", InvalidTypeError, "X: found dtype <U"),
        ({"a": 1}, InvalidTypeError, "X: found dtype object"),
        (
            np.ma.masked_equal(np.tri(ROWS, 3), 0),
            InvalidValueError,
            r"X: found .* at X\[0, 1\]; .*mask",
        ),
    ],
)
def test_bad_examples(x: Any, error: type, match: str) -> None:
    y = Y[: len(x)] if hasattr(x, "__len__") and not isinstance(x, str | dict) else Y
    assert isinstance(refused(model(), x, y, match), error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.sampled(5)
def test_nan_and_infinity_on_every_backend(backend: Any, value: float) -> None:
    """Whether from the host or as the library's own array."""
    for x in (with_value(value), backend.asarray(with_value(value))):
        refused(model(backend), x, Y, r"X: found -?(nan|inf) at X\[7, 2\]")
    mlp = fitted(make_backend("numpy"))
    for call in (mlp.predict, mlp.predict_proba, lambda x: mlp.evaluate(x, Y)):
        with pytest.raises(InvalidValueError, match=r"X\[7, 2\]"):
            call(with_value(value))


def test_the_first_bad_place_is_named() -> None:
    x = with_value(np.nan)
    x[3, 1] = np.inf
    refused(model(), x, Y, r"found inf at X\[3, 1\]")


def test_numbers_beyond_float32_are_refused_in_float32(backend: Any) -> None:
    for x in (with_value(1e39), backend.asarray(with_value(1e39))):
        with np.errstate(over="ignore"):  # array-api-strict is NumPy underneath, and warns
            refused(model(backend, dtype="float32"), x, Y, r"found inf at X\[7, 2\].*of float32")


def test_shapes_of_the_librarys_own_arrays(backend: Any) -> None:
    refused(model(backend), backend.asarray(X[:, :2]), Y, r"found shape \(12, 2\)")
    refused(model(backend), backend.asarray(X[0]), Y, r"found shape \(3,\)")


# Targets


@pytest.mark.parametrize(
    ("place", "value"), [(0, -1), (5, CLASSES), (11, 2**40), (3, -(2**63)), (4, 255)]
)
def test_labels_out_of_range(place: int, value: int) -> None:
    y = Y.astype(np.int64)
    y[place] = value
    refused(model(), X, y, rf"y: found {value} at y\[{place}\].*0 to 3.*4 outputs")


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (Y.astype(float), r"y: found float64.*4 outputs.*astype\(int\)"),
        (Y + 0.5, "y: found float64"),
        (Y > 1, "y: found bool"),
        (Y.astype(str), "y: found dtype <U"),
        (Y.astype(complex), "y: found dtype complex"),
        (Y[:-1], r"y: found shape \(11,\).*12 rows"),
        (np.eye(CLASSES)[Y][:-1], r"y: found shape \(11, 4\).*12 rows"),
        (np.eye(3)[Y % 3], r"y: found shape \(12, 3\).*4 outputs"),
        (np.ones((ROWS, CLASSES, 1)), r"y: found shape \(12, 4, 1\)"),
        (3, r"y: found shape \(\)"),
        (np.full((ROWS, CLASSES), np.nan), r"y: found nan at y\[0, 0\]"),
        (np.where(np.eye(CLASSES)[Y] == 1, np.inf, 0.5), r"y: found inf at y\[0, 0\]"),
    ],
)
def test_bad_targets(y: Any, match: str) -> None:
    refused(model(), X, y, match)


@pytest.mark.parametrize(
    ("loss", "y", "match"),
    [
        ("mse", np.where(np.arange(ROWS * 4).reshape(ROWS, 4) == 9, np.nan, 0.5), r"y\[2, 1\]"),
        ("poisson", np.where(np.arange(ROWS * 4).reshape(ROWS, 4) == 9, -1.0, 2.0), r"y\[2, 1\]"),
        ("binary_cross_entropy", np.full((ROWS, 4), 1.5), r"found 1.5 at y\[0, 0\]"),
        ("categorical_cross_entropy", np.full((ROWS, 4), 0.5), "row 0 sums to 2"),
        ("categorical_cross_entropy", np.eye(4)[Y] * -1.0, r"y\[0, 0\]"),
        ("sparse_categorical_cross_entropy", np.full((ROWS, 4), 0.25), "one_hot|with one 1|takes"),
        ("poisson", Y, "takes"),
    ],
)
def test_targets_that_the_loss_cannot_take(loss: str, y: Any, match: str) -> None:
    refused(model(loss=loss), X, y, match)


def test_bool_labels_are_two_classes() -> None:
    y = Y > 1
    mlp = fitted(y=y, outputs=2)
    assert mlp.task.kind == "labels"
    assert set(mlp.predict(X)) <= {0, 1}
    assert fitted(y=y, outputs=1).task.kind == "binary"


def test_counts_that_look_like_one_hot_rows_are_counts() -> None:
    """Whether a batch of counts has single ones by chance must not decide what they are."""
    y = np.eye(CLASSES)[Y]
    assert kind_of(y, CLASSES, "poisson") == "values"
    assert fitted(y=y, loss="poisson").task.metric.name == "r2"


@pytest.mark.parametrize(
    ("y", "outputs", "kind", "loss"),
    [
        (Y, CLASSES, "labels", "sparse_categorical_cross_entropy"),
        (Y.reshape(-1, 1) % 2, 1, "binary", "binary_cross_entropy"),
        (Y % 2, 1, "binary", "binary_cross_entropy"),
        (np.eye(CLASSES)[Y], CLASSES, "one_hot", "categorical_cross_entropy"),
        (np.eye(CLASSES, dtype=int)[Y], CLASSES, "one_hot", "categorical_cross_entropy"),
        (np.tri(CLASSES)[Y], CLASSES, "multilabel", "binary_cross_entropy"),
        (X[:, 0], 1, "values", "mse"),
        (X[:, :1], 1, "values", "mse"),
        (X[:, :2], 2, "values", "mse"),
    ],
)
def test_what_follows_from_the_targets(
    backend: Any, y: np.ndarray, outputs: int, kind: str, loss: str
) -> None:
    for given_y in (y, backend.asarray(y)):
        mlp = model(backend, outputs)
        settle(mlp, X, given_y)
        assert (mlp.task.kind, mlp.task.loss.name) == (kind, loss)


# Sample weights and the other arguments of fit


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (np.ones(ROWS - 1), r"sample_weight: found shape \(11,\).*\(12,\)"),
        (np.ones((ROWS, 1)), r"sample_weight: found shape \(12, 1\)"),
        (2.0, r"sample_weight: found shape \(\)"),
        (-np.ones(ROWS), "none negative"),
        (np.zeros(ROWS), "not all zero"),
        (np.full(ROWS, np.nan), "finite"),
        (np.full(ROWS, np.inf), "finite"),
        (["a"] * ROWS, "sample_weight: found dtype"),
    ],
)
def test_bad_sample_weights(value: Any, match: str) -> None:
    refused(model(), X, Y, match, sample_weight=value)


def test_sample_weights_whose_rows_are_all_held_out() -> None:
    _, held = split(model().seed, ROWS, 0.25)
    weight = np.zeros(ROWS)
    weight[held] = 1.0
    match = "only zeros in the rows that validation_split leaves"
    refused(model(), X, Y, match, sample_weight=weight, validation_split=0.25)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"batch_size": 2.5}, "batch_size: found 2.5"),
        ({"batch_size": True}, "batch_size: found True"),
        ({"batch_size": -3}, "batch_size: found -3"),
        ({"batch_size": "all"}, "batch_size: found 'all'"),
        ({"optimizer": "adamm"}, "optimizer 'adamm'.*Did you mean 'adam"),
        ({"validation_data": (X[:, :2], Y)}, r"validation X: found shape \(12, 2\)"),
        ({"validation_data": (X, Y[:3])}, r"validation y: found shape \(3,\)"),
        ({"validation_data": (X, Y + 1)}, r"validation y: found 4"),
        ({"validation_data": (with_value(np.nan), Y)}, r"validation X: found nan at"),
        ({"validation_data": X}, "validation_data"),
        *(
            ({"validation_split": share}, "validation_split: found")
            for share in (None, True, "half", [0.5], X, np.nan, np.inf, -0.1, 1.0, 2, 1e-9)
        ),
        ({"shuffle": "abc"}, "shuffle: found 'abc'; expected a bool, 'full' or a function"),
        ({"shuffle": 3}, "shuffle: found 3"),
        ({"callbacks": None}, "callbacks: found None; expected a list of objects"),
        ({"callbacks": [None]}, "callbacks: found None"),
        ({"callbacks": xpmlp.EarlyStopping}, "callbacks: found <class"),
    ],
)
def test_bad_arguments_of_fit(options: dict[str, Any], match: str) -> None:
    refused(model(), X, Y, match, **options)


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "ten", None])
def test_bad_epochs(epochs: Any) -> None:
    with pytest.raises(XpmlpError, match="epochs: found"):
        model().fit(X, Y, epochs=epochs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"activation": "rellu"}, "activation 'rellu'.*Did you mean 'relu'"),
        ({"loss": "msee"}, "loss 'msee'.*Did you mean 'mse'"),
        ({"targets": "lables"}, "unknown targets 'lables'.*Did you mean 'labels'"),
        ({"targets": 3}, "unknown targets 3.*Known: binary, labels, multilabel, one_hot, values"),
        ({"targets": ""}, "unknown targets ''"),
        ({"targets": "values", "loss": "binary_cross_entropy"}, "takes .* found values"),
        ({"output": "softmx"}, "activation 'softmx'.*Did you mean 'softmax'"),
        ({"initializer": "glorott"}, "initializer 'glorott'.*Did you mean 'glorot'"),
        ({"normalization": "bach"}, "normalization 'bach'.*Did you mean 'batch'"),
        ({"scaling": "standart"}, "scaling 'standart'.*Did you mean 'standard'"),
        ({"dtype": "float46"}, "dtype 'float46'.*Did you mean 'float(64|32)'"),
        ({"backend": "nunpy"}, "backend 'nunpy'.*Did you mean 'numpy'"),
        ({"dropout": 1.0}, "dropout: found 1.0"),
        ({"dropout": -0.1}, "dropout: found -0.1"),
        ({"dropout": np.float32(1.5)}, "dropout: found .*1.5"),
        ({"dropout": [0.1]}, "dropout: found 1 values"),
        ({"input_dropout": np.nan}, "dropout: found nan"),
        ({"l1": -1.0}, "l1: found -1.0"),
        ({"l2": np.inf}, "l2: found inf"),
        ({"max_norm": -1.0}, "max_norm: found -1.0"),
        ({"l1": "a"}, "l1: found 'a'; expected a number"),
        ({"max_norm": "x"}, "max_norm: found 'x'"),
        ({"dropout": None}, "dropout: found None; expected one for all"),
        ({"sizes": [3, 10**30, 4]}, "sizes: found"),
        ({"sizes": [3, np.inf, 4]}, "sizes: found"),
        ({"sizes": [3]}, "sizes: found"),
        ({"sizes": [3, 0, 1]}, "sizes: found"),
        ({"sizes": [3, 2.5, 1]}, "sizes: found"),
        ({"sizes": "abc"}, "sizes: found"),
        ({"sizes": 3}, "sizes: found"),
        ({"sizes": [3, 4, 5, 1], "residual": True}, "residual"),
        ({"seed": -1}, "seed: found -1"),
        ({"seed": 1.5}, "seed: found 1.5"),
        ({"seed": "lucky"}, "seed: found 'lucky'"),
    ],
)
def test_bad_arguments_of_a_model(options: dict[str, Any], match: str) -> None:
    options = {"sizes": [3, 5, 5, 2], "backend": "numpy"} | options
    with pytest.raises(XpmlpError, match=match) as raised:
        xpmlp.MLP(**options)
    assert isinstance(raised.value, ValueError | TypeError)


def test_a_model_must_be_trained_before_use() -> None:
    for call in (model().predict, model().predict_proba, lambda x: model().evaluate(x, Y)):
        with pytest.raises(InvalidValueError, match=r"fit\(X, y\) first"):
            call(X)


# Arrays of other libraries: those that lie elsewhere; test_dlpack.py has the others


class Elsewhere:
    """An array of another library on a GPU, as far as anybody looks before it is refused."""

    device, dtype, shape, ndim = "cuda:0", np.dtype("float64"), X.shape, 2

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return np

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)

    def __dlpack__(self, **options: Any) -> Any:
        raise AssertionError("nobody asked where it lies")


class Nowhere(Elsewhere):
    """One whose library cannot say where it lies: over several devices, or not computed yet."""

    def __dlpack_device__(self) -> tuple[int, int]:
        raise BufferError("it is on several devices")


class Without(Elsewhere):
    """One of a library without DLPack."""

    __dlpack_device__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Elsewhere, Nowhere, Without])
def test_arrays_that_lie_elsewhere_are_refused_by_name(backend: Any, kind: Any) -> None:
    """Both places are named, and the way out."""
    if "gpu" in backend.capabilities:
        pytest.skip("this device may be where it lies")
    theirs, library, mlp = kind(), kind.__module__, fitted(backend)
    match = rf"X: found a {library}\.{kind.__name__} on cuda:0.*{backend.name} on .*mlp\.to\('"
    refused(model(backend), theirs, Y, match)
    refused(model(backend), X, theirs, rf"y: found a {library}\.")
    refused(model(backend), X, Y, rf"found a {library}", sample_weight=theirs)
    refused(model(backend), X, Y, "validation X: found", validation_data=(theirs, Y))
    refused(model(backend), X, Y, "validation y: found", validation_data=(X, theirs))
    for call in (mlp.predict, mlp.predict_proba, lambda x: mlp.evaluate(x, Y)):
        with pytest.raises(InvalidTypeError, match=rf"X: found a {library}\."):
            call(theirs)


def test_strict_arrays_of_another_device_are_refused() -> None:
    backend = make_backend("strict")
    elsewhere = backend.xp.asarray(X.tolist(), device=backend.xp.Device("CPU_DEVICE"))
    refused(model(backend), elsewhere, Y, r"X: found a array_api_strict.*CPU_DEVICE.*device1")


# Taken over


def test_lists_are_accepted(backend: Any) -> None:
    by_list = fitted(backend, X.tolist(), Y.tolist())
    by_array = fitted(backend)
    for name, value in by_array.state_dict().items():
        np.testing.assert_array_equal(by_list.state_dict()[name], value)
    assert isinstance(by_list.predict(X.tolist()), np.ndarray)


@pytest.mark.parametrize(
    ("y", "outputs", "shape", "probabilities"),
    [
        (Y, CLASSES, (ROWS,), (ROWS, CLASSES)),
        (np.eye(CLASSES)[Y], CLASSES, (ROWS,), (ROWS, CLASSES)),
        (Y % 2, 1, (ROWS,), (ROWS, 2)),
        (np.tri(CLASSES)[Y], CLASSES, (ROWS, CLASSES), (ROWS, CLASSES)),
        (X[:, 0], 1, (ROWS,), None),
        (X[:, :2], 2, (ROWS, 2), None),
    ],
    ids=["labels", "one-hot", "binary", "multilabel", "value", "values"],
)
def test_results_follow_the_input(
    backend: Any, y: Any, outputs: int, shape: tuple[int, ...], probabilities: Any
) -> None:
    mlp = model(backend, outputs)
    settle(mlp, X, y)
    theirs = backend.asarray(X)
    calls = [(mlp.predict, shape)] + ([(mlp.predict_proba, probabilities)] * bool(probabilities))
    for call, expected in calls:
        from_host, from_device = call(X), call(theirs)
        assert isinstance(from_host, np.ndarray)
        assert backend.owns(from_device)
        assert from_host.shape == tuple(from_device.shape) == expected
        np.testing.assert_array_equal(from_host, backend.to_numpy(from_device))
    if probabilities is None:
        with pytest.raises(InvalidValueError, match="predicts values"):
            mlp.predict_proba(X)
    elif mlp.task.kind != "multilabel":
        assert_close(mlp.predict_proba(X).sum(axis=1), np.ones(ROWS), atol=1e-14)


def test_the_librarys_own_arrays_train_like_numpys(backend: Any) -> None:
    ours = fitted(backend, backend.asarray(X), backend.asarray(Y))
    theirs = fitted(backend)
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], value)


@pytest.mark.parametrize("order", ["transposed", "every other row", "reversed", "big-endian"])
def test_arrays_of_any_memory_order(backend: Any, order: str) -> None:
    x = {
        "transposed": np.asfortranarray(X),
        "every other row": np.repeat(X, 2, axis=0)[::2],
        "reversed": X[::-1].copy()[::-1],
        "big-endian": X.astype(">f8"),
    }[order]
    mlp = fitted(backend, x)
    for name, value in fitted(backend).state_dict().items():
        np.testing.assert_array_equal(mlp.state_dict()[name], value)
    np.testing.assert_array_equal(mlp.predict(x), mlp.predict(X))


def test_more_rows_than_fit_in_one_pass(backend: Any) -> None:
    mlp = fitted(backend)
    many = np.tile(X, (700, 1))  # 8,400 rows
    assert_close(mlp.predict_proba(many), np.tile(mlp.predict_proba(X), (700, 1)), atol=1e-14)
    found = mlp.evaluate(many, np.tile(Y, 700))
    assert found["loss"] == pytest.approx(mlp.evaluate(X, Y)["loss"], rel=1e-12)


# Scaling


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (ROWS, COLUMNS)).astype(np.uint8)


def test_uint8_is_divided_by_255(backend: Any) -> None:
    by_pixels, by_hand = fitted(backend, pixels()), fitted(backend, pixels() / 255)
    for name, value in by_hand.state_dict().items():
        assert_close(by_pixels.state_dict()[name], value, atol=1e-14)
    assert_close(
        by_pixels.predict_proba(pixels(1)), by_hand.predict_proba(pixels(1) / 255), atol=1e-14
    )


def test_kinds_of_input_are_not_mixed(backend: Any) -> None:
    calls = ("predict", "predict_proba")
    for mlp, x, match in (
        (fitted(backend, pixels()), pixels() / 255, "X: found float64.*uint8"),
        (fitted(backend, pixels()), pixels().astype(np.int32), "X: found int32.*uint8"),
        (fitted(backend), pixels(), "X: found uint8"),
    ):
        for name in calls:
            with pytest.raises(InvalidTypeError, match=match):
                getattr(mlp, name)(x)
        with pytest.raises(InvalidTypeError, match=match):
            mlp.fit(x, Y, epochs=1)
        with pytest.raises(InvalidTypeError, match=match):
            mlp.evaluate(x, Y)


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
def test_without_scaling_uint8_is_a_number_like_any_other() -> None:
    a, b = (fitted(x=x, scaling=None) for x in (pixels(), pixels().astype(float)))
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(value, b.state_dict()[name])
    np.testing.assert_array_equal(a.predict_proba(pixels()), a.predict_proba(pixels() / 1.0))


def test_standard_scaling_is_that_of_the_first_fit(backend: Any) -> None:
    x = X * np.array([1e3, 1e-3, 0.0]) + np.array([5.0, -7.0, 3.0])
    std = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    by_hand = (x - x.mean(axis=0)) / std
    mlp, plain = fitted(backend, x, scaling="standard"), fitted(backend, by_hand)
    assert_close(mlp.predict_proba(x), plain.predict_proba(by_hand), atol=1e-10)
    shift = mlp.scaling.shift.copy()
    mlp.fit(x + 100, Y, epochs=1)
    np.testing.assert_array_equal(mlp.scaling.shift, shift)


# Property tests


SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=3).map(tuple)
DTYPES = st.sampled_from(
    [
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64", "longdouble", "complex64", "<U3", "object"),
    ]
)


@settings(derandomize=True, deadline=None)
@given(shape=SHAPES, dtype=DTYPES, model_dtype=st.sampled_from(["float32", "float64"]))
def test_examples_of_any_shape_and_dtype(shape: Any, dtype: str, model_dtype: str) -> None:
    """Taken over exactly if they are a matrix of real numbers of the right width, else refused."""
    backend = make_backend("numpy")
    x = np.ones(shape, dtype=dtype)
    numbers = x.dtype.kind in "buif"
    if numbers and len(shape) == 2 and shape[0] > 0 and shape[1] == COLUMNS:
        kept = rows(backend, x, COLUMNS, model_dtype).array
        assert kept.shape == shape
        np.testing.assert_array_equal(kept.astype(float), x.astype(float))
        return
    error = InvalidValueError if numbers else InvalidTypeError
    with pytest.raises(error, match=r"^X: ") as raised:
        rows(backend, x, COLUMNS, model_dtype)
    if numbers and shape != (0, COLUMNS):
        assert re.search(re.escape(str(shape)), str(raised.value))


@settings(derandomize=True, deadline=None)
@given(
    labels=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 6), min_size=1, max_size=6)
)
def test_any_labels(labels: list[int]) -> None:
    """Encoded as they are, or refused with the first wrong one and its place."""
    mlp = model()
    y = np.array(labels, dtype=np.int64)
    wrong = [i for i, label in enumerate(labels) if not 0 <= label < CLASSES]
    if wrong:
        match = rf"y: found {labels[wrong[0]]} at y\[{wrong[0]}\]"
        with pytest.raises(InvalidValueError, match=match):
            settle(mlp, X[: len(y)], y)
    else:
        _, target = settle(mlp, np.zeros((len(y), COLUMNS)), y)
        assert target.dtype == np.int32
        np.testing.assert_array_equal(target, y)


@settings(derandomize=True, deadline=None)
@given(shape=SHAPES, dtype=DTYPES, outputs=st.integers(1, 4))
def test_targets_of_any_shape_and_dtype(shape: Any, dtype: str, outputs: int) -> None:
    """Either understood or refused by an error of ours that names y; never another error."""
    y = np.zeros(shape, dtype=dtype)
    mlp = model(outputs=outputs)
    x = np.zeros((max(shape[0] if shape else 1, 1), COLUMNS))
    error, target = None, None
    try:
        _, target = settle(mlp, x, y)
    except XpmlpError as raised:
        error = raised
    if error is None:
        assert y.dtype.kind in "buif"
        assert target.shape in ((len(x),), (len(x), outputs))
        assert shape[0] == len(x)
    else:
        assert str(error).startswith("y: ")
        assert isinstance(error, ValueError | TypeError)


@settings(derandomize=True, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=5),
    extra=st.integers(0, 1),
)
def test_any_sample_weights(values: list[float], extra: int) -> None:
    backend, given_weights = make_backend("numpy"), np.array(values)
    good = np.isfinite(given_weights).all() and given_weights.min() >= 0 < given_weights.max()
    if good and not extra:
        kept = weights(backend, given_weights, len(values), "float64")
        np.testing.assert_array_equal(kept, given_weights)
    else:
        with pytest.raises(InvalidValueError, match="sample_weight"):
            weights(backend, given_weights, len(values) + extra, "float64")
