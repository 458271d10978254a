"""Any array API namespace as a backend: array-api-strict, dask.array, dpnp, one that lacks much."""

import ast
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from xpmlp_backends import EagerBackend, standard
from xpmlp_backends.registry import is_registered
from xpmlp_backends.standard import NEEDED, StandardBackend

import xpmlp
from xpmlp import nn
from xpmlp.errors import BackendError, InvalidTypeError, InvalidValueError
from xpmlp.nn.contract import Backend

X = np.random.default_rng(0).standard_normal((40, 3))
Y = np.arange(40) % 4
LIBRARIES = ("numpy", "array_api_strict", "dask.array", "torch", "dpnp")


def adapted(library: str) -> StandardBackend:
    """The library by the general adapter, also where it has one of its own."""
    if library == "dpnp":
        make_backend("dpnp")  # skips where there is none
    return standard.create(pytest.importorskip(library))


NETWORKS: dict[str, Callable[..., tuple[Any, Any, xpmlp.MLP]]] = {
    "classes": lambda **o: (X, Y, xpmlp.MLP([3, 8, 8, 4], dropout=0.2, residual=True, **o)),
    "normalized": lambda **o: (
        *(X, Y, xpmlp.MLP([3, 6, 4], "gelu", normalization="batch", scaling="standard", **o)),
    ),
    "values": lambda **o: (X, X @ [1.0, -2.0, 0.5], xpmlp.MLP([3, 6, 1], "tanh", l2=0.01, **o)),
    "bounded": lambda **o: (
        *(X, np.eye(4)[Y], xpmlp.MLP([3, 6, 4], "elu", normalization="layer", max_norm=1.0, **o)),
    ),
    "ensemble": lambda **o: (X, Y, xpmlp.MLP([3, 5, 4], "swish", ensemble=3, **o)),
    "gaussian": lambda **o: (X, X[:, 0], xpmlp.MLP([3, 5, 2], loss="gaussian", **o)),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("network", NETWORKS)
def test_it_trains_and_predicts_as_numpys_own_adapter_does(network: str, library: str) -> None:
    def run(backend: Any) -> tuple[Any, ...]:
        data, target, mlp = NETWORKS[network](backend=backend, dtype="float64", seed=1)
        optimizer = xpmlp.Adam(xpmlp.schedules.Cosine(1e-2), clip_norm=1.0)
        history = mlp.fit(data, target, epochs=2, batch_size=15, optimizer=optimizer)
        return history["loss"], mlp.predict(data), mlp.state_dict()

    losses, predicted, weights = run("numpy")
    their_losses, their_predicted, theirs = run(adapted(library))
    assert_close(their_losses, losses, rtol=1e-10)
    assert_close(their_predicted, predicted, rtol=1e-8, atol=1e-10)
    for name, value in weights.items():
        assert_close(theirs[name], value, atol=1e-8)


@pytest.mark.parametrize("library", LIBRARIES)
def test_its_own_arrays_come_and_go(library: str) -> None:
    """Also those of a network, and with data in several parts where the library has them."""
    backend = adapted(library)
    assert isinstance(backend, Backend)
    x = backend.asarray(X)
    if library == "dask.array":
        x = x.rechunk((15, 2))
    mlp = xpmlp.MLP([3, 5, 4], backend=backend, dtype="float64", seed=0, scaling="standard")
    other = xpmlp.MLP([3, 5, 4], backend="numpy", dtype="float64", seed=0, scaling="standard")
    mlp.fit(x, backend.asarray(Y), epochs=1, batch_size=16)
    other.fit(X, Y, epochs=1, batch_size=16)
    found = mlp.predict_proba(x)
    assert backend.owns(found)
    assert not backend.owns(X) or library == "numpy"
    assert_close(backend.to_numpy(found), other.predict_proba(X), rtol=1e-9)
    assert mlp.evaluate(x, Y).keys() == other.evaluate(X, Y).keys()


@pytest.mark.parametrize("library", LIBRARIES)
def test_arrays_go_there_and_back_exactly(library: str) -> None:
    backend = adapted(library)
    for dtype in ("bool", "uint8", "int32", "float32", "float64"):
        host = np.array([[0, 1, 2], [3, 254, 255]]).astype(dtype)
        back = backend.to_numpy(backend.asarray(host))
        assert (back.dtype, back.flags.owndata, back.flags.writeable) == (dtype, True, True)
        np.testing.assert_array_equal(back, host)
    assert backend.to_numpy(backend.asarray(X, "float32")).dtype == "float32"
    backend.synchronize()


def test_a_dask_graph_ends_with_each_step() -> None:
    """Otherwise step n would hold the operations of all steps before it."""
    pytest.importorskip("dask.array")
    seen = []

    class Graphs(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            seen.append([len(dict(a.__dask_graph__())) for a in (training.state.params,)])

    mlp = xpmlp.MLP([3, 4], backend="dask.array", seed=0)
    assert len(dict(mlp.weights.flat.__dask_graph__())) == 1
    mlp.fit(X, Y, epochs=3, batch_size=20, callbacks=[Graphs()])
    pieces = len(mlp.weights.flat.chunks[0])  # a graph of nothing but what is computed
    assert seen == [[pieces]] * 6


# How one is asked for


def test_a_module_its_name_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    dask = pytest.importorskip("dask.array")
    monkeypatch.setenv("XPMLP_BACKEND", "dask.array")
    for found in (xpmlp.backend(dask), xpmlp.backend("dask.array"), xpmlp.backend(None)):
        assert (type(found), found.name, found.place) == (StandardBackend, "dask.array", "cpu")
    assert xpmlp.MLP([2, 2], backend=dask).backend.name == "dask.array"
    assert xpmlp.MLP([2, 2], backend="numpy").to(dask).backend.name == "dask.array"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "numpy"),
        ("torch", "torch"),
        ("jax.numpy", "jax"),
        ("array_api_compat.numpy", "numpy"),
        ("array_api_compat.torch", "torch"),
    ],
)
def test_a_library_with_an_adapter_of_its_own_gets_that(module: str, name: str) -> None:
    found = xpmlp.backend(pytest.importorskip(module))
    assert found.name == name
    assert type(found) is type(xpmlp.backend(name)) is not StandardBackend
    assert type(xpmlp.backend(module)) is type(found)


