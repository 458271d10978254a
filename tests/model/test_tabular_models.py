"""Models with the pieces for tables: fitted on every backend, in files, and with wrong inputs."""

import copy
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from model_files import forged, put, put_tensor, saved

import xpmlp
from xpmlp.errors import CheckpointError, InvalidTypeError, InvalidValueError
from xpmlp.model.examples import examples
from xpmlp.model.inputs import bins_of
from xpmlp.nn.numeric import BINS
from xpmlp.storage import tensorfile

ROWS = 90
CODES = {1: 4, 4: 12}

MODELS: dict[str, dict[str, Any]] = {
    "as RealMLP": {
        "activation": "selu",
        "embedding": xpmlp.Embedding("pbld", categories=CODES, size=3),
        "input_scale": True,
        "parametrization": "ntk",
        "activation_mix": True,
        "bias_initializer": "normal",
        "zero_last": True,
        "scaling": "robust",
        "dropout": 0.15,
    },
    "as TabM": {
        "embedding": xpmlp.Embedding("piecewise", categories=CODES, bins=7, outputs=3),
        "scaling": "standard",
        "normalization": "batch",
        "bias": False,  # Adam would make steps of what rounding leaves of its gradient
    },
    "scaled, mish": {"activation": "mish", "input_scale": True, "activation_mix": True},
}
MODES = {"numpy": "recorded", "jax": "compiled", "cupy": "captured in CUDA graphs"}


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((ROWS, 5))
    X[:, 0] *= 3
    for column, codes in CODES.items():
        X[:, column] = rng.integers(0, codes, ROWS)
    return X, ((X[:, 0] > X[:, 2]) ^ (X[:, 1] == 2)).astype(int)


def model(name: str, backend: Any = "numpy", **more: Any) -> xpmlp.MLP:
    options = {"dtype": "float64", "seed": 3} | MODELS[name] | more
    return xpmlp.MLP([5, 8, 8, 2], backend=backend, **options)


def fit(mlp: xpmlp.MLP, data: Any = None, **more: Any) -> xpmlp.History:
    options = {"epochs": 3, "batch_size": 16, "optimizer": xpmlp.Adam(0.01)} | more
    return mlp.fit(*(data or problem()), **options)


class Stop(xpmlp.Callback):
    """Ends a fit with an error when something has happened so many times before."""

    def __init__(self, when: str, times: int = 0) -> None:
        self.times = times
        setattr(self, when, self.count)

    def count(self, training: Any) -> None:
        if self.times == 0:
            raise RuntimeError("stop")
        self.times -= 1


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_is_the_same_on_every_backend(backend: Any, name: str) -> None:
    """And in the backend's fastest mode."""
    mlp, plain = model(name, backend), model(name, make_backend("numpy-readonly"))
    history, expected = fit(mlp), fit(plain)
    if type(backend).__name__ != "ReadonlyNumpy":
        mode = MODES.get(backend.name, "eager")
        assert (history.execution.mode, history.execution.notes) == (mode, ())
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-9)
    for key, value in plain.state_dict().items():
        assert_close(mlp.state_dict()[key], value, of_max=1e-8, atol=1e-12)
    X = problem(1)[0]
    assert_close(mlp.predict_proba(X), plain.predict_proba(X), of_max=1e-8)


def test_a_captured_fit(tmp_path: Path) -> None:
    pytest.importorskip("emulation")
    from conftest import REQUIRED

    if "cupy-emulated" not in REQUIRED:
        pytest.skip("XPMLP_REQUIRE_BACKENDS=numpy,cupy-emulated runs it, with g++")
    many = dict.fromkeys(range(12), 3)
    spec = xpmlp.Embedding("pbld", columns=range(13, 40, 2), categories=many)
    mlp = xpmlp.MLP([40, 6, 2], embedding=spec, backend=make_backend("cupy-emulated"), seed=0)
    X = np.zeros((64, 40))
    X[:, 13:] = np.random.default_rng(0).standard_normal((64, 27))
    history = mlp.fit(X, X[:, 13] > 0, epochs=2, batch_size=16)
    assert history.execution.mode == "captured in CUDA graphs"  # though there are so many parts


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_what_no_plain_network_does_so_soon(name: str) -> None:
    mlp = model(name)
    history = fit(mlp, epochs=60)
    assert history["loss"][-1] < 0.35 * history["loss"][0]


# Files, copies, pickles, checkpoints


