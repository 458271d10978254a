"""Pickles, joblib's dumps and deep copies of models, between processes and machines."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xpmlp_backends
from conftest import BACKENDS, assert_close, make_backend
from xpmlp_backends.cupy import backend as _cupy
from xpmlp_backends.numpy.backend import NumpyBackend

import xpmlp
from xpmlp import losses
from xpmlp.nn import gradcheck
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.schedules import Cosine, Custom

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def wave(xp: Any, z: Any) -> Any:
    return z + 0.5 * xp.sin(z)


def wave_derivative(xp: Any, z: Any) -> Any:
    return 1.0 + 0.5 * xp.cos(z)


def cubed(ops: Any, z: Any) -> Any:
    return z * z * z


def cubed_derivative(ops: Any, z: Any, h: Any) -> Any:
    return 3.0 * z * z


def log_cosh(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
    e = z - y
    return xp.sum(xp.log(xp.cosh(e)), axis=1), xp.tanh(e)


def twice_normal(rng: Any, n_in: int, n_out: int) -> Any:
    return 2.0 * rng.standard_normal((n_in, n_out))


CUBED = xpmlp.Activation("cubed", cubed, cubed_derivative)
VALUES = {"own loss", "own output", "huber"}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "activation": ["swish", "gelu"],
        "normalization": "batch",
        "residual": True,
        "dropout": [0.25, 0.1],
        "l2": 1e-3,
        "max_norm": 2.0,
        "scaling": "standard",
        "loss": losses.SparseCategoricalCrossEntropy(0.05),
        "dtype": "float64",
    },
    "built-in object": {"activation": ACTIVATIONS["mish"]},
    "own activation": {"activation": (wave, wave_derivative)},
    "own initializer": {"initializer": twice_normal},
    "own loss": {"loss": log_cosh, "scaling": "standard"},
    "own output": {"loss": "mse", "output": CUBED},
    "huber": {"loss": losses.Huber(2.0), "output": "tanh"},
    "precision": {"precision": "bf16"},
}


def data(name: str = "plain") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(17)
    X = 2 + 3 * rng.standard_normal((48, 4))
    return X, rng.standard_normal((48, 3)) if name in VALUES else rng.integers(0, 3, 48)


def trained(name: str = "plain", backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    mlp = xpmlp.MLP([4, 6, 6, 3], backend=backend, **{"seed": 7} | OPTIONS[name] | options)
    mlp.metadata = {"classes": ["a", "b", "c"]}
    mlp.fit(*data(name), epochs=2, batch_size=16)
    return mlp


def go_on(mlp: xpmlp.MLP, name: str = "plain", **options: Any) -> dict[str, np.ndarray]:
    """What the model's numbers are after two more epochs of the same training."""
    history = mlp.fit(*data(name), epochs=2, batch_size=16, continued=True, **options)
    return mlp.state_dict() | {"loss": np.array(history["loss"])}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].tobytes() == value.tobytes(), name


