"""Whatever is passed as data: taken as it is, or refused by name before anything is computed.

After a refusal the model is the same in every bit: weights, moments, history, task and scaling.
What must be taken and what refused is said here by ``Entry.takes``, apart from the code.
"""

import datetime
import decimal
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xpmlp
from xpmlp.errors import XpmlpError
from xpmlp.model import predict as inference
from xpmlp.training import loop as training

ROWS, COLUMNS, CLASSES = 6, 3, 4
X = np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
Y = np.arange(ROWS) % CLASSES
VALUES = np.random.default_rng(1).standard_normal((ROWS, CLASSES))
W = (COLUMNS, 5)


class Entry(NamedTuple):
    """A door for data: how to go through it, and what it takes."""

    call: Callable[[xpmlp.MLP, Any], Any]
    name: str
    """What messages call it."""
    expected: str
    """The shape that a message about a wrong one gives."""
    fits: Callable[[tuple[int, ...]], bool]
    takes: Callable[[np.ndarray], bool] = lambda _: True
    """Whether it takes finite real numbers of a shape that fits."""


def fit(mlp: xpmlp.MLP, x: Any = X, y: Any = Y, **options: Any) -> None:
    mlp.fit(x, y, epochs=1, batch_size=4, **options)


def of_examples(call: Callable[[xpmlp.MLP, Any], Any], name: str = "X") -> Entry:
    """As many as the targets."""
    return Entry(call, name, f"(n, {COLUMNS})", lambda shape: shape == X.shape)


def of_more_examples(call: Callable[[xpmlp.MLP, Any], Any]) -> Entry:
    """Of any number."""
    entry = of_examples(call)
    return entry._replace(fits=lambda shape: len(shape) == 2 and shape[0] > 0 and shape[1] == 3)


def are_labels(y: np.ndarray) -> bool:
    return y.dtype.kind in "ui" and bool(((y >= 0) & (y < CLASSES)).all())


def is_class_per_row(y: np.ndarray) -> bool:
    """For a model that has been trained on labels."""
    if y.ndim == 1:
        return are_labels(y)
    return bool(((y == 0) | (y == 1)).all() and ((y == 1).sum(axis=1) == 1).all())


def of_targets(call: Callable[[xpmlp.MLP, Any], Any], name: str = "y", **more: Any) -> Entry:
    expected, shapes = f"({ROWS}, {CLASSES}) or ({ROWS},)", (Y.shape, VALUES.shape)
    return Entry(call, name, expected, lambda shape: shape in shapes, **more)


ENTRIES = {
    "fit X": of_examples(fit),
    "fit y": of_targets(lambda m, v: fit(m, y=v), takes=lambda y: y.ndim == 2 or are_labels(y)),
    "sample_weight": Entry(
        lambda m, v: fit(m, sample_weight=v),
        "sample_weight",
        f"({ROWS},)",
        lambda shape: shape == (ROWS,),
        lambda w: bool((w >= 0).all() and (w > 0).any()),
    ),
    "validation X": of_examples(lambda m, v: fit(m, validation_data=(v, Y)), "validation X"),
    "validation y": of_targets(
        lambda m, v: fit(m, validation_data=(X, v)), "validation y", takes=is_class_per_row
    ),
    "predict": of_more_examples(lambda m, v: m.predict(v)),
    "predict_proba": of_more_examples(lambda m, v: m.predict_proba(v)),
    "evaluate X": of_examples(lambda m, v: m.evaluate(v, Y)),
    "evaluate y": of_targets(lambda m, v: m.evaluate(X, v), takes=is_class_per_row),
    "load_state_dict": Entry(
        lambda m, v: m.load_state_dict(m.state_dict() | {"dense1.W": v}),
        "dense1.W",
        str(W),
        lambda shape: shape == W,
    ),
}


# What is passed


class Unwilling:
    """Something that looks like an array and cannot be one."""

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("no array today")


NEVER_DATA = [
    *(None, Ellipsis, "abc", b"abc", {}, {"a": 1}, object(), Unwilling(), 1, 2.5, True, 10**30),
    *([], [[1.0, 2.0], [3.0]], [None] * ROWS, ["1"] * ROWS, [10**30] * ROWS, [object()] * ROWS),
    *([[2**64] * COLUMNS] * ROWS, [datetime.date(2024, 2, 29)] * ROWS, [decimal.Decimal(1)] * ROWS),
    *(range(ROWS + 1), [[[1.0]]] * ROWS, memoryview(b"abc"), slice(3)),
    np.ma.masked_array(np.ones(ROWS), np.arange(ROWS) == 2),
    np.ma.masked_array(X, np.eye(ROWS, COLUMNS)),
    np.ma.masked_array(VALUES, np.eye(ROWS, CLASSES)),
    np.ma.masked_array(np.ones(W), np.eye(*W)),
]
NUMBERS = "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 >i4 float16 float32 float64 >f4"
OTHERS = "complex64 complex128 clongdouble <U3 S3 object datetime64[s] timedelta64[s] V4 f8,i4"
SHAPES = [Y.shape, X.shape, VALUES.shape, W, (ROWS, 1), (1, COLUMNS), (0,), (0, COLUMNS)]
DTYPES = st.sampled_from([*NUMBERS.split(), "longdouble", *OTHERS.split()])
ODD = {"i": [-1, 4, 2**40], "u": [4, 200], "f": [np.nan, np.inf, -np.inf, -1.0, 0.5, 4.0]}
"""Numbers that some entries refuse, by kind of dtype."""


