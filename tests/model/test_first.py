"""First weights that depend on the first training data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.model.first import measured
from xpmlp.model.trace import trace
from xpmlp.training.prepare import settle


def problem(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = 50 + 20 * rng.standard_normal((n, 5))
    X[:, 3] = rng.integers(0, 7, n)
    return X, (X[:, 0] > X[:, 1]).astype(int)


def model(backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    options = {"initializer": "data", "bias_initializer": "data", "seed": 4} | options
    return xpmlp.MLP([5, 16, 16, 2], backend=backend, dtype="float64", **options)


STRUCTURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "standard": {"scaling": "standard"},
    "ntk, residual": {"parametrization": "ntk", "residual": True, "activation": "tanh"},
    "for tables": {
        "embedding": xpmlp.Embedding("piecewise", categories={3: 7}),
        "input_scale": True,
        "activation_mix": True,
        "parametrization": "ntk",
        "scaling": "robust",
        "dropout": 0.5,
    },
}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_each_unit_has_variance_1_and_its_kink_among_the_data(backend: Any, structure: str) -> None:
    mlp, (X, y) = model(backend, **STRUCTURES[structure]), problem()
    before = mlp.parameters
    settle(mlp, X, y)
    dense = [r for r in trace(mlp, X, y).records if r.layer.name.startswith("dense")]
    assert len(dense) == 3
    for record in dense:
        assert_close(record.y.std(axis=0), np.ones(record.y.shape[1]), atol=1e-9)
        assert (record.y.min(axis=0) < 0).all()
        assert (record.y.max(axis=0) > 0).all()
        old, new = (p[f"{record.layer.name}.W"] for p in (before, mlp.parameters))
        ratio = new / old  # the same direction as drawn
        assert_close(ratio, np.broadcast_to(ratio[:1], ratio.shape), rtol=1e-9)


def test_it_happens_once_and_not_to_weights_from_elsewhere(tmp_path: Path) -> None:
    X, y = problem()
    X = X / 100
    mlp = model()
    mlp.fit(X, y, epochs=1, optimizer=xpmlp.SGD(1e-300))
    first = mlp.parameters
    mlp.fit(2 * X, y, epochs=1, optimizer=xpmlp.SGD(1e-300))
    mlp.save(tmp_path / "m.xpmlp")
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    loaded.fit(3 * X, y, epochs=1, optimizer=xpmlp.SGD(1e-300))
    given = model()
    given.load_state_dict(first)
    given.fit(5 * X, y, epochs=1, optimizer=xpmlp.SGD(1e-300))
    for other in (mlp, loaded, given):
        for name, value in other.parameters.items():
            assert np.array_equal(value, first[name])


@pytest.mark.parametrize("which", ["initializer", "bias_initializer"])
def test_one_without_the_other(which: str) -> None:
    X, y = problem()
    mlp = model(**{"initializer": "he", "bias_initializer": "normal"} | {which: "data"})
    drawn = mlp.parameters
    settle(mlp, X, y)
    same = {name for name, value in mlp.parameters.items() if np.array_equal(value, drawn[name])}
    kind = ".W" if which == "bias_initializer" else ".b"
    assert same == {name for name in drawn if name.endswith(kind)}


def test_without_biases_and_with_units_that_have_no_spread() -> None:
    X, y = problem()
    mlp = model(bias=False)
    settle(mlp, np.ones_like(X), y)
    assert all(np.isfinite(value).all() for value in mlp.parameters.values())
    values = model(bias_initializer="data").network.initial_values(0)
    with np.errstate(all="ignore"):
        made = measured(model().network, values, np.full((3, 5), np.inf), 0)
    assert all(np.isfinite(value).all() for value in made.values())


def test_a_resumed_run_keeps_its_first_weights(tmp_path: Path) -> None:
    X, y = problem()
    folder = xpmlp.Checkpoints(tmp_path, every=2)

    class Stop(xpmlp.Callback):
        once = True

        def on_epoch_end(self, training: Any) -> None:
            if Stop.once:
                Stop.once = False
                raise RuntimeError("stop")

    whole = model()
    whole.fit(X, y, epochs=3)
    with pytest.raises(RuntimeError, match="stop"):
        model().fit(X, y, epochs=3, callbacks=[Stop()], checkpoints=folder)
    resumed = model()
    resumed.fit(X, y, epochs=3, callbacks=[Stop()], checkpoints=folder, resume=True)
    for name, value in whole.parameters.items():
        assert np.array_equal(value, resumed.parameters[name])
