"""dpnp: its queue, its devices, what is said where it finds none, and when ``auto`` takes it."""

import importlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from conftest import make_backend
from xpmlp_backends import backend_of, why_not
from xpmlp_backends import dpnp as _dpnp

import xpmlp
from xpmlp.arrays.dlpack import give_back
from xpmlp.errors import BackendError, InvalidTypeError

X = np.random.default_rng(0).standard_normal((32, 3))
Y = np.arange(32) % 4
LARGE = 2_000


@pytest.fixture
def dpnp() -> Any:
    """The backend on the CPU's device."""
    return make_backend("dpnp")


def model(backend: Any) -> xpmlp.MLP:
    mlp = xpmlp.MLP([3, 5, 4], backend=backend, dtype="float64", seed=0)
    mlp.fit(X, Y, epochs=1)
    return mlp


# Its queue


def product(xp: Any, **options: Any) -> Any:
    """Start a product that takes the device a while; its numbers are all ``LARGE``."""
    ones = xp.ones((LARGE, LARGE), dtype=xp.float32, **options)
    ones.sycl_queue.wait()
    return ones @ ones


def test_synchronize_waits_for_all_that_was_started(dpnp: Any) -> None:
    result = product(dpnp.xp)
    for _ in range(10):
        result = result @ result * (1 / LARGE**2)
    everything = dpnp.device.sycl_queue.submit_barrier()
    started = everything.execution_status.name
    dpnp.synchronize()
    assert (started, everything.execution_status.name) != ("complete", "complete")
    assert everything.execution_status.name == "complete"


def test_memory_that_is_freed_while_the_device_uses_it(dpnp: Any) -> None:
    """Each result but the last has lost its name before the device has computed it."""
    result = product(dpnp.xp)
    for _ in range(20):
        result = result @ dpnp.xp.full((LARGE, LARGE), 1 / LARGE, dtype=dpnp.xp.float32)
    np.testing.assert_allclose(dpnp.to_numpy(result), LARGE, rtol=1e-4)


def another_queue(backend: Any) -> Any:
    return importlib.import_module("dpctl").SyclQueue(backend.place)


@pytest.mark.parametrize("kind", ["queue", "usm_ndarray"])
def test_arrays_of_another_queue_are_imported_when_they_are_finished(dpnp: Any, kind: str) -> None:
    """dpnp itself does not wait for the other queue."""
    queue = another_queue(dpnp)
    theirs = product(dpnp.xp, sycl_queue=queue)
    if kind == "usm_ndarray":
        theirs = theirs.get_array()
    assert not dpnp.owns(theirs)
    ours = dpnp.from_dlpack(theirs)
    assert dpnp.owns(ours)
    assert (dpnp.to_numpy(ours + 0) == LARGE).all()


@pytest.mark.parametrize("kind", ["queue", "usm_ndarray"])
def test_a_model_takes_and_returns_arrays_of_another_queue(dpnp: Any, kind: str) -> None:
    theirs = dpnp.asarray(X)
    if kind == "queue":
        theirs = theirs.to_device(another_queue(dpnp))
        theirs.sycl_queue.wait()
    else:
        theirs = theirs.get_array()
    mlp = model(dpnp)
    found = mlp.predict_proba(theirs)
    assert found.sycl_queue == theirs.sycl_queue
    np.testing.assert_array_equal(dpnp.xp.asnumpy(found), mlp.predict_proba(X))


def test_results_for_another_queue_are_finished(dpnp: Any) -> None:
    theirs = dpnp.xp.ones(1, sycl_queue=another_queue(dpnp))
    found = give_back(dpnp, theirs, product(dpnp.xp))
    assert found.device == theirs.device
    assert (dpnp.to_numpy(found + 0) == LARGE).all()


def test_the_hosts_arrays_are_not_on_its_device(dpnp: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"X: found a torch.Tensor on cpu; .* with dpnp on"):
        model(dpnp).predict(make_backend("torch").asarray(X))
    with pytest.raises(InvalidTypeError, match=r"found a dpnp.*with numpy on cpu.*mlp.to\('dpnp'"):
        model("numpy").predict(dpnp.asarray(X))


def test_copies_own_their_memory(dpnp: Any) -> None:
    """dpnp's copy of a view holds all that the view is a part of."""
    rows = dpnp.to_numpy(dpnp.asarray(X)[::5, 1:])
    assert rows.flags.owndata
    np.testing.assert_array_equal(rows, X[::5, 1:])