@st.composite
def arrays(draw: Any, entry: Entry) -> np.ndarray:
    """Small whole numbers, zeros where the dtype has none, in one place perhaps an odd one."""
    shape = draw(
        st.sampled_from([shape for shape in SHAPES if entry.fits(shape)])
        | st.sampled_from(SHAPES)
        | st.lists(st.integers(0, ROWS + 1), max_size=4).map(tuple)
    )
    dtype = np.dtype(draw(DTYPES))
    x = np.zeros(shape, dtype)
    if dtype.kind in "buif":
        x[...] = np.arange(x.size).reshape(shape) % CLASSES
    if dtype.kind in ODD and x.size:
        odd = draw(st.none() | st.sampled_from(ODD[dtype.kind]))
        if odd is not None:
            x.flat[draw(st.integers(0, x.size - 1))] = np.array(odd).astype(dtype)
    return x


def is_real(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in "buif"


def is_taken(entry: Entry, value: Any) -> bool:
    if not is_real(value):
        return value is None and entry.name == "sample_weight"
    return entry.fits(value.shape) and bool(np.isfinite(value).all()) and entry.takes(value)


# What comes of it


def fitted(backend: Any, dtype: str = "float64") -> xpmlp.MLP:
    """A model with moments, running statistics and a history to lose."""
    mlp = xpmlp.MLP(
        [COLUMNS, 5, CLASSES],
        backend=backend,
        dtype=dtype,
        normalization="batch",
        scaling=None,
        seed=0,
    )
    fit(mlp, validation_data=(X, Y))
    return mlp


@contextmanager
def computing() -> Iterator[list[str]]:
    """Collect what is computed meanwhile."""
    begun: list[str] = []
    with ExitStack() as stack:
        for place, name in ((training.Training, "run"), (inference, "_in_batches")):
            real = getattr(place, name)

            def noted(*a: Any, name: str = name, real: Any = real, **o: Any) -> Any:
                begun.append(name)
                return real(*a, **o)

            stack.enter_context(patch.object(place, name, noted))
        yield begun


def refusal(mlp: xpmlp.MLP, call: Callable[[], Any]) -> XpmlpError | None:
    """Return the error, one of ours and a builtin, that came before anything was computed."""
    before, refused = pickle.dumps(mlp), None
    with computing() as begun:
        try:
            call()
        except XpmlpError as error:
            refused = error
    if refused is not None:
        assert isinstance(refused, ValueError | TypeError)
        assert begun == []
        assert pickle.dumps(mlp) == before
    return refused


def pass_any_data(mlp: xpmlp.MLP, name: str, examples: int) -> np.ndarray:
    """Return how many were refused and how many taken."""
    entry, outcomes = ENTRIES[name], np.zeros(2, dtype=int)

    @settings(max_examples=examples, derandomize=True, deadline=None)
    @given(value=arrays(entry) | arrays(entry) | st.sampled_from(NEVER_DATA))
    def check(value: Any) -> None:
        error = refusal(mlp, lambda: entry.call(mlp, value))
        assert (error is None) == is_taken(entry, value)
        outcomes[int(error is None)] += 1
        if error is None:
            return
        message = str(error)
        if is_real(value) and np.isfinite(value).all() and not entry.fits(value.shape):
            both = (entry.expected, str(X.shape), str(Y.shape))  # or the one that it goes with
            assert str(value.shape) in message
            assert any(shape in message for shape in both)
        else:
            assert message.startswith(f"{entry.name}:")

    check()
    return outcomes


def test_what_is_computed_is_seen() -> None:
    """Or the tests below would see nothing by looking at the wrong place."""
    with computing() as begun:
        mlp = fitted("numpy")
        assert "run" in begun
        for call in (mlp.predict, mlp.predict_proba, lambda x: mlp.evaluate(x, Y)):
            begun.clear()
            call(X)
            assert begun == ["_in_batches"]


@pytest.mark.parametrize("name", ENTRIES)
def test_any_data(name: str, draws: Any, tried: Any) -> None:
    refused, taken = pass_any_data(fitted("numpy"), name, draws(30, 200, 5000))
    tried(f"{refused + taken} data for {name}: {taken} taken, {refused} refused, 0 otherwise")


def test_any_data_on_every_backend(request: Any, backend: Any, draws: Any, tried: Any) -> None:
    mlp = fitted(backend)
    outcomes = [pass_any_data(mlp, name, draws(5, 20, 200)) for name in ENTRIES]
    refused, taken = sum(outcomes)
    library = request.node.callspec.params["backend"]
    tried(f"{refused + taken} data on {library}: {taken} taken, {refused} refused, 0 otherwise")


@pytest.mark.parametrize("whole", [*NEVER_DATA, X, [("dense1.W", np.ones(W))], {1: X, "a": X}])
def test_what_is_no_state(whole: Any) -> None:
    mlp = fitted("numpy")
    error = refusal(mlp, lambda: mlp.load_state_dict(whole))
    assert str(error).startswith("parameters: ")
