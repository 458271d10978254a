"""Inside a step no value crosses between the host and the device.

array-api-strict says so of the standard's functions, dpnp of what the library of a real device does
in them: Python's numbers in a formula, indices, reductions.
"""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import make_backend
from test_training import N, everything, example, model, suited

import xpmlp
from xpmlp import losses

READS = (
    *("__float__", "__int__", "__bool__", "__index__", "__complex__", "__array__", "__dlpack__"),
)
Door = tuple[Any, str]


def strict() -> tuple[Any, list[Door]]:
    """The backend, and between host and device all functions of its library: owner and name."""
    backend = make_backend("strict")
    return backend, [(backend.xp, "asarray"), (backend.xp, "from_dlpack")]


def dpnp() -> tuple[Any, list[Door]]:
    backend = make_backend("dpnp")
    kernels, copies = map(
        importlib.import_module, ("dpnp.tensor._tensor_impl", "dpnp.tensor._copy_utils")
    )
    return backend, [
        (kernels, "_copy_numpy_ndarray_into_usm_ndarray"),
        (kernels, "mask_positions"),  # counts a mask, and a boolean index waits for the number
        (copies, "_copy_to_numpy"),
    ]


def guarded(library: Callable[[], tuple[Any, list[Door]]]) -> Any:
    """A backend that raises an error if a value crosses while its steps run."""
    backend, doors = library()
    array = type(backend.asarray(np.ones(1)))
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
                    for read in READS:
                        patch.setattr(array, read, refuse, raising=False)
                    for owner, door in doors:
                        patch.setattr(owner, door, refuse)
                    try:
                        return run(*arguments)
                    finally:  # a library may turn the error into another
                        assert not crossed, "a value crossed between host and device"

        return Guarded()

    backend.compile = compile_guarded
    return backend


each_library = pytest.mark.parametrize("library", [strict, dpnp])


@each_library
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_nothing_crosses_for_a_loss(loss: str, library: Any) -> None:
    X, labels = example()
    history = everything(guarded(library), loss=loss).fit(
        X,
        suited(loss, labels),
        sample_weight=np.linspace(0.5, 1.5, N),
        epochs=1,
        batch_size=20,
        optimizer=xpmlp.Adam(1e-3, clip_norm=1.0, clip_value=1.0),
    )
    assert np.isfinite(history["loss"][0])


@each_library
@pytest.mark.parametrize("loss", losses.DISTRIBUTIONS)
def test_nothing_crosses_for_a_distribution(loss: str, library: Any) -> None:
    X, _ = example()
    outputs = 2 * losses.loss(loss).outputs_per_target
    mlp = xpmlp.MLP(
        [X.shape[1], 8, outputs], loss=loss, scaling="standard", backend=guarded(library)
    )
    history = mlp.fit(X, X[:, :2].astype(float), epochs=1, batch_size=20)
    assert np.isfinite(history["loss"][0])
    assert np.isfinite(history["r2"][0])


@each_library
@pytest.mark.parametrize("optimizer", xpmlp.optimizers.OPTIMIZERS)
def test_nothing_crosses_for_an_optimizer(optimizer: str, library: Any) -> None:
    mlp = model(guarded(library), normalization="layer")
    history = mlp.fit(*example(), epochs=1, batch_size=20, optimizer=optimizer)
    assert np.isfinite(history["loss"][0])


@each_library
def test_nothing_crosses_for_groups_averages_and_schedules(library: Any) -> None:
    falling = xpmlp.schedules.FlatCos(0.3)
    optimizer = xpmlp.AdamW(
        falling,
        weight_decay=falling,
        clip_norm=1.0,
        groups={"dense1.W": {"rate": 0}, "*.b": {"rate": 0.1, "schedule": falling}},
        average=0.9,
    )
    mlp = model(guarded(library), dropout=falling, input_dropout=falling, max_norm=1.0)
    history = mlp.fit(*example(), epochs=2, batch_size=20, optimizer=optimizer)
    assert np.isfinite(history["loss"][1])


@each_library
@pytest.mark.parametrize("activation", xpmlp.activations.ACTIVATIONS)
def test_nothing_crosses_for_an_activation(activation: str, library: Any) -> None:
    mlp = model(guarded(library), activation=activation)
    assert np.isfinite(mlp.fit(*example(), epochs=1, batch_size=20)["loss"][0])


@each_library
@pytest.mark.parametrize("sharing", ["none", "mini", "full"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_nothing_crosses_for_an_ensemble(sharing: str, shuffle: bool, library: Any) -> None:
    """Orders, dropout and rates of each network, or of all."""
    rate: Any = xpmlp.schedules.PerNetwork([0.1, 0.2]) if sharing == "none" else 0.1
    mlp = everything(guarded(library), ensemble=2, sharing=sharing)
    history = mlp.fit(
        *example(),
        sample_weight=np.linspace(0.5, 1.5, N),
        epochs=1,
        batch_size=20,
        shuffle=shuffle,
        optimizer=xpmlp.SGD(rate, clip_norm=1.0, clip_value=1.0),
    )
    assert np.isfinite(history["loss"][0])


FAULTS = {
    "float": lambda backend, x: float(x[0]),
    "int": lambda backend, x: int(x[0]),
    "branch": lambda backend, x: 1 if x[0] > 0 else 2,
    "index": lambda backend, x: range(100)[x[0]],
    "copy": lambda backend, x: backend.to_numpy(x),
    "number": lambda backend, x: backend.xp.asarray(2.0, device=backend.device),
    "list": lambda backend, x: backend.xp.asarray([1.0, 2.0], device=backend.device),
    "array": lambda backend, x: backend.asarray(np.ones(2)),
}
OF_DPNP = {
    "item": lambda backend, x: x[0].item(),
    "tolist": lambda backend, x: x.tolist(),
    "boolean index": lambda backend, x: x[x > 0],
    "number written": lambda backend, x: x.__setitem__(0, np.int32(1)),
    "rows written": lambda backend, x: x.__setitem__(slice(0, 2), np.ones(2)),
    "NumPy's number": lambda backend, x: x * np.int32(2),
    "usm_ndarray": lambda backend, x: backend.xp.tensor.asnumpy(x.get_array()),
}


@pytest.mark.parametrize(
    ("library", "fault"),
    [*((library, fault) for library in (strict, dpnp) for fault in FAULTS)]
    + [(dpnp, fault) for fault in OF_DPNP],
)
def test_a_fault_in_a_formula_is_caught(library: Any, fault: str) -> None:
    """Planted where a step takes its rows; before and after steps, values may cross."""
    backend, crossing = guarded(library), (FAULTS | OF_DPNP)[fault]
    gather = backend.ops.gather_batch

    def faulty(X: Any, y: Any, weight: Any, rows: Any, *rest: Any) -> Any:
        crossing(backend, rows)
        return gather(X, y, weight, rows, *rest)

    crossing(backend, backend.asarray(np.arange(3, dtype=np.int32)))
    backend.ops = replace(backend.ops, gather_batch=faulty)
    with pytest.raises(AssertionError, match="a value crossed"):
        model(backend).fit(*example(), epochs=1, batch_size=20)
