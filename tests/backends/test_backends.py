"""The registry, the adapters' doors, the probe for a GPU, third parties, and moving a model."""

import ctypes
import logging
import os
import re
import subprocess
import sys
from functools import cache, partial
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat
import array_api_compat.numpy
import numpy as np
import pytest
from conftest import BACKENDS, assert_close, make_backend
from xpmlp_backends import TABLE, EagerBackend, why_not
from xpmlp_backends import dpnp as _dpnp
from xpmlp_backends.cupy import backend as _cupy

import xpmlp
from xpmlp import losses
from xpmlp.errors import BackendError, InvalidTypeError, InvalidValueError
from xpmlp.nn.contract import Backend
from xpmlp.nn.ops import Ops

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)
XOR_LABELS = np.array([0, 1, 1, 0])
PARAMETERS = [
    pytest.param(name, marks=[pytest.mark.gpu] if name == "cupy" else []) for name in BACKENDS
]


def learn_xor(**options: Any) -> xpmlp.MLP:
    mlp = xpmlp.MLP([2, 16, 2], "tanh", seed=3, **options)
    mlp.fit(XOR, XOR_LABELS, epochs=100, batch_size=4, optimizer=xpmlp.Adam(0.05))
    return mlp


@cache
def example() -> tuple[xpmlp.MLP, np.ndarray, np.ndarray]:
    """A trained model with running statistics and scaling, on NumPy in float64; its data."""
    rng = np.random.default_rng(5)
    X, y = 3 + rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    mlp = xpmlp.MLP(
        [5, 8, 8, 3],
        "gelu",
        normalization="batch",
        residual=True,
        scaling="standard",
        dtype="float64",
        backend="numpy",
        seed=1,
    )
    mlp.fit(X, y, epochs=2, batch_size=16)
    return mlp, X, y


# The registry


@pytest.mark.parametrize(
    ("wrong", "near"), [("nunpy", "numpy"), ("pytorch", "torch"), ("CUPY", "cupy")]
)
def test_an_unknown_name_suggests_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{wrong!r}.*Did you mean {near!r}"):
        xpmlp.MLP([2, 2], backend=wrong)


def test_the_backend_for_tests_is_not_offered_to_people() -> None:
    with pytest.raises(InvalidValueError) as info:
        xpmlp.backend("zzz")
    assert "jax" in str(info.value)
    assert "strict" not in str(info.value)


@pytest.mark.parametrize("wrong", [3, object(), ("numpy",), SimpleNamespace(name="half")])
def test_something_that_is_no_backend_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidTypeError, match="expected a name or a backend object"):
        xpmlp.backend(wrong)


def test_each_backend_keeps_the_contract(backend: Any) -> None:
    assert isinstance(backend, Backend)
    assert xpmlp.backend(backend) is backend
    assert backend.capabilities <= {"gpu", "float64", "mutable", "sparse"}
    assert isinstance(backend.ops, Ops)
    assert str(backend.device)
    backend.synchronize()
    mine = backend.asarray(np.zeros(3))
    assert backend.owns(mine)
    assert not any(backend.owns(other) for other in (None, [0.0], "numpy", object()))
    if not backend.name.startswith("numpy"):
        assert not backend.owns(np.zeros(3))


def test_the_environment_names_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    make_backend("strict")
    monkeypatch.setenv("XPMLP_BACKEND", "strict")
    assert xpmlp.MLP([2, 2]).backend.name == "strict"
    assert xpmlp.MLP([2, 2], backend="numpy").backend.name == "numpy"  # an argument comes first
    monkeypatch.setenv("XPMLP_BACKEND", "nunpy")
    with pytest.raises(InvalidValueError, match="Did you mean 'numpy'"):
        xpmlp.MLP([2, 2])


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("numpy", "cuda:0"),
        ("strict", "gpu"),
        ("torch", "cuda:99"),
        ("torch", "nonsense"),
        ("torch", "cpu:x"),
        ("jax", "gpu:99"),
        ("jax", "cpu:99"),
        ("jax", "cpu:x"),
        ("jax", "nonsense"),
        ("dpnp", "cuda:0"),
        ("dpnp", "cpu:99"),
        ("dpnp", "cpu:x"),
    ],
)
def test_a_wrong_device_is_refused_by_name(name: str, device: str) -> None:
    make_backend(name)
    with pytest.raises(BackendError, match=f"backend '{name}'.*{device!r}"):
        xpmlp.backend(name, device)