@pytest.mark.parametrize("name", MODELS)
def test_all_comes_back(backend: Any, name: str, tmp_path: Path) -> None:
    mlp, X = model(name, backend), problem(1)[0]
    fit(mlp, epochs=1)
    mlp.save(path := tmp_path / "m.xpmlp")
    others = [xpmlp.load(path, backend=backend), mlp.copy(), copy.deepcopy(mlp)]
    if backend.name in ("numpy", "torch"):
        others.append(pickle.loads(pickle.dumps(mlp)))
    for other in others:
        assert other.network.architecture == mlp.network.architecture
        assert_close(other.predict_proba(X), mlp.predict_proba(X), of_max=1e-12)
        for key, value in mlp.state_dict().items():
            np.testing.assert_array_equal(other.state_dict()[key], value, strict=True)
    fit(others[0], epochs=2)
    fit(others[1], epochs=2)
    for key, value in others[0].state_dict().items():
        assert_close(others[1].state_dict()[key], value, of_max=1e-12)


def test_a_plain_models_file_says_nothing_of_these_arguments(tmp_path: Path) -> None:
    """So that earlier versions read it."""
    new = {
        "bias_initializer", "zero_last", "embedding", "input_scale", "parametrization",
        "activation_mix",
    }  # fmt: skip
    for options, written in (({}, set()), (MODELS["as RealMLP"], new)):
        mlp = xpmlp.MLP([5, 8, 8, 2], backend="numpy", **options)
        mlp.save(tmp_path / "m.xpmlp")
        config, _ = tensorfile.read(tmp_path / "m.xpmlp")
        assert new & set(config["arguments"]) == written
    custom = xpmlp.MLP([2, 2], bias_initializer=lambda rng, n, m: np.ones(m), backend="numpy")
    custom.save(tmp_path / "m.xpmlp")
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    assert loaded.parameters["dense1.b"].tolist() == [1.0, 1.0]


def a_file() -> bytes:
    mlp = model("as TabM")
    fit(mlp, epochs=1)
    return saved(mlp)