@pytest.mark.parametrize("number", [True, 3, -7, 0.1, -0.0, np.nan, -np.inf])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float32", "float64"])
def test_numbers_that_the_device_writes_are_those_that_were_copied(
    dpnp: Any, number: Any, dtype: str
) -> None:
    ones = np.ones(2, dtype)
    if number == -7 and dtype == "uint8":
        with pytest.raises(OverflowError):
            dpnp.asarray(ones) * number
        return
    found = dpnp.to_numpy(dpnp.asarray(ones) * number)
    expected = ones * np.asarray(number, found.dtype)
    assert found.dtype.kind == (ones * number).dtype.kind
    assert found.tobytes() == expected.tobytes()


@pytest.mark.slow
def test_digits_are_learned(dpnp: Any, tried: Any) -> None:
    data = xpmlp.data.load_digits()
    mlp = xpmlp.MLP([64, 128, 10], dropout=0.2, backend=dpnp, seed=0)
    mlp.fit(data.X, data.y, epochs=12, batch_size=64, optimizer=xpmlp.Adam(5e-3))
    accuracy = mlp.evaluate(data.X_test, data.y_test)["accuracy"]
    assert len(data.y_test) > 350
    tried(f"digits on dpnp: {accuracy:.1%} of the test part")
    assert accuracy >= 0.97


@pytest.mark.parametrize(("dtype", "bar"), [("float64", 1e-10), ("float32", 1e-4)])
def test_a_hundred_steps_end_at_numpys_weights(
    dpnp: Any, dtype: str, bar: float, tried: Any
) -> None:
    """And have its losses, as ``test_training.py`` says of every backend; here relative."""
    rng = np.random.default_rng(11)
    X = rng.standard_normal((64, 6)).astype(dtype)
    y = np.argmax(X[:, :3] + 0.3 * X[:, 3:], axis=1)
    (history, weights), (their_history, theirs) = (
        trained(make_backend(name), X, y, dtype) for name in ("numpy", "dpnp")
    )
    losses = relative(np.asarray(their_history), np.asarray(history))
    furthest = max(relative(theirs[name], weights[name]) for name in weights)
    tried(f"100 steps on dpnp in {dtype}: losses within {losses:.1e}, weights {furthest:.1e}")
    assert max(losses, furthest) <= bar


class Losses(xpmlp.Callback):
    """Every step's loss."""

    every = 1

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_batch_end(self, training: Any) -> None:
        self.values.append(training.batch_loss)


def trained(backend: Any, X: Any, y: Any, dtype: str) -> tuple[list[float], dict[str, np.ndarray]]:
    mlp = xpmlp.MLP([6, 16, 16, 3], backend=backend, dtype=dtype, dropout=0.2, l2=1e-3, seed=3)
    seen = Losses()
    mlp.fit(X, y, epochs=25, batch_size=16, optimizer=xpmlp.Adam(1e-2), callbacks=[seen])
    assert len(seen.values) == 100
    return seen.values, mlp.state_dict()


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))


# Its devices


def test_an_array_finds_its_backend(dpnp: Any) -> None:
    found = backend_of(dpnp.asarray(X))
    assert (found.name, found.place, found.device) == ("dpnp", dpnp.place, dpnp.device)
    assert dpnp.place.endswith(":cpu:0")


def test_a_pickle_finds_the_device_again(dpnp: Any) -> None:
    mlp = model(dpnp)
    again = pickle.loads(pickle.dumps(mlp))
    assert again.backend.device == dpnp.device
    np.testing.assert_array_equal(again.predict_proba(X), mlp.predict_proba(X))


@pytest.mark.parametrize("device", ["gpu:7", "opencl", "cpu", "opencl:cpu", "opencl:cpu:0", "0"])
def test_devices_by_filter_string(dpnp: Any, device: str) -> None:
    if device != "gpu:7":
        assert xpmlp.backend("dpnp", device).place == dpnp.place
        return
    with pytest.raises(BackendError, match=f"found device 'gpu:7'; expected one of .*{dpnp.place}"):
        xpmlp.backend("dpnp", device)


def test_too_much_memory_is_told_from_other_errors(dpnp: Any) -> None:
    with pytest.raises(Exception, match="allocation") as raised:
        dpnp.xp.empty(2**50)
    assert dpnp.ran_out(raised.value)
    assert dpnp.ran_out(
        RuntimeError("Native API returns: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)")
    )
    assert not dpnp.ran_out(RuntimeError("Native API returns: 30 (UR_RESULT_ERROR_INVALID_VALUE)"))


