"""dpnp: its queue, its devices, what is said where it finds none, and when ``auto`` takes it."""

import importlib
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from xpmlp_backends import backend_of

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