@pytest.mark.parametrize(
    "change",
    [
        put("pbld", "arguments", "embedding"),
        put({}, "arguments", "embedding"),
        put({"numbers": "pbld"}, "arguments", "embedding"),
        put(2**40, "arguments", "embedding", "size"),
        put(-1, "arguments", "embedding", "bins"),
        put([[1, 4], [4, 2**30]], "arguments", "embedding", "categories"),
        put([[1, 4], [9, 12]], "arguments", "embedding", "categories"),
        put([1, 4], "arguments", "embedding", "categories"),
        put("ntkk", "arguments", "parametrization"),
        put("yes", "arguments", "input_scale"),
        put_tensor("category4.E", np.zeros((2, 8))),
        put_tensor("embedding.V", np.zeros((3, 3))),
        put_tensor("dense1.W", np.zeros((5, 8))),
    ],
)
def test_a_forged_embedding_is_refused(change: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.xpmlp"
    path.write_bytes(forged(change, a_file()))
    with pytest.raises(CheckpointError):
        xpmlp.load(path, backend="numpy")


@pytest.mark.parametrize("name", MODELS)
def test_an_interrupted_run_resumes(name: str, tmp_path: Path) -> None:
    whole, mlp = model(name), model(name)
    fit(whole)
    with pytest.raises(RuntimeError, match="stop"):
        fit(mlp, callbacks=[Stop("on_epoch_end", 1)], checkpoints=tmp_path)
    mlp = model(name)
    fit(mlp, callbacks=[Stop("on_epoch_end", 9)], checkpoints=tmp_path, resume=True)
    for key, value in whole.state_dict().items():
        np.testing.assert_array_equal(mlp.state_dict()[key], value)
    other = model(name, activation_mix=not MODELS[name].get("activation_mix", False))
    with pytest.raises(InvalidValueError, match="made with activation_mix="):
        fit(other, callbacks=[Stop("on_epoch_end", 9)], checkpoints=tmp_path, resume=True)


def test_it_can_be_explained_diagnosed_and_verified() -> None:
    mlp, (X, y) = model("as RealMLP"), problem()
    diagnosis = xpmlp.Diagnosis()
    fit(mlp, epochs=3, callbacks=[diagnosis])
    assert "embedding" in str(xpmlp.explain(mlp, X[:2], y[:2]))
    assert xpmlp.verify(mlp, X, y, backends=("numpy", make_backend("strict")), steps=3).agrees


# Codes


@pytest.mark.parametrize(("wrong", "said"), [(4, "4.0"), (-1, "-1.0"), (1.5, "1.5")])
def test_codes_out_of_range_are_refused(backend: Any, wrong: float, said: str) -> None:
    mlp, (X, y) = model("as RealMLP", backend), problem()
    X[7, 1] = wrong
    for call in (lambda: fit(mlp, (X, y)), lambda: mlp.predict(backend.asarray(X))):
        with pytest.raises(InvalidValueError, match=rf"{said}.*a code of 0 to 3,"):
            call()
        mlp.set_task(xpmlp.MLP([5, 2], targets="labels", backend="numpy").task)


def test_sparse_codes_are_looked_at(backend: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X, y = problem()
    mlp = model("as TabM", backend)
    fit(mlp, (sparse.csr_array(X), y))
    assert_close(mlp.predict_proba(sparse.csr_array(X)), mlp.predict_proba(X), of_max=1e-9)
    X[3, 4] = 12
    with pytest.raises(InvalidValueError, match="a code of 0 to 11"):
        mlp.predict(sparse.csr_array(X))


def test_codes_are_not_scaled() -> None:
    """Not even bytes, which are no pixels then."""
    X, y = problem()
    for scaling in ("auto", "standard", "robust", None):
        given = X if scaling else np.abs(X).astype(np.uint8)
        mlp = model("as RealMLP", scaling=scaling)
        fit(mlp, (given, y), epochs=1)
        if mlp.scaling.shift is not None:
            assert mlp.scaling.shift[[1, 4]].tolist() == [0.0, 0.0]
            assert mlp.scaling.scale[[1, 4]].tolist() == [1.0, 1.0]
        seen = mlp.scaling.applied(examples(mlp, given, y)[0], "float64")
        if scaling == "robust":
            assert np.array_equal(seen.array[:, [1, 4]], X[:, [1, 4]])
    pixels = model("as RealMLP", scaling="auto")
    fit(pixels, (np.abs(X).astype(np.uint8), y), epochs=1)
    assert pixels.scaling.pixels is False


def test_large_codes_are_no_inputs_far_from_scaled() -> None:
    X, y = problem()
    X[:, 4] = np.arange(ROWS) * 11
    mlp = model("scaled, mish", embedding=xpmlp.Embedding(categories={4: 1000}))
    fit(mlp, (X, y), epochs=1)
    with pytest.warns(UserWarning, match="column 4, the largest"):
        fit(model("scaled, mish"), (X, y), epochs=1)


# Bins


def test_bins_have_equally_many_rows_and_shares_are_what_lies_below() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 1))
    edge, slope, low, high = (a[0] for a in bins_of(x, 5))
    inner = edge[1:5]
    counts = [np.sum((x >= a) & (x < b)) for a, b in pairwise(inner)]
    assert counts == [200, 200, 200]
    for value, position in ((-1e3, None), (float(np.median(x)), 2.5), (1e3, None)):
        v = np.clip((value - edge) * slope, low, high)
        assert v[-2:].tolist() == [value, 1.0]
        if position is None:  # the outer bins go on
            assert abs(v[:5].sum()) > 100
        else:
            assert v[:2].tolist() == [1.0, 1.0]
            assert 0 < v[2] < 1
            assert v[3:5].tolist() == [0.0, 0.0]


def test_bins_of_equal_edges_are_joined() -> None:
    counts = np.repeat([0.0, 1.0, 2.0], [70, 20, 10])[:, None]
    edge, slope, low, high = (a[0] for a in bins_of(counts, 6))
    assert (slope[:6] > 0).sum() == 2
    for value, expected in ((-0.5, -0.5), (0.0, 0.0), (0.5, 0.5), (1.5, 1.5), (2.0, 2.0), (3.0, 3)):
        assert np.clip((value - edge) * slope, low, high)[:6].sum() == pytest.approx(expected)
    constant = bins_of(np.full((9, 1), 7.0), 6)
    assert not constant[1][0, :6].any()
    single = [a[0] for a in bins_of(np.repeat([1.0, 3.0], 50)[:, None], 1)]
    for value in (-5.0, 2.0, 9.0):
        u = np.clip((value - single[0]) * single[1], single[2], single[3])
        assert u.tolist() == [(value - 1) / 2, value, 1.0]