@pytest.mark.parametrize("place", ["CPU_DEVICE", "device1", "device2"])
def test_devices_by_name(place: str) -> None:
    strict = pytest.importorskip("array_api_strict")
    found = xpmlp.backend("array_api_strict", place)
    assert found.device == strict.Device(place)
    assert xpmlp.backend(strict, place).device == found.device
    mlp = xpmlp.MLP([3, 4], backend=found, seed=0, targets="labels")
    assert pickle.loads(pickle.dumps(mlp)).backend.device == found.device


def test_a_device_without_float64() -> None:
    pytest.importorskip("array_api_strict")
    found = xpmlp.backend("array_api_strict", "no_float64")
    assert "float64" not in found.capabilities
    with pytest.raises(BackendError, match="has no float64; use dtype='float32'"):
        xpmlp.MLP([2, 2], backend=found, dtype="float64")
    xpmlp.MLP([3, 4], backend=found).fit(X.astype(np.float32), Y, epochs=1)


def test_a_wrong_device_is_refused_with_those_there_are() -> None:
    pytest.importorskip("array_api_strict")
    pattern = "found device 'gpu:0'; expected one of CPU_DEVICE, device1"
    with pytest.raises(BackendError, match=pattern):
        xpmlp.backend("array_api_strict", "gpu:0")


# What is missing


