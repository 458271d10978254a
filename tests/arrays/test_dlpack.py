"""Arrays of other libraries on the model's device: the same memory in, the same library out."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend

import xpmlp
from xpmlp.arrays.checks import to_host
from xpmlp.arrays.dlpack import give_back, import_array, refusal, shares_memory
from xpmlp.arrays.rows import rows
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.training.prepare import settle

COLUMNS, CLASSES, ROWS = 3, 4, 64
X = np.random.default_rng(0).standard_normal((ROWS, COLUMNS))
Y = np.arange(ROWS) % CLASSES
LIBRARIES = ("strict", "torch", "jax")


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest, backend: Any) -> Any:
    """Another library than the backend's, on the CPU."""
    if request.param == backend.name or "gpu" in backend.capabilities:
        pytest.skip("its own arrays, or another device")
    in_the_hosts_memory(backend)
    return make_backend(request.param)


def in_the_hosts_memory(backend: Any) -> None:
    if backend.name == "dpnp":
        pytest.skip("dpnp's arrays are on a device, also on a CPU: test_dpnp.py")


@pytest.fixture
def torch(torch_backend: Any) -> Any:
    return torch_backend.torch


def address(x: Any) -> int:
    """Where an array's first number is."""
    if hasattr(x, "data_ptr"):
        return int(x.data_ptr())
    host = x if isinstance(x, np.ndarray) else np.from_dlpack(x)
    return int(host.__array_interface__["data"][0])


def model(backend: Any, outputs: int = CLASSES, **options: Any) -> xpmlp.MLP:
    options = {"dtype": "float64", "seed": 0} | options
    return xpmlp.MLP([COLUMNS, 5, outputs], backend=backend, **options)


def fitted(backend: Any, x: Any = X, y: Any = Y, **options: Any) -> xpmlp.MLP:
    mlp = model(backend)
    mlp.fit(x, y, epochs=2, batch_size=16, **options)
    return mlp


def host(x: Any) -> np.ndarray:
    return np.array(x if isinstance(x, np.ndarray) else np.from_dlpack(x))