@pytest.fixture
def by_name(backend: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each backend in turn, which is also what its name stands for."""
    module: Any = SimpleNamespace(create=lambda device: backend)
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(xpmlp_backends.TABLE, backend.name, "stand_in")
    return backend


def by_pickle(mlp: xpmlp.MLP) -> xpmlp.MLP:
    made: xpmlp.MLP = pickle.loads(pickle.dumps(mlp))
    return made


WAYS: list[Callable[[xpmlp.MLP], xpmlp.MLP]] = [by_pickle, copy.deepcopy, copy.copy]


# The same model


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.sampled(4)
def test_all_comes_back(name: str, protocol: int) -> None:
    mlp, X = trained(name), data(name)[0]
    found = pickle.loads(pickle.dumps(mlp, protocol))
    assert_same(found.state_dict(), mlp.state_dict())
    assert found.network.architecture == mlp.network.architecture
    assert found.task == mlp.task
    assert found.metadata == mlp.metadata
    for one in ("penalty", "seed", "dtype", "precision", "epochs_trained"):
        assert getattr(found, one) == getattr(mlp, one)
    assert np.array_equal(found.predict(X), mlp.predict(X))
    assert found.evaluate(*data(name)) == mlp.evaluate(*data(name))
    assert_same(found.copy().state_dict(), mlp.state_dict())
    assert found.summary() == mlp.summary()
    assert_same(go_on(found, name), go_on(mlp, name))


def test_a_training_goes_on_bit_for_bit(by_name: Any) -> None:
    mlp = trained(backend=by_name, dropout=0.2, normalization="batch", scaling="standard")
    before = mlp.state_dict()
    made = [way(mlp) for way in WAYS]
    expected = go_on(mlp)
    assert not np.array_equal(expected["dense1.W"], before["dense1.W"])
    for found in made:
        assert found.backend is by_name
        assert_same(found.state_dict(), before)
        assert_same(go_on(found), expected)
        assert found.progress is not None
        assert (found.progress.epochs, found.progress.steps, found.epochs_trained) == (4, 12, 4)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_is_not_trained(way: Any) -> None:
    mlp = xpmlp.MLP([4, 6, 3], backend="numpy", seed=7)
    found = way(mlp)
    assert found.progress is None
    with pytest.raises(ValueError, match="call fit"):
        found.predict(data()[0])
    for one in (mlp, found):
        one.fit(*data(), epochs=2, batch_size=16)
    assert_same(found.state_dict(), mlp.state_dict())


def test_a_deep_copy_is_independent() -> None:
    mlp = trained("everything")
    made = copy.deepcopy(mlp)
    before, history = mlp.state_dict(), mlp.progress and list(mlp.progress.history["loss"])
    made.metadata["classes"].append("d")
    go_on(made, "everything")
    assert_same(mlp.state_dict(), before)
    assert mlp.metadata == {"classes": ["a", "b", "c"]}
    assert mlp.progress is not None
    assert mlp.progress.history["loss"] == history
    assert (mlp.epochs_trained, made.epochs_trained) == (2, 4)


def test_pickling_changes_nothing() -> None:
    mlp, other = trained("everything"), trained("everything")
    pickle.dumps(mlp)
    assert_same(go_on(mlp, "everything"), go_on(other, "everything"))


class Named(xpmlp.MLP):
    """A user's own kind of model, with something of its own."""

    home = ""


def test_a_subclass_with_something_of_its_own() -> None:
    mlp = Named([2, 2], backend="numpy")
    mlp.home = "London"
    for found in (by_pickle(mlp), copy.deepcopy(mlp)):
        assert type(found) is Named
        assert found.home == "London"


@pytest.mark.parametrize("rate", [Cosine(0.02), Custom(0.02)])
def test_schedules_travel_with_the_progress(rate: Any) -> None:
    mlp = xpmlp.MLP([4, 6, 3], backend="numpy", seed=7)
    mlp.fit(*data(), epochs=2, batch_size=16, optimizer=xpmlp.Adam(rate))
    found = by_pickle(mlp)
    assert found.progress is not None
    assert found.progress.optimizer == xpmlp.Adam(rate)
    assert_same(go_on(found), go_on(mlp))


# Functions


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_built_in_activation_stays_itself(name: str, protocol: int) -> None:
    spec = ACTIVATIONS[name]
    assert pickle.loads(pickle.dumps(spec, protocol)) is spec
    assert copy.deepcopy(spec) is spec


def test_a_registered_activation_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    sine = xpmlp.Activation("sine", lambda ops, z: ops.xp.sin(z), lambda ops, z, h: ops.xp.cos(z))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(sine)
    monkeypatch.setitem(ACTIVATIONS, "sine", sine)
    assert pickle.loads(pickle.dumps(sine)) is sine


def test_an_own_activation_comes_back_equal_and_is_not_checked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlp = xpmlp.MLP([4, 3], output=CUBED, loss="mse", backend="numpy", seed=1)
    monkeypatch.setattr(gradcheck, "check_activation_at", None)  # a call of it now fails
    found = by_pickle(mlp)
    assert found.output == CUBED
    assert found.output is not CUBED
    found.fit(*data("own output"), epochs=1)


def test_a_model_loaded_with_own_functions_can_be_pickled(tmp_path: Path) -> None:
    mlp = trained("own activation")
    mlp.save(tmp_path / "m.xpmlp")
    custom = {"wave": (wave, wave_derivative)}
    loaded = by_pickle(xpmlp.load(tmp_path / "m.xpmlp", backend="numpy", custom=custom))
    assert loaded.network.architecture == mlp.network.architecture
    assert np.array_equal(loaded.predict(data()[0]), mlp.predict(data()[0]))


@pytest.mark.parametrize(
    "options",
    [
        {"activation": (lambda xp, z: 2.0 * z, lambda xp, z: 2.0 * xp.ones_like(z))},
        {"loss": lambda xp, z, y: (xp.sum((z - y) ** 2, axis=1), 2.0 * (z - y))},
        {"initializer": lambda rng, n_in, n_out: rng.standard_normal((n_in, n_out))},
    ],
    ids=["activation", "loss", "initializer"],
)
def test_a_lambda_is_refused_in_the_words_of_pickle(options: dict[str, Any]) -> None:
    mlp = xpmlp.MLP([2, 3, 3, 2], backend="numpy", seed=1, **options)
    with pytest.raises((pickle.PicklingError, AttributeError), match=r"(?i)can't .*lambda"):
        pickle.dumps(mlp)
    assert_same(copy.deepcopy(mlp).state_dict(), mlp.state_dict())


# Backends


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copied_backend_is_itself(backend: Any, copied: Any) -> None:
    assert copied([backend])[0] is backend
    assert copied(backend) is backend


@pytest.mark.parametrize("name", xpmlp_backends.TABLE)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_backend_travels_by_name_and_device(name: str, protocol: int) -> None:
    backend = make_backend(name)
    found = pickle.loads(pickle.dumps(backend, protocol))
    assert type(found) is type(backend)
    assert (found.name, found.place) == (name, backend.place)
    assert found.device == backend.device
    mlp = by_pickle(xpmlp.MLP([4, 3], backend=backend))
    assert (type(mlp.backend), mlp.backend.device) == (type(backend), backend.device)


class Rounding(NumpyBackend):
    """A backend whose products can be rounded, so it says."""

    def with_precision(self, precision: str) -> "Rounding":
        made = Rounding(fused=False)
        made.precision = precision
        return made


def test_a_backend_keeps_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = SimpleNamespace(create=lambda device: Rounding(fused=False))
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(xpmlp_backends.TABLE, "numpy", "stand_in")
    rounding = Rounding(fused=False).with_precision("tf32")
    assert pickle.loads(pickle.dumps(rounding)).precision == "tf32"
    mlp = xpmlp.MLP([2, 2], precision="bf16")
    for found in (by_pickle(mlp), copy.deepcopy(mlp)):
        assert (found.precision, found.backend.precision) == ("bf16", "bf16")


class Theirs(NumpyBackend):
    """A third party's backend that knows nothing of pickles."""

    __copy__ = __deepcopy__ = None  # type: ignore[assignment]
    __reduce__ = object.__reduce__  # type: ignore[assignment]

    def __init__(self, device: Any) -> None:
        super().__init__(fused=False)
        self.name, self.device = "theirs", device

    @property
    def place(self) -> Any:
        raise AttributeError


class Second:
    """A device, as libraries have them."""

    def __str__(self) -> str:
        return "tpu:2"


def test_a_third_partys_backend_travels_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    point = SimpleNamespace(
        name="theirs", value="", load=lambda: lambda device: asked.append(device) or Theirs(device)
    )
    monkeypatch.setattr("xpmlp_backends.registry._plugins", lambda: [point])
    mlp = trained(backend=Theirs(Second()))
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(mlp.backend)
    made = copy.deepcopy(mlp)
    assert made.backend is mlp.backend
    assert asked == []
    found = by_pickle(mlp)
    assert asked == ["tpu:2"]
    assert found.backend.name == "theirs"
    expected = go_on(mlp)
    assert_same(go_on(made), expected)
    assert_same(go_on(found), expected)


# Where the backend cannot be


def fallen_back(content: bytes, *expected: str) -> xpmlp.MLP:
    """Load, and check what is said."""
    with pytest.warns(UserWarning, match="which cannot be made here") as said:
        found: xpmlp.MLP = pickle.loads(content)
    assert len(said) == 1
    message = str(said[0].message)
    for part in (*expected, "on NumPy now, with the same numbers", "mlp.to(...)"):
        assert part in message
    assert said[0].filename == __file__  # where pickle.loads was called, not where it ended
    assert found.backend.name == "numpy"
    return found


@pytest.mark.skipif(_cupy.why_not() is None, reason="CuPy works here")
def test_without_a_gpu_the_model_is_on_numpy() -> None:
    emulated = make_backend("cupy-emulated")
    mlp = trained(backend=emulated, precision="tf32", scaling="standard")
    found = fallen_back(pickle.dumps(mlp), "backend 'cupy' on 0", str(_cupy.why_not()))
    assert_same(found.state_dict(), mlp.state_dict())
    assert found.precision == "tf32"
    expected = go_on(copy.deepcopy(mlp).to("numpy"))
    assert_same(go_on(found), expected)
    assert found.to(emulated).backend.name == "cupy"
    with pytest.raises(xpmlp.XpmlpError, match="backend 'cupy'"):
        pickle.loads(pickle.dumps(emulated))


def test_without_the_library_or_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, theirs = trained(backend=make_backend("strict")), trained(backend=Theirs("tpu:2"))
    contents = [pickle.dumps(one) for one in (mlp, theirs)]
    monkeypatch.setitem(sys.modules, "array_api_strict", None)
    found = fallen_back(contents[0], "backend 'strict' on device1,", "pip install array-api-strict")
    assert_same(found.state_dict(), mlp.state_dict())
    found = fallen_back(contents[1], "backend 'theirs' on tpu:2", "unknown backend 'theirs'")
    assert_same(found.state_dict(), theirs.state_dict())


def test_a_library_that_is_broken_does_not_cost_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(device: str | None) -> Any:
        raise OSError("libbroken.so: undefined symbol")

    content = pickle.dumps(trained(backend=make_backend("strict")))
    monkeypatch.setitem(sys.modules, "broken", SimpleNamespace(create=create))  # type: ignore[misc]
    monkeypatch.setitem(xpmlp_backends.TABLE, "strict", "broken")
    fallen_back(content, "libbroken.so: undefined symbol")


def test_without_the_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(trained(backend=make_backend("strict"), dtype="float64"))
    strict = type(make_backend("strict"))
    monkeypatch.setattr(strict, "_has_float64", lambda self: False)
    assert fallen_back(content, "has no float64").dtype == "float64"


# Other processes

OTHER_PROCESS = """
import pickle, sys, warnings
from importlib.abc import MetaPathFinder

ALLOWED = {"numpy", "array_api_compat", "safetensors", "xpmlp", "xpmlp_backends", "own"}
ALLOWED |= set(sys.stdlib_module_names)

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if not name.startswith("_sysconfigdata") and name.split(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())

import numpy as np

X, y = np.load("X.npy"), np.load("y.npy")
for name in sys.argv[1:]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with open(f"{name}.pickle", "rb") as file:
            mlp = pickle.load(file)
    print(name, len(said), mlp.backend.name)
    assert not mlp.backend.fused
    mlp.fit(X, y, epochs=2, batch_size=16, continued=True)
    np.savez(f"{name}.npz", loss=mlp.progress.history["loss"], p=mlp.predict_proba(X),
             **mlp.state_dict())
    with open(f"{name}.back", "wb") as file:
        pickle.dump(mlp, file)
"""
OWN = '''
def soft(xp, z):
    """Softsign."""
    return z / (1.0 + xp.abs(z))

def soft_derivative(xp, z):
    return 1.0 / (1.0 + xp.abs(z)) ** 2
'''


@pytest.mark.slow
def test_a_process_with_numpy_alone_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every backend, with functions of the user's; and then back here."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own  # type: ignore[import-not-found]

    X, y = data()
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    models = {}
    for name in BACKENDS:
        try:
            models[name] = trained(
                backend=make_backend(name),
                activation=["gelu", (own.soft, own.soft_derivative)],
                dropout=0.2,
                normalization="batch",
                scaling="standard",
                dtype="float64",
            )
        except pytest.skip.Exception:
            continue
        (tmp_path / f"{name}.pickle").write_bytes(pickle.dumps(models[name]))
    path = [str(Path(m.__file__ or "").parents[1]) for m in (xpmlp, xpmlp_backends)]
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, *models],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*path, str(tmp_path)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [f"{name} {int(mlp.backend.name != 'numpy')} numpy" for name, mlp in models.items()]
    assert done.stdout.splitlines() == said
    plain = make_backend("numpy-plain")
    for name, mlp in models.items():
        expected = go_on(mlp.to(plain)) | {"p": mlp.predict_proba(X)}
        with np.load(tmp_path / f"{name}.npz") as found:
            assert_same({key: found[key] for key in expected}, expected)
        back = pickle.loads((tmp_path / f"{name}.back").read_bytes())
        assert_close(back.predict_proba(X), expected["p"], of_max=1e-12)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_arrays_that_joblib_maps_are_copied(name: str, tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    mlp = trained(backend=make_backend(name), scaling="standard")
    joblib.dump(mlp, path := tmp_path / "m.joblib")
    found = joblib.load(path, mmap_mode="r")
    path.write_bytes(bytes(path.stat().st_size))  # what is mapped is zeros now
    assert_same(go_on(found), go_on(mlp))
    assert np.array_equal(found.predict(data()[0]), mlp.predict(data()[0]))


@pytest.mark.slow
def test_joblibs_own_processes(tmp_path: Path) -> None:
    """Arrays above ``max_nbytes`` come to them mapped from a file and read-only."""
    joblib = pytest.importorskip("joblib")
    mlp = trained(scaling="standard")
    work = joblib.delayed(_goes_on)
    with joblib.Parallel(n_jobs=2, max_nbytes=10, temp_folder=tmp_path) as parallel:
        results = parallel(work(mlp, data()) for _ in range(2))
    expected = go_on(mlp)
    for found in results:
        assert_same(found.state_dict(), {k: v for k, v in expected.items() if k != "loss"})


def _goes_on(mlp: xpmlp.MLP, given: tuple[np.ndarray, np.ndarray]) -> xpmlp.MLP:
    mlp.fit(*given, epochs=2, batch_size=16, continued=True)
    return mlp