def module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def like_numpy(name: str, without: tuple[str, ...] = ()) -> ModuleType:
    """A library with NumPy's functions, on arrays that have neither DLPack nor a device."""

    class Plain:
        def __init__(self, values: Any) -> None:
            self.values = values

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.values

        def __array_namespace__(self, **options: Any) -> Any:
            return made

    made = module(name, **{n: getattr(np, n) for n in NEEDED if n not in without})

    def maker(of_numpy: Callable[..., Any]) -> Callable[..., Plain]:
        def make(x: Any, *, device: None = None, **options: Any) -> Plain:
            if device is not None:
                raise ValueError("there are no devices")
            return Plain(of_numpy(x, **options))

        return make

    vars(made).update(asarray=maker(np.asarray), zeros=maker(np.zeros))
    return made


def test_missing_functions_are_named() -> None:
    with pytest.raises(BackendError, match=r"'half': found no permute_dims, take in it; expected"):
        xpmlp.backend(like_numpy("half", without=("take", "permute_dims")))


@pytest.mark.parametrize("wrong", ["os", "sklearn", "numpy.linalg"])
def test_a_module_of_something_else_is_refused(wrong: str) -> None:
    pattern = rf"'{wrong}': found no abs, all, .* and \d+ more in it; expected a module that"
    with pytest.raises(BackendError, match=pattern):
        xpmlp.backend(wrong)


def test_what_is_needed_is_what_the_formulas_use() -> None:
    """Each name that steps and predictions take from the namespace; checks run on NumPy."""
    on_numpy = ("gradcheck.py", "returned.py")
    used = set()
    for path in Path(nn.__file__).parent.glob("*.py"):
        if path.name in on_numpy:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("xp", "ops.xp"):
                used.add(node.attr)
    beside = {"min", "std", "float32"}  # of scaling, of what ensembles predict, of the adapter
    assert (used | beside) - {"float64"} == set(NEEDED)  # float64 is a capability
    assert sorted(NEEDED) == list(NEEDED)


@pytest.mark.parametrize("name", ["nunpy", "no_such_library", "a b", "../numpy", ".numpy", "a..b"])
def test_an_unknown_name_says_that_it_may_be_a_modules(name: str) -> None:
    pattern = "unknown backend .* Or the name of an installed module .* such as dask.array"
    with pytest.raises(InvalidValueError, match=pattern):
        xpmlp.backend(name)