# A GPU, and none


def on_gpu(**facts: Any) -> Any:
    """The backend on a device with these facts, NumPy computing in the place of dpnp."""
    facts = {"is_gpu": True, "has_aspect_fp64": True, "global_mem_size": 2**34} | facts
    device = SimpleNamespace(name="Fake 100", filter_string="level_zero:gpu:0", **facts)
    return _dpnp.DpnpBackend(xp, SimpleNamespace(sycl_device=device))


def test_what_a_gpu_can_and_is_called() -> None:
    assert on_gpu().capabilities == {"gpu", "float64", "mutable"}
    assert on_gpu(has_aspect_fp64=False).capabilities == {"gpu", "mutable"}
    assert (on_gpu().place, on_gpu().device_name()) == ("level_zero:gpu:0", "Fake 100")


@pytest.mark.parametrize(
    ("said", "memory"), [({"free_memory": 2**33}, (2**33, 2**33, 2**34)), ({}, (0, 2**34, 2**34))]
)
def test_a_gpus_memory(said: Any, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    utils = SimpleNamespace(intel_device_info=lambda device: said)
    monkeypatch.setitem(sys.modules, "dpctl.utils", utils)
    assert on_gpu().memory() == memory


def test_float64_where_the_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """dpnp then refuses it with an error of Python's."""
    backend = on_gpu(has_aspect_fp64=False)

    def refuses(*arguments: Any, **options: Any) -> Any:
        raise ValueError("Requested dtype is not supported by the device")

    monkeypatch.setattr(backend, "asarray", refuses)
    with pytest.raises(BackendError, match="backend 'dpnp' has no float64; use dtype='float32'"):
        xpmlp.MLP([2, 1], backend=backend, dtype="float64")


@pytest.mark.parametrize(
    ("installed", "found", "devices", "ones", "reason"),
    [
        (True, True, True, np.ones, None),
        (False, True, True, np.ones, "dpnp is not installed"),
        (True, False, True, np.ones, "dpnp finds no GPU"),
        (True, True, False, np.ones, "dpnp finds no GPU"),
        (True, True, True, np.zeros, "dpnp's GPU computes wrong results"),
        (True, True, True, None, "dpnp's GPU does not work: TypeError: 'NoneType'"),
    ],
)
def test_a_gpu_counts_only_if_it_computes(
    installed: bool, found: bool, devices: bool, ones: Any, reason: str | None, monkeypatch: Any
) -> None:
    library = SimpleNamespace(
        float32="float32", ones=ones and (lambda shape, dtype, device: ones(shape, dtype))
    )
    monkeypatch.setitem(sys.modules, "dpctl", SimpleNamespace(has_gpu_devices=lambda: devices))
    monkeypatch.setitem(sys.modules, "dpnp", library)
    monkeypatch.setattr(_dpnp, "find_spec", lambda name: installed or None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os.path, "exists", lambda path: found and path == "/dev/dri")
    said = _dpnp.no_gpu.__wrapped__()
    assert said == reason or (reason and said.startswith(reason))


def fresh(code: str, **environment: str) -> str:
    """What a new process prints."""
    path = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path, "XPMLP_BACKEND": ""} | environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.skipif(Path("/dev/dri").exists() or Path("/dev/dxg").exists(), reason="GPUs are here")
def test_auto_does_not_import_it_where_no_gpu_can_be(tmp_path: Path) -> None:
    (tmp_path / "dpnp.py").write_text("raise SystemExit('dpnp was imported')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import xpmlp_backends as b; "
    said = fresh(code + "print(b.backend('auto').name, b.auto()[1])")
    if why_not("cupy"):
        assert said.startswith("numpy ")
        assert said.endswith(", and dpnp finds no GPU")


def test_what_to_set_is_said_and_helps() -> None:
    make_backend("dpnp")
    code = "import xpmlp_backends as b; print(b.why_not('dpnp'))"
    said = fresh(code, OCL_ICD_FILENAMES="")
    if said == "None":
        pytest.skip("the system has an OpenCL device of its own")
    variable, path = re.findall(r"set (\w+)=(\S+) before Python starts", said)[0]
    assert Path(path).is_file()
    assert fresh(code, **{variable: path}) == "None"


def test_without_the_runtime_the_install_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dpnp, "files", lambda name: [])
    assert "install Intel's OpenCL runtime: pip install 'xpmlp[dpnp]'" in _dpnp.no_device()
