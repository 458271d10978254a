"""Inside a step no value crosses between the host and the device.

array-api-strict says so of the standard's functions, dpnp of what a real device's library does in
them: Python's numbers in a formula, indices, reductions.
"""

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from test_training import N, everything, example, model, suited

import xpmlp
from xpmlp import losses

LIBRARIES = ("strict", "dpnp")
READS = ("__float__", "__int__", "__bool__", "__index__", "__complex__", "__array__")


def doors(backend: Any) -> list[tuple[Any, str]]:
    """All functions through which the library's values cross, as owner and name."""
    array = type(backend.asarray(np.ones(1)))
    if backend.name == "strict":
        between = [(backend.xp, "asarray"), (backend.xp, "from_dlpack")]
    else:
        kernels, copies = map(
            importlib.import_module, ("dpnp.tensor._tensor_impl", "dpnp.tensor._copy_utils")
        )
        between = [
            (kernels, "_copy_numpy_ndarray_into_usm_ndarray"),
            (kernels, "mask_positions"),  # counts a mask, which boolean indices wait for
            (copies, "_copy_to_numpy"),
        ]
    return [*((array, name) for name in READS), *between]


def guarded(name: str) -> Any:
    """A backend that raises an error if a value crosses while its steps run."""
    backend = make_backend(name)
    compiled, crossed = backend.compile, []

    def refuse(*arguments: Any, **options: Any) -> Any:
        crossed.append(arguments)
        raise AssertionError

    def compile_guarded(step: Any) -> Any:
        run = compiled(step)

        class Guarded:
            execution = run.execution

            def __call__(self, *arguments: Any) -> Any:
                with pytest.MonkeyPatch.context() as patch:
                    for owner, door in doors(backend):
                        patch.setattr(owner, door, refuse, raising=door not in READS)
                    try:
                        return run(*arguments)
                    finally:  # a library may turn the error into another
                        assert not crossed, "a value crossed between host and device"

        return Guarded()

    backend.compile = compile_guarded
    return backend


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_nothing_crosses_for_a_loss(loss: str, name: str) -> None:
    X, labels = example()
    history = everything(guarded(name), loss=loss).fit(
        X,
        suited(loss, labels),
        sample_weight=np.linspace(0.5, 1.5, N),
        epochs=1,
        batch_size=20,
        optimizer=xpmlp.Adam(1e-3, clip_norm=1.0, clip_value=1.0),
    )
    assert np.isfinite(history["loss"][0])


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("optimizer", xpmlp.optimizers.OPTIMIZERS)
def test_nothing_crosses_for_an_optimizer(optimizer: str, name: str) -> None:
    mlp = model(guarded(name), normalization="layer")
    history = mlp.fit(*example(), epochs=1, batch_size=20, optimizer=optimizer)
    assert np.isfinite(history["loss"][0])


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("activation", xpmlp.activations.ACTIVATIONS)
def test_nothing_crosses_for_an_activation(activation: str, name: str) -> None:
    history = model(guarded(name), activation=activation).fit(*example(), epochs=1, batch_size=20)
    assert np.isfinite(history["loss"][0])


FAULTS = {
    "float": lambda backend, x: float(x[0]),
    "int": lambda backend, x: int(x[0]),
    "branch": lambda backend, x: 1 if x[0] > 0 else 2,
    "index": lambda backend, x: range(100)[x[0]],
    "copy to the host": lambda backend, x: backend.to_numpy(x),
    "number": lambda backend, x: backend.xp.asarray(2.0, device=backend.device),
    "list": lambda backend, x: backend.xp.asarray([1.0, 2.0], device=backend.device),
    "array": lambda backend, x: backend.asarray(np.ones(2)),
}
OF_DPNP = {
    "item": lambda backend, x: x[0].item(),
    "list of numbers": lambda backend, x: x.tolist(),
    "boolean index": lambda backend, x: x[x > 0],
    "write": lambda backend, x: x.__setitem__(0, np.int32(1)),
    "write of rows": lambda backend, x: x.__setitem__(slice(0, 2), np.ones(2)),
    "NumPy's number": lambda backend, x: x * np.int32(2),
    "usm_ndarray": lambda backend, x: backend.xp.tensor.asnumpy(x.get_array()),
}
PLANTED = [(library, fault) for library in LIBRARIES for fault in FAULTS]


@pytest.mark.parametrize(("name", "fault"), [*PLANTED, *(("dpnp", fault) for fault in OF_DPNP)])
def test_a_fault_in_a_formula_is_caught(name: str, fault: str) -> None:
    """Planted where a step takes its rows; before and after steps, values may cross."""
    backend, crossing = guarded(name), (FAULTS | OF_DPNP)[fault]
    gather = backend.ops.gather_batch

    def faulty(X: Any, y: Any, weight: Any, rows: Any, *rest: Any) -> Any:
        crossing(backend, rows)
        return gather(X, y, weight, rows, *rest)

    crossing(backend, backend.asarray(np.arange(3, dtype=np.int32)))
    backend.ops = replace(backend.ops, gather_batch=faulty)
    with pytest.raises(AssertionError, match="a value crossed"):
        model(backend).fit(*example(), epochs=1, batch_size=20)