@pytest.mark.parametrize(
    "call",
    [
        lambda: example()[0].copy(device="nonsense"),
        lambda: example()[0].copy().to(xpmlp.backend("numpy"), "nonsense"),
        lambda: xpmlp.MLP([2, 2], backend=xpmlp.backend("numpy"), device="nonsense"),
    ],
    ids=["copy", "to", "MLP"],
)
def test_a_device_beside_a_backend_object_is_not_ignored(call: Any) -> None:
    with pytest.raises((BackendError, InvalidValueError), match="nonsense"):
        call()


@pytest.mark.parametrize("name", ["torch", "jax", "cupy", "dpnp", "strict"])
def test_a_missing_library_is_named_with_its_install_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"strict": "array_api_strict"}.get(name, name)
    monkeypatch.setitem(sys.modules, module, None)  # an import of it now fails
    monkeypatch.setattr(_cupy, "driver_problem", lambda: None)
    monkeypatch.setattr(_cupy, "why_not", _cupy.why_not.__wrapped__)
    with pytest.raises(BackendError, match=f"backend '{name}'.*{module}.*pip install") as info:
        xpmlp.backend(name)
    reason = why_not(name)
    assert reason is not None
    assert reason in str(info.value)
    assert len(reason.splitlines()) == 1


@pytest.mark.parametrize("name", TABLE)
def test_why_not_agrees_with_asking_for_the_backend(name: str) -> None:
    reason = why_not(name)
    if reason is None:
        assert xpmlp.backend(name).name == name
    else:
        with pytest.raises(BackendError) as info:
            xpmlp.backend(name)
        assert reason in str(info.value)
    assert name != "numpy" or reason is None


def test_importing_the_package_imports_no_library_but_numpy() -> None:
    libraries = {"torch", "jax", "cupy", "dpnp", "numba", "array_api_compat", "array_api_strict"}
    code = f"import sys, xpmlp_backends; print(*({libraries} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""


# Arrays in and out


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "int64", "float32", "float64", "as it is"]
)
def test_arrays_go_to_the_device_and_back_exactly(backend: Any, dtype: str) -> None:
    values: list[Any] = [0, 1, 2, 3, 254, 255]
    if dtype == "bool":
        values = [True, False, True, True, False, False]
    elif "int" in dtype and dtype != "uint8":
        values = [np.iinfo(dtype).min, np.iinfo(dtype).max, -1, 0, 1, 7]
    elif dtype != "uint8":
        finfo = np.finfo("float32")
        values = [-0.0, np.nan, -np.inf, finfo.max, finfo.tiny, 1 / 3]
    host = np.array(values, dtype="float32" if dtype == "as it is" else dtype).reshape(2, 3)
    before = host.copy()

    made = backend.asarray(host, None if dtype == "as it is" else dtype)
    assert backend.owns(made)
    if backend.name != "numpy":  # its arrays are the host's, and nothing writes to data
        host[...] = 1
    back = backend.to_numpy(made)
    assert (type(back), back.dtype, back.shape) == (np.ndarray, before.dtype, before.shape)
    assert back.tobytes() == before.tobytes()
    back[...] = 1  # the caller's, to write to
    assert backend.to_numpy(made).tobytes() == before.tobytes()