def test_a_module_that_is_not_installed_or_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match=r"cannot be imported .* with: pip install not_here"):
        xpmlp.backend("not_here.array")
    (tmp_path / "broken_here.py").write_text("raise RuntimeError('no driver')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendError, match=r"broken_here cannot be imported \(no driver\)$"):
        xpmlp.backend("broken_here")


def test_a_module_that_was_made_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no file, and is found among the modules of the process."""
    monkeypatch.setitem(sys.modules, "by_hand", like_numpy("by_hand"))
    assert xpmlp.backend("by_hand").name == "by_hand"


def test_a_library_without_dlpack_or_devices() -> None:
    backend = standard.create(like_numpy("plain"))
    assert (backend.device, backend.place) == (None, "None")
    assert backend.capabilities == set()  # NumPy's float64 is not among what is needed
    with pytest.raises(BackendError, match=r"found device 'gpu' \(ValueError: there are no dev"):
        standard.create(like_numpy("plain"), "gpu")
    values = backend.to_numpy(backend.xp.zeros(2))
    assert (type(values), values.tolist()) == (np.ndarray, [0.0, 0.0])


# Kept and found again


def test_a_pickle_remembers_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask.array")
    mlp = xpmlp.MLP([3, 4], backend="dask.array", dtype="float64", seed=0)
    mlp.fit(X, Y, epochs=1)
    content, expected = pickle.dumps(mlp), mlp.predict_proba(X)
    assert type(pickle.loads(content).backend) is StandardBackend
    monkeypatch.setitem(sys.modules, "dask.array", None)
    with pytest.warns(UserWarning, match=r"on the backend 'dask.array' on cpu, which cannot"):
        elsewhere = pickle.loads(content)
    assert elsewhere.backend.name == "numpy"
    assert_close(elsewhere.predict_proba(X), expected, rtol=1e-12)


def test_a_file_is_read_by_any_backend(tmp_path: Path) -> None:
    pytest.importorskip("dask.array")
    mlp = xpmlp.MLP([3, 4], backend="dask.array", dtype="float64", seed=0)
    mlp.fit(X, Y, epochs=1)
    mlp.save(tmp_path / "model.xpmlp")
    again = xpmlp.load(tmp_path / "model.xpmlp", backend="numpy")
    assert_close(again.predict_proba(X), mlp.predict_proba(X), rtol=1e-12)


def test_arrays_elsewhere_are_refused_with_the_move_that_helps() -> None:
    dask = pytest.importorskip("dask.array")
    mlp = xpmlp.MLP([3, 4], backend="numpy", seed=0)
    mlp.fit(X, Y, epochs=1)
    with pytest.raises(InvalidTypeError, match=r"mlp.to\('dask.array'\)"):
        mlp.predict(dask.asarray(X))
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidTypeError, match=r"computes with dask.array on cpu.*'torch'"):
        mlp.to(dask).predict(torch.asarray(X))


def test_arrays_of_another_library_are_imported_where_they_lie() -> None:
    torch = pytest.importorskip("torch")
    mlp = xpmlp.MLP([3, 4], backend="array_api_strict", dtype="float64", seed=0)
    mlp.fit(torch.asarray(X), Y, epochs=1, batch_size=16)
    other = xpmlp.MLP([3, 4], backend="numpy", dtype="float64", seed=0)
    other.fit(X, Y, epochs=1, batch_size=16)
    found = mlp.predict_proba(torch.asarray(X))
    assert isinstance(found, torch.Tensor)
    assert_close(found.numpy(), other.predict_proba(X), rtol=1e-12)


class OnDevice:
    """An array in a GPU's memory, as far as DLPack is asked."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, *, dl_device: Any = None, copy: bool | None = None, **rest: Any) -> Any:
        assert (dl_device, copy) == ((1, 0), True)
        return self.values.__dlpack__()


def test_a_devices_arrays_are_copied_to_the_host_by_dlpack() -> None:
    copied = adapted("numpy").to_numpy(OnDevice(X))
    np.testing.assert_array_equal(copied, X)
    copied[0] = 7
    assert (X[0] != 7).all()


def test_an_estimator_takes_the_name() -> None:
    """As clones and pickles copy it, the module itself it cannot take."""
    sklearn = pytest.importorskip("sklearn.base")
    pytest.importorskip("dask.array")
    from xpmlp.sklearn import MLPRegressor

    made = MLPRegressor(
        hidden_layer_sizes=(4,), max_iter=1, backend="dask.array", random_state=0, solver="sgd"
    )
    with pytest.warns(UserWarning, match="Maximum iterations"):
        fitted = sklearn.clone(made).fit(X, X[:, 0])
    again = pickle.loads(pickle.dumps(fitted))
    assert fitted.mlp_.backend.name == again.mlp_.backend.name == "dask.array"
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_a_run_resumes_on_it(tmp_path: Path) -> None:
    pytest.importorskip("array_api_strict")

    class PowerCut(xpmlp.Callback):
        def on_epoch_begin(self, training: Any) -> None:
            if training.epoch == 2:
                raise RuntimeError("no power")

    def run(folder: str, *callbacks: xpmlp.Callback) -> xpmlp.MLP:
        mlp = xpmlp.MLP([3, 5, 4], dropout=0.2, backend="array_api_strict", seed=0)
        options = {"checkpoints": tmp_path / folder, "resume": True, "callbacks": callbacks}
        mlp.fit(X, Y, epochs=4, batch_size=16, **options)
        return mlp

    with pytest.raises(RuntimeError, match="no power"):
        run("cut", PowerCut())
    resumed, whole = run("cut"), run("whole")
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name], value)


def test_names_that_need_no_import() -> None:
    assert all(map(is_registered, ("auto", "numpy", "jax", "strict")))
    assert not is_registered("dask.array")


def test_it_is_an_eager_backend() -> None:
    backend = adapted("numpy")
    assert isinstance(backend, EagerBackend)
    assert backend.compile(lambda state, data, plan, k: state).execution.mode == "eager"