def aligned() -> np.ndarray:
    """Numbers in memory that starts where JAX wants it, if it is to share it."""
    room = np.zeros(ROWS * COLUMNS + 8)
    start = -(room.__array_interface__["data"][0] // 8) % 8
    made = room[start : start + ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    made[...] = X
    return made


# On the same memory


def test_examples_stay_where_they_are(backend: Any, library: Any) -> None:
    theirs = library.asarray(X)
    if library.name == "strict":
        theirs = library.xp.from_dlpack(aligned(), device=library.device)
    ours = rows(backend, theirs, COLUMNS, "float64").array
    assert backend.owns(ours)
    assert backend.xp.asarray(ours).shape == X.shape
    assert_close(backend.to_numpy(ours), X)
    if backend.name != "numpy" or type(backend).__name__ != "ReadonlyNumpy":  # which copies all
        assert address(ours) == address(theirs)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32"])
def test_narrow_dtypes_stay_what_they_are(backend: Any, library: Any, dtype: str) -> None:
    values = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(dtype)
    ours = rows(backend, library.asarray(values), COLUMNS, "float64").array
    assert str(ours.dtype).endswith(dtype)
    np.testing.assert_array_equal(backend.to_numpy(ours), values)


def test_a_training_is_the_same_as_with_numpy(backend: Any, library: Any) -> None:
    """With examples, targets, weights and validation data all of the other library."""
    weight, held = np.linspace(0.5, 2, ROWS), (X[:20] + 0.1, Y[:20])
    take = library.asarray
    expected = fitted(backend, sample_weight=weight, validation_data=held)
    theirs = take(X), take(Y), take(weight), take(held[0]), take(held[1])
    before = [host(x) for x in theirs]
    mlp = fitted(
        backend, *theirs[:2], sample_weight=theirs[2], validation_data=(theirs[3], theirs[4])
    )
    for name, value in expected.state_dict().items():
        np.testing.assert_array_equal(mlp.state_dict()[name], value)
    assert mlp.evaluate(theirs[0], theirs[1]) == expected.evaluate(X, Y)
    mlp.predict(theirs[0])
    for x, was in zip(theirs, before, strict=True):  # nothing was written to
        np.testing.assert_array_equal(host(x), was)


@pytest.mark.parametrize("outputs", [CLASSES, 1])
def test_results_come_back_in_the_library_of_the_input(
    backend: Any, library: Any, outputs: int
) -> None:
    mlp = model(backend, outputs)
    mlp.fit(X, Y % max(outputs, 2), epochs=1)
    theirs = library.asarray(X)
    for call in (mlp.predict, mlp.predict_proba):
        found, expected = call(theirs), call(X)
        assert library.owns(found)
        assert isinstance(expected, np.ndarray)
        assert tuple(found.shape) == expected.shape
        np.testing.assert_array_equal(library.to_numpy(found), expected)


def test_results_are_on_the_memory_they_were_computed_in(backend: Any, library: Any) -> None:
    if "strict" in (backend.name, library.name) or type(backend).__name__ == "ReadonlyNumpy":
        pytest.skip("strict copies between its devices; both lie where JAX does not share memory")
    result = backend.asarray(aligned())
    given = give_back(backend, library.asarray(X), result)
    assert library.owns(given)
    assert address(given) == address(result)


def test_values_come_back_as_values(backend: Any, library: Any) -> None:
    mlp = model(backend, 2, scaling="standard")
    mlp.fit(X, X[:, :2], epochs=1)
    found = mlp.predict(library.asarray(X))
    assert library.owns(found)
    np.testing.assert_array_equal(library.to_numpy(found), mlp.predict(X))


# What the libraries do not take


@pytest.mark.parametrize("order", ["transposed", "every other row", "reversed", "repeated"])
def test_any_memory_order(backend: Any, library: Any, order: str) -> None:
    """Where the model's library cannot take it over as it lies, a copy is: never wrong numbers."""
    if library.name == "jax" or (library.name == "torch" and order == "reversed"):
        pytest.skip("this library has no such arrays")
    take = library.asarray
    x, expected = {
        "transposed": lambda: (take(X.T.copy()).T, X),
        "every other row": lambda: (take(np.repeat(X, 2, axis=0))[::2, :], X),
        "reversed": lambda: (take(X[::-1].copy())[::-1, :], X),
        "repeated": lambda: (
            library.xp.broadcast_to(take(X[:1]), X.shape),
            np.tile(X[0], (ROWS, 1)),
        ),
    }[order]()
    ours = rows(backend, x, COLUMNS, "float64").array
    np.testing.assert_array_equal(backend.to_numpy(ours), expected)
    mlp = model(backend)
    settle(mlp, expected, Y)
    np.testing.assert_array_equal(library.to_numpy(mlp.predict(x)), mlp.predict(expected))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e5m2"])
@pytest.mark.parametrize("name", ["torch", "jax"])
def test_floats_that_not_every_library_knows(backend: Any, name: str, dtype: str) -> None:
    """As the model's dtype for examples and exactly for targets: all are float32's."""
    library = make_backend(name)
    if "gpu" in backend.capabilities or library.name == backend.name:
        pytest.skip("its own arrays, or another device")
    in_the_hosts_memory(backend)
    values = np.array([[0.5, -2.0, 3.5], [1.0, 0.25, -0.125]])
    theirs = library.asarray(values, "float32")
    theirs = library.xp.astype(theirs, getattr(library.xp, dtype))
    ours = rows(backend, theirs, COLUMNS, "float64").array
    assert str(ours.dtype).endswith("float64")
    np.testing.assert_array_equal(backend.to_numpy(ours), values)
    targets = to_host(backend, theirs, "y")
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, values)


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float64"])
def test_wider_examples_become_the_models_dtype(backend: Any, library: Any, dtype: str) -> None:
    values = np.array([[2**15 + 1, 0, 7]]).astype(dtype)
    theirs = library.xp.astype(library.asarray(values.astype("int32")), getattr(library.xp, dtype))
    ours = rows(backend, theirs, COLUMNS, "float32").array
    assert str(ours.dtype).endswith("float32")
    np.testing.assert_array_equal(backend.to_numpy(ours), values)


def test_labels_of_64_bits_are_not_cut(backend: Any, library: Any) -> None:
    y = np.full(ROWS, 2**32, dtype=np.int64)  # 0, if it were
    with pytest.raises(InvalidValueError, match=rf"y: found {2**32} at y\[0\]"):
        model(backend).fit(X, library.asarray(y))


def test_complex_numbers_are_refused(backend: Any, library: Any) -> None:
    theirs = library.asarray(X + 1j)
    with pytest.raises(InvalidTypeError, match="X: found dtype"):
        model(backend).fit(theirs, Y)
    with pytest.raises(InvalidTypeError, match="y: found dtype"):
        model(backend).fit(X, theirs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_found(backend: Any, library: Any, value: float) -> None:
    x = X.copy()
    x[7, 2] = value
    with pytest.raises(InvalidValueError, match=r"X: found (nan|inf) at X\[7, 2\]"):
        model(backend).fit(library.asarray(x), Y)


# PyTorch's own ways


def test_gradients_are_not_followed(backend: Any, torch: Any) -> None:
    in_the_hosts_memory(backend)
    x = torch.tensor(X, requires_grad=True)
    mlp = fitted(backend, x)
    np.testing.assert_array_equal(mlp.predict(X), fitted(backend).predict(X))
    found = mlp.predict_proba(x)
    assert isinstance(found, torch.Tensor)
    assert not found.requires_grad
    assert x.grad is None
    assert x.requires_grad


def test_a_negated_view_keeps_its_sign(backend: Any, torch: Any) -> None:
    in_the_hosts_memory(backend)
    x = torch.complex(torch.zeros(ROWS, COLUMNS, dtype=torch.float64), torch.tensor(X)).conj().imag
    assert x.is_neg()
    np.testing.assert_array_equal(backend.to_numpy(rows(backend, x, COLUMNS, "float64").array), -X)


@pytest.mark.parametrize("form", ["sparse", "meta"])
def test_what_dlpack_has_no_word_for_is_refused_in_one_line(torch: Any, form: str) -> None:
    x = {
        "sparse": lambda: torch.tensor(X).to_sparse(),
        "meta": lambda: torch.zeros(ROWS, COLUMNS, device="meta"),
    }[form]()
    with pytest.raises(InvalidTypeError, match=r"X: .*Pass a NumPy array") as raised:
        model("numpy").fit(x, Y)
    assert len(str(raised.value).splitlines()) == 1
    assert "torch.Tensor" in str(raised.value)


def test_pinned_memory_is_the_hosts(torch: Any) -> None:
    class Pinned:
        def __init__(self, kind: int, number: int = 0) -> None:
            self.where = kind, number

        def __array_namespace__(self, api_version: str | None = None) -> Any:
            return np

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.where

    numpy = make_backend("numpy-plain")
    for kind, expected in ((1, True), (3, True), (11, True), (2, False), (10, False), (13, False)):
        assert shares_memory(numpy, Pinned(kind)) is expected
    gpu = type("Gpu", (), {"xp": None, "asarray": lambda self, x: Pinned(2, 1)})()
    for place, expected in (((2, 1), True), ((13, 1), True), ((2, 0), False), ((1, 1), False)):
        assert shares_memory(gpu, Pinned(*place)) is expected


def test_a_library_that_cannot_is_named_with_its_reason(torch: Any) -> None:
    numpy = make_backend("numpy-plain")

    def fails(x: Any) -> Any:
        raise RuntimeError("no such thing\nas a second line")

    numpy.from_dlpack = fails
    match = r"^y: numpy cannot import a torch.Tensor of .*float64 \(RuntimeError: no such thing\)"
    with pytest.raises(InvalidTypeError, match=match) as raised:
        import_array(numpy, torch.tensor(X), "y")
    assert "\n" not in str(raised.value)


def test_a_device_without_room_is_no_wrong_type(torch: Any) -> None:
    numpy = make_backend("numpy-plain")

    def fails(x: Any) -> Any:
        raise MemoryError

    numpy.from_dlpack = fails
    with pytest.raises(MemoryError):
        import_array(numpy, torch.tensor(X), "X")


def test_the_fix_names_a_backend() -> None:
    jax = make_backend("jax")
    said = str(refusal(make_backend("numpy-plain"), jax.asarray(X), "X"))
    assert "mlp.to('jax')" in said


# Everything else that takes arrays


@pytest.mark.sampled(3)
def test_weights_can_come_from_another_library(backend: Any, library: Any) -> None:
    mlp, other = fitted(backend), model(backend)
    other.load_state_dict({n: library.asarray(v) for n, v in mlp.state_dict().items()})
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)


def test_jax_without_64_bits_keeps_labels() -> None:
    """Its own conversion would cut them without a word."""
    make_backend("jax")
    from test_architecture import run

    code = """
import numpy as np, torch, xpmlp
X, y = torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0, 1, 2**32, 1])
mlp = xpmlp.MLP([3, 4, 2], backend="jax", device="cpu", seed=0)
try:
    mlp.fit(X, y)
except ValueError as error:
    print(error)
mlp.fit(X, y % 2, epochs=1)
found = mlp.predict(X)
print(type(found).__name__, found.dtype)
mlp.fit(torch.full((4, 3), 2**32 + 1), y % 2, epochs=1)
print(mlp.backend.jax.config.jax_enable_x64)
"""
    pytest.importorskip("torch")
    lines = run(code, JAX_ENABLE_X64="0").stdout.splitlines()
    assert f"y: found {2**32} at y[2]" in lines[0]
    assert lines[1:] == ["Tensor torch.int32", "False"]