def test_asarray_converts_to_the_dtype_asked_for(backend: Any) -> None:
    host = np.array([0, 1, 300, -7], dtype=np.int64)
    for dtype in ("float32", "float64", "int32"):
        back = backend.to_numpy(backend.asarray(host, dtype))
        assert back.dtype == dtype
        assert back.tolist() == host.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_training_writes_to_nothing_that_a_person_holds(backend: Any, dtype: str) -> None:
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((12, 4)).astype(dtype), rng.standard_normal((12, 2)).astype(dtype)
    weight, mlp = np.ones(12, dtype=dtype), xpmlp.MLP([4, 6, 2], dtype=dtype, backend=backend)
    start = mlp.state_dict()
    held = {"X": X, "y": y, "weight": weight, **start}
    before = {name: value.copy() for name, value in held.items()}
    mlp.fit(X, y, epochs=2, batch_size=5, sample_weight=weight)
    for name, value in held.items():
        assert np.array_equal(value, before[name]), name
    assert not np.array_equal(mlp.parameters["dense1.W"], start["dense1.W"])

    trained = mlp.state_dict()
    for copies in (mlp.parameters, mlp.state_dict(), mlp.copy().state_dict()):
        for value in copies.values():
            value[...] = 7
    mlp.load_state_dict(loaded := {name: value.copy() for name, value in trained.items()})
    for value in loaded.values():
        value[...] = 7
    for name, value in mlp.state_dict().items():
        assert np.array_equal(value, trained[name]), name


# auto, and whether a GPU works


def driver(start: int = 0, error: int = 0, count: int = 1) -> Any:
    """A stand-in for the NVIDIA driver library."""

    def get_count(reference: Any) -> int:
        reference._obj.value = count
        return error

    return lambda name: SimpleNamespace(cuInit=lambda flags: start, cuDeviceGetCount=get_count)


@pytest.mark.parametrize(
    ("library", "problem"),
    [
        (driver(start=100), "does not start .*100"),
        (driver(error=3), "does not count its devices .*3"),
        (driver(count=0), "finds no GPU"),
        (driver(count=1), None),
    ],
)
def test_the_driver_is_asked_for_its_devices(
    library: Any, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", library)
    found = _cupy.driver_problem()
    if problem is None:
        assert found is None
    else:
        assert re.search(problem, found or "")


def test_a_driver_that_is_not_there_is_named() -> None:
    found = _cupy.driver_problem("libno-such-driver.so.1")
    assert found == "there is no NVIDIA driver here (libno-such-driver.so.1 cannot be loaded)"


class FakeCudaError(RuntimeError):
    """CuPy's CUDARuntimeError."""


class FakeDevice(str):
    """CuPy's Device, equal to the device of NumPy's arrays, and counting its synchronisations."""

    id: int
    waits = 0
    mem_info = (2**30, 2**32)

    def __new__(cls, number: int = 0) -> "FakeDevice":
        made = super().__new__(cls, "cpu")
        made.id = number
        return made

    def synchronize(self) -> None:
        FakeDevice.waits += 1

    def __enter__(self) -> None:
        if self.id > 0:
            raise FakeCudaError("cudaErrorInvalidDevice: invalid device ordinal")

    def __exit__(self, *args: object) -> None: ...


class FakePool:
    """CuPy's memory pool: some bytes in use, some kept for later."""

    def used_bytes(self) -> int:
        return 3 * 2**20

    def free_bytes(self) -> int:
        return 5 * 2**20


def fake_cupy(**replaced: Any) -> Any:
    """As much of CuPy as the adapter names, computing with NumPy."""
    runtime = SimpleNamespace(
        CUDARuntimeError=FakeCudaError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda number: {"name": b"NVIDIA Fake 100"},
    )
    members = {
        "ndarray": np.ndarray,
        "float32": np.float32,
        "array": np.array,
        "asnumpy": np.array,
        "copyto": np.copyto,
        "ones": np.ones,
        "get_default_memory_pool": FakePool,
        "ElementwiseKernel": lambda *source: lambda x: x + 1,
        "cuda": SimpleNamespace(
            Device=FakeDevice,
            runtime=runtime,
            get_current_stream=lambda: SimpleNamespace(synchronize=FakeDevice().synchronize),
        ),
    }
    module = ModuleType("cupy")
    vars(module).update(members | replaced)
    return module


@pytest.fixture
def with_fake_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", array_api_compat.numpy)
    monkeypatch.setattr(array_api_compat, "cupy", array_api_compat.numpy, raising=False)
    monkeypatch.setattr(_cupy, "driver_problem", lambda: None)
    monkeypatch.setattr(_cupy, "why_not", _cupy.why_not.__wrapped__)
    monkeypatch.setattr(_cupy, "cublaslt", lambda: "no cuBLASLt in this test")


def raises(error: BaseException) -> Any:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        ({}, None),
        ({"ones": raises(FakeCudaError("no kernel image\nat x"))}, "FakeCudaError: no kernel"),
        ({"ones": raises(MemoryError())}, "does not work: MemoryError"),
        ({"ElementwiseKernel": raises(OSError("no NVRTC"))}, "does not work: OSError: no NVRTC"),
        ({"ElementwiseKernel": lambda *source: lambda x: x}, "computes wrong results"),
    ],
    ids=["works", "CUDA error", "error without a message", "no compiler", "wrong results"],
)
@pytest.mark.usefixtures("with_fake_cupy")
def test_a_gpu_counts_only_if_it_computes(
    replaced: dict[str, Any], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(**replaced))
    found = _cupy.why_not()
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found
        assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    "error",
    [
        ImportError("\n====\nCuPy is not correctly installed.\n====\n"),
        OSError("libcublas.so.13: cannot open shared object file"),
    ],
    ids=["ImportError of several lines", "OSError"],
)
@pytest.mark.usefixtures("with_fake_cupy")
def test_a_cupy_that_breaks_on_import_leaves_auto_on_numpy(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "cupy")
    finder = SimpleNamespace(
        find_spec=lambda name, *rest: raises(error)() if name == "cupy" else None
    )
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    assert xpmlp.backend("auto").name == "numpy"
    reason = why_not("cupy")
    assert reason is not None
    assert len(reason.splitlines()) == 1


