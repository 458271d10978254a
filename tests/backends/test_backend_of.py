"""Which backend an array belongs to: library and device both."""

import sys
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from xpmlp_backends import backend_of

import xpmlp
from xpmlp.errors import BackendError

A = np.array([[1.5, -2.0], [0.0, 3.25]])


def assert_found(x: Any, name: str, place: str) -> None:
    """Also that what the backend makes and reads are such arrays."""
    found = backend_of(x)
    assert found is not None
    assert (found.name, found.place) == (name, place)
    assert found.owns(x)
    np.testing.assert_array_equal(found.to_numpy(x), A.astype(found.to_numpy(x).dtype))
    assert type(found.asarray(A)) is type(x)
    mlp = xpmlp.MLP([2, 1], backend=found, seed=0, targets="values")
    assert found.owns(mlp.predict(x))


@pytest.mark.parametrize(
    "x",
    [A, A.astype(np.float32), np.asfortranarray(A), A.astype(np.int16), A[:, ::-1][:, ::-1]],
    ids=["float64", "float32", "columns first", "integers", "view"],
)
def test_numpy(x: np.ndarray) -> None:
    assert_found(x, "numpy", "cpu")


def test_torch() -> None:
    torch = pytest.importorskip("torch")
    assert_found(torch.tensor(A), "torch", "cpu")
    assert_found(torch.tensor(A, dtype=torch.float32), "torch", "cpu")


def test_tensors_that_torch_has_a_class_of_its_own_for() -> None:
    torch = pytest.importorskip("torch")
    found = backend_of(torch.nn.Parameter(torch.tensor(A)))
    assert found is not None
    assert (found.name, found.place) == ("torch", "cpu")


def test_jax() -> None:
    jax = pytest.importorskip("jax")
    assert_found(jax.device_put(A, jax.devices("cpu")[0]), "jax", "cpu:0")


@pytest.mark.parametrize("place", ["CPU_DEVICE", "device1"])
def test_strict(place: str) -> None:
    """Each of both devices, of which an array of the other is not."""
    strict = pytest.importorskip("array_api_strict")
    x, other = (
        strict.asarray(A.tolist(), device=strict.Device(name))
        for name in (place, {"CPU_DEVICE": "device1", "device1": "CPU_DEVICE"}[place])
    )
    assert_found(x, "strict", place)
    found = backend_of(x)
    assert found is not None
    assert not found.owns(other)
    assert found.device == x.device != other.device


@pytest.mark.gpu
def test_gpus() -> None:
    assert_found(make_backend("cupy").xp.asarray(A), "cupy", "0")
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        assert_found(torch.tensor(A, device="cuda:0"), "torch", "cuda:0")


class Shaped:
    """It has a shape, and is of no library."""

    shape, dtype, device = (2, 2), np.dtype("float64"), "cpu"


NO_ARRAYS = {
    "list": A.tolist(),
    "number": 3.0,
    "text": "numpy",
    "none": None,
    "shaped": Shaped(),
    "class": np.ndarray,
    "module": np,
    "function": np.asarray,
    "generator": np.random.default_rng(0),
    "dtype": np.dtype("float64"),
    "broadcast": np.broadcast(A, A),
}


@pytest.mark.parametrize("x", NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_what_is_no_array(x: Any) -> None:
    assert backend_of(x) is None


def test_what_is_no_array_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for x in (torch.Size([2]), torch.float32, torch.device("cpu"), torch.nn.Linear(2, 2), torch):
        assert backend_of(x) is None


def test_what_is_no_array_of_jax() -> None:
    jax = pytest.importorskip("jax")
    for x in (jax.numpy.float32, jax.devices("cpu")[0], jax.ShapeDtypeStruct((2, 2), "float32")):
        assert backend_of(x) is None


def test_tables_and_sparse_matrices_are_not_numpys() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    assert backend_of(sparse.csr_array(A)) is None
    pandas = pytest.importorskip("pandas")
    assert backend_of(pandas.DataFrame(A)) is None


def test_a_backend_that_cannot_work_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of its library is there, the library is not."""
    strict = pytest.importorskip("array_api_strict")
    x = strict.asarray(A.tolist())
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    with pytest.raises(BackendError, match=r"backend 'strict'.*pip install array-api-strict"):
        backend_of(x)