def test_bins_are_learned_once(backend: Any) -> None:
    mlp, (X, y) = model("as TabM", backend), problem()
    assert not mlp.state_dict()[BINS[0]].any()
    fit(mlp, (X, y), epochs=1)
    first = {name: mlp.state_dict()[name] for name in BINS}
    scaled = (X[:, [0, 2, 3]] - X[:, [0, 2, 3]].mean(0)) / X[:, [0, 2, 3]].std(0)
    for found, expected in zip(first.values(), bins_of(scaled, 7), strict=True):
        assert_close(found, expected, rtol=1e-9, atol=1e-9)
    fit(mlp, (X * 5 // 1 % 4, y), epochs=1)
    for name in BINS:
        assert np.array_equal(mlp.state_dict()[name], first[name])


def test_a_fit_that_fails_learns_no_bins() -> None:
    X, y = problem()
    mlp = model("as TabM")
    with pytest.raises(RuntimeError, match="stop"):
        fit(mlp, (X, y), callbacks=[Stop("on_train_begin")])
    assert not mlp.state_dict()[BINS[0]].any()


# Robust scaling


def expected_scaling(X: np.ndarray) -> np.ndarray:
    """By the definition, one column at a time."""
    made = np.zeros(X.shape)
    for j, x in enumerate(X.T.astype(np.float64)):
        low, median, high = np.percentile(x, (25, 50, 75))
        spread = high - low if high > low else (x.max() - x.min()) / 2
        z = (x - median) / spread if spread > 0 else 0 * x
        made[:, j] = z / np.hypot(1.0, z / 3)
    return made


def awkward() -> np.ndarray:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 7))
    X[:, 1] = 1.7e9 + rng.standard_normal(200)
    X[:, 2] = rng.random(200) < 0.1  # both quartiles are 0
    X[:, 3] = 5.0
    X[:, 4] *= 1e-200
    X[5, 5] = 1e300
    X[:, 6] = rng.poisson(0.3, 200)
    return X


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_robust_scaling_is_the_published_one(backend: Any, dtype: str) -> None:
    X = awkward()
    mlp = xpmlp.MLP([7, 4, 1], scaling="robust", backend=backend, dtype=dtype, seed=0)
    y = 100 + 3 * X[:, 0]
    fit(mlp, (X, y), epochs=1)
    plain = xpmlp.MLP([7, 4, 1], scaling=None, backend=backend, dtype=dtype, targets="values")
    plain.load_state_dict(mlp.state_dict())
    there = expected_scaling(X)
    assert np.abs(there).max() <= 3
    expected = plain.predict(there) * y.std() + y.mean()
    bar = 1e-9 if dtype == "float64" else 1e-6
    assert_close(mlp.predict(X), expected, of_max=bar)
    if dtype == "float64" and "float64" in backend.capabilities:
        assert_close(backend.to_numpy(mlp.predict(backend.asarray(X))), expected, of_max=bar)


def test_robust_scaling_of_data_on_the_device(backend: Any) -> None:
    X, y = awkward()[:, [0, 2, 6]].astype(np.float32), awkward()[:, 0]
    both = [
        xpmlp.MLP([3, 4, 1], scaling="robust", backend=backend, seed=0, dtype="float32")
        for _ in range(2)
    ]
    fit(both[0], (X, y))
    fit(both[1], (backend.asarray(X), y))
    for name in ("shift", "scale"):
        np.testing.assert_array_equal(
            getattr(both[0].scaling, name), getattr(both[1].scaling, name)
        )
    assert_close(both[1].predict(X), both[0].predict(X), of_max=1e-5)


def test_robust_scaling_refuses_sparse_data() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    X, y = problem()
    mlp = model("scaled, mish", scaling="robust")
    with pytest.raises(InvalidTypeError, match=r"X\.toarray\(\)"):
        fit(mlp, (sparse.csr_array(X), y))
    fit(mlp, (X, y))
    with pytest.raises(InvalidTypeError, match="scaling='standard'"):
        mlp.predict(sparse.csr_array(X))


def test_many_rows_are_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.arrays.robust.SAMPLED", 30)
    monkeypatch.setattr("xpmlp.arrays.robust.COPIED", 60)
    X, y = problem()
    mlp = model("scaled, mish", scaling="robust")
    fit(mlp, (X, y))
    assert_close(mlp.scaling.shift, np.median(X[::3], axis=0), rtol=1e-12)