def test_auto_says_which_backend_and_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_cupy, "why_not", lambda: "the moon is full")
    monkeypatch.setattr(_cupy, "create", raises(AssertionError("CuPy cannot work")))
    monkeypatch.setattr(_dpnp, "no_gpu", lambda: "it rains")
    with caplog.at_level(logging.INFO, "xpmlp"):
        assert xpmlp.backend("auto").name == "numpy"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("xpmlp", logging.INFO)
    assert record.getMessage() == "backend auto: numpy, because the moon is full, and it rains"


@pytest.mark.parametrize(
    ("nvidia", "name", "device", "asked"),
    [(True, "cupy", "1", "1"), (False, "dpnp", "gpu:1", "gpu:1"), (False, "dpnp", None, "gpu")],
)
def test_auto_takes_a_gpu_that_works(
    nvidia: bool,
    name: str,
    device: str | None,
    asked: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """NVIDIA's first."""
    monkeypatch.setattr(_cupy, "why_not", lambda: None if nvidia else "no GPU")
    monkeypatch.setattr(_dpnp, "no_gpu", lambda: None)
    for module in (_cupy, _dpnp):
        create = partial(SimpleNamespace, module=module)
        monkeypatch.setattr(module, "create", lambda device, make=create: make(device=device))
    with caplog.at_level(logging.INFO, "xpmlp"):
        made = xpmlp.backend("auto", device)
    assert (made.module, made.device) == ({"cupy": _cupy, "dpnp": _dpnp}[name], asked)
    assert [record.getMessage() for record in caplog.records] == [
        f"backend auto: {name} on {asked}"
    ]


def test_without_a_gpu_cupy_is_refused_and_auto_is_numpy(caplog: pytest.LogCaptureFixture) -> None:
    reason = _cupy.why_not()
    if reason is None:
        pytest.skip("a GPU works here")
    with pytest.raises(BackendError, match=r"pip install 'xpmlp\[cuda13\]'") as info:
        xpmlp.backend("cupy")
    assert reason in str(info.value)
    assert "backend='numpy'" in str(info.value)
    with caplog.at_level(logging.INFO, "xpmlp"):
        assert xpmlp.backend("auto", "0").name == "numpy"
    assert [reason in record.getMessage() for record in caplog.records] == [True]


def test_cupy_itself_imports_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("a GPU works here")
    monkeypatch.setattr(_cupy, "driver_problem", lambda: None)
    found = _cupy.why_not.__wrapped__()
    assert found is not None
    assert found.startswith("the GPU does not work: CUDARuntimeError")
    assert why_not("cupy") is not None


@pytest.mark.parametrize("device", [None, "0", "cuda:0"])
@pytest.mark.usefixtures("with_fake_cupy")
def test_the_cupy_adapter_takes_a_device_by_number(device: str | None) -> None:
    made = xpmlp.backend("cupy", device)
    assert isinstance(made, _cupy.CupyBackend)
    assert made.device.id == 0


@pytest.mark.parametrize("device", ["9", "cuda:9", "x", "cuda:", "gpu:0", "0.5"])
@pytest.mark.usefixtures("with_fake_cupy")
def test_the_cupy_adapter_refuses_other_devices(device: str) -> None:
    with pytest.raises(BackendError, match=f"found device '{device}'.*from 0 to 0"):
        xpmlp.backend("cupy", device)


@pytest.mark.usefixtures("with_fake_cupy")
def test_the_cupy_adapter_with_numpy_standing_in(monkeypatch: pytest.MonkeyPatch) -> None:
    made = xpmlp.backend("cupy")
    assert isinstance(made, Backend)
    assert "gpu" in made.capabilities
    host = np.arange(3)
    on_device = made.asarray(host, "float32")
    assert on_device.dtype == np.float32
    assert not np.shares_memory(made.asarray(host), host)
    assert not np.shares_memory(made.to_numpy(on_device), on_device)
    assert made.owns(on_device)
    assert not made.owns([1.0])
    with monkeypatch.context() as patch:
        patch.setattr(made, "device", "another")  # what lies elsewhere is not this backend's
        assert not made.owns(on_device)
    assert xpmlp.backend("cupy") is made
    waits = FakeDevice.waits
    made.synchronize()
    assert FakeDevice.waits == waits + 1

    assert made.memory() == (3 * 2**20, 2**30 + 5 * 2**20, 2**32)
    assert made.device_name() == "NVIDIA Fake 100"
    assert made.ran_out(MemoryError("out of memory allocating 512 bytes"))
    assert made.ran_out(FakeCudaError("cudaErrorMemoryAllocation: out of memory"))
    assert not made.ran_out(FakeCudaError("cudaErrorInvalidValue: invalid argument"))


# Third parties

PLUGIN = """\
import array_api_compat.numpy as xp
import numpy as np
from xpmlp_backends import EagerBackend


class Plain(EagerBackend):
    def owns(self, x):
        return isinstance(x, np.ndarray)

    def to_numpy(self, x):
        return np.array(x)


def create(device):
    return Plain("plain", xp, device or "cpu")
"""


def test_an_installed_third_party_backend_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "xpmlp_plain-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: xpmlp-plain\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xpmlp.backends]\nplain = xpmlp_plain:create\n")
    (tmp_path / "xpmlp_plain.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))

    mlp = learn_xor(backend="plain", device="cpu")
    assert mlp.backend.name == "plain"
    assert mlp.predict(XOR).tolist() == XOR_LABELS.tolist()
    mlp.save(tmp_path / "m.xpmlp")
    for other in (xpmlp.load(tmp_path / "m.xpmlp", backend="plain"), mlp.copy("numpy")):
        assert_close(other.to("plain").predict_proba(XOR), mlp.predict_proba(XOR))
    with pytest.raises(InvalidValueError, match="Did you mean 'plain'"):
        xpmlp.backend("plane")


def test_the_readme_shows_that_third_party_backend() -> None:
    readme = Path(__file__).parents[2] / "backends" / "README.md"
    if not readme.exists():
        pytest.skip("this is no checkout")
    assert f"```python\n{PLUGIN}```" in readme.read_text()


def test_without_what_only_its_library_can_answer_it_is_no_backend() -> None:
    assert not isinstance(EagerBackend("half", np, "cpu"), Backend)


def returns_rubbish(device: str | None) -> object:
    return SimpleNamespace(name="half", xp=np)


def fails(device: str | None) -> object:
    raise ZeroDivisionError("a fault of the plugin")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (f"{__name__}:fails", "failed: a fault of the plugin"),
        (f"{__name__}:no_such_factory", "failed: .*no_such_factory"),
        ("no_such_module_at_all:create", "failed: No module named"),
        (f"{__name__}:returns_rubbish", "lacks members of xpmlp.nn.contract.Backend"),
    ],
)
def test_a_broken_third_party_backend_breaks_nothing_else(
    value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("mine", value, "xpmlp.backends")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    with pytest.raises(BackendError, match=f"backend 'mine' .{value}. .*{message}"):
        xpmlp.MLP([2, 2], backend="mine")
    assert xpmlp.backend("numpy").name == "numpy"
    with pytest.raises(InvalidValueError, match="Did you mean 'mine'"):
        xpmlp.backend("mime")


def test_third_parties_are_not_looked_for_when_a_built_in_one_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan = raises(AssertionError("the entry points were scanned"))
    monkeypatch.setattr("importlib.metadata.entry_points", scan)
    assert xpmlp.backend("numpy").name == "numpy"
    with pytest.raises(AssertionError, match="scanned"):
        xpmlp.backend("mine")


# Moving and copying a model


@pytest.mark.parametrize("target", PARAMETERS)
def test_a_model_moves_between_every_two_backends(backend: Any, target: str) -> None:
    original, X, _ = example()
    mlp = original.copy(backend)
    state = mlp.state_dict()
    other = make_backend(target)
    assert mlp.to(other) is mlp
    assert mlp.backend is other
    for name, value in mlp.state_dict().items():
        assert np.array_equal(value, state[name]), name
    assert mlp.predict(X).tolist() == original.predict(X).tolist()
    expected = original.predict_proba(X)
    assert_close(mlp.predict_proba(X), expected, rtol=1e-10)
    on_device = mlp.predict_proba(other.asarray(X))
    assert other.owns(on_device)
    assert_close(other.to_numpy(on_device), expected, rtol=1e-10)


@pytest.mark.sampled(3)
def test_a_moved_model_trains_on_as_if_it_had_not_moved(backend: Any) -> None:
    original, X, y = example()
    stays, moves = original.copy(), original.copy()
    moves.fit(X, y, epochs=1, batch_size=16)  # compiled here, then not usable there
    moves.load_state_dict(original.state_dict())
    moves.epochs_trained = original.epochs_trained
    for mlp in (stays, moves.to(backend)):
        mlp.fit(X, y, epochs=2, batch_size=16)
    assert moves.epochs_trained == stays.epochs_trained
    expected = stays.state_dict()
    for name, value in moves.state_dict().items():
        assert_close(value, expected[name], of_max=1e-8, atol=1e-9)


def test_a_copy_is_independent() -> None:
    original, X, y = example()
    original = original.copy()
    original.metadata = {"classes": ["a", "b", "c"]}
    copied = original.copy()
    before, scores = original.state_dict(), original.evaluate(X, y)
    copied.metadata["classes"].append("d")
    copied.fit(X, y, epochs=1)
    assert copied.epochs_trained == original.epochs_trained + 1
    assert original.evaluate(X, y) == scores
    for name, value in original.state_dict().items():
        assert np.array_equal(value, before[name]), name
        assert not np.array_equal(value, copied.state_dict()[name]), name
    assert original.metadata == {"classes": ["a", "b", "c"]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_can_have_another_dtype_and_backend(backend: Any, dtype: str) -> None:
    original, X, y = example()
    made = original.copy(backend, dtype=dtype)
    assert (made.dtype, made.backend, made.seed) == (dtype, backend, original.seed)
    assert all(value.dtype == dtype for value in made.state_dict().values())
    assert_close(made.predict_proba(X), original.predict_proba(X), rtol=1e-4)
    assert made.evaluate(X, y)["loss"] == pytest.approx(original.evaluate(X, y)["loss"], rel=1e-4)


def test_a_copy_of_a_loaded_model_trains_for_the_same_loss(tmp_path: Path) -> None:
    X, y = XOR, np.array([0.5, 3.0, -1.0, 9.0])
    mlp = xpmlp.MLP([2, 4, 1], loss=losses.Huber(0.25), backend="numpy", seed=0)
    mlp.fit(X, y, epochs=1)
    mlp.save(tmp_path / "m.xpmlp")
    copied = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy").copy()
    for one in (mlp, copied):
        one.fit(X, y, epochs=1)
    assert copied.task.loss == losses.Huber(0.25)
    assert np.array_equal(copied.predict(X), mlp.predict(X))


# Numba, where it is there and where it is not

RUN_PLAIN = """
import logging, sys
{before}
logging.basicConfig(stream=sys.stdout, format="%(message)s")
import xpmlp
mlp = xpmlp.MLP([2, 3, 2], backend="numpy", seed=0)
mlp.fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=1)
print(mlp.backend.fused)
"""


def fresh(before: str, **environment: str) -> list[str]:
    """Lines of a fresh process that trains with NumPy."""
    code = RUN_PLAIN.format(before=before)
    env = os.environ | environment
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_numba_is_used_where_it_works() -> None:
    pytest.importorskip("numba")
    assert fresh("") == ["True"]
    assert fresh("", XPMLP_FUSED="0") == ["False"]


def test_without_numba_it_computes_all_the_same() -> None:
    assert fresh("sys.modules['numba'] = None") == ["False"]


def test_a_numba_that_does_not_work_is_said_and_left() -> None:
    pytest.importorskip("numba")
    said, fused = fresh("", NUMBA_DISABLE_JIT="1")
    assert fused == "False"
    assert said.startswith("backend numpy: computing without numba, because ImportError")
    assert "NUMBA_DISABLE_JIT" in said


def test_numba_asked_for_and_missing() -> None:
    before = (
        "sys.modules['numba'] = None\n"
        "from xpmlp_backends.numpy.backend import create\n"
        "from xpmlp.errors import BackendError\n"
        "try: create(fused=True)\n"
        "except BackendError as error: print(error)"
    )
    said, fused = fresh(before)
    assert "numba cannot be used" in said
    assert "pip install 'xpmlp[fast]'" in said
    assert fused == "False"


@pytest.mark.parametrize("fault", ["no folder", "full"])
@pytest.mark.sampled(2)
@pytest.mark.slow
def test_compiled_loops_that_cannot_be_kept_are_used(fault: str, tmp_path: Path) -> None:
    """A cache that is a file is no folder; one whose files cannot be written stands for full."""
    pytest.importorskip("numba")
    cache = tmp_path / "cache"
    before = ""
    if fault == "no folder":
        cache.write_text("")
    else:
        before = (
            "import numba.core.caching as c\n"
            "def full(*a, **k): raise OSError(28, 'No space left on device')\n"
            "c.IndexDataCacheFile._save_index = full"
        )
    assert fresh(before, NUMBA_CACHE_DIR=str(cache)) == ["True"]
