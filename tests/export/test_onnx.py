"""ONNX: what onnxruntime makes of a file is what the model predicts."""

import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from networks import assert_same, fitted, inputs, strangers, with_table

import xpmlp
from xpmlp.errors import InvalidValueError, MissingExtraError

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'xpmlp[onnx]'")
pytest.importorskip("ndonnx", reason="ndonnx is not installed: pip install 'xpmlp[onnx]'")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

CASES = networks.cases()


def run(mlp: xpmlp.MLP, folder: Path, feed: dict[str, Any]) -> dict[str, np.ndarray]:
    mlp.to_onnx(folder / "model.onnx")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / "model.onnx", options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feed), strict=True))


def nodes(folder: Path) -> list[str]:
    return [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]


def compare(mlp: xpmlp.MLP, folder: Path, float64: float = 1e-12) -> None:
    X = strangers() if mlp.table else inputs(mlp)
    made = run(mlp, folder, columns(X) if mlp.table else {"X": X})
    if mlp.task.kind == "values":
        assert_same(made["values"], mlp, X, float64)
    else:
        assert_same(made["probabilities"], mlp, X, float64)
        np.testing.assert_array_equal(made["label"], mlp.predict(X))


@pytest.mark.sampled(12)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_every_network_predicts_the_same(case: Any, tmp_path: Path) -> None:
    _, activation, kind, settings = case
    compare(fitted(kind, activation, **settings), tmp_path)


def test_all_settings_with_all_others(draws: Any, tmp_path: Path) -> None:
    everything = networks.product_of_all()
    for activation, kind, settings, table in everything[: draws(4, 40, len(everything))]:
        mlp = (with_table if table else fitted)(kind, activation, **settings)
        try:
            compare(mlp, tmp_path)
        except Exception as error:
            error.add_note(f"{activation}, {kind}, {settings}, table: {table}")
            raise


@pytest.mark.sampled(20)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_in_float64(case: Any, tmp_path: Path) -> None:
    """But for cosines, of which ndonnx says that onnxruntime has them in float32 alone."""
    _, activation, kind, settings = case
    periodic = getattr(settings.get("embedding"), "numbers", None) == "pbld"
    mlp = fitted(kind, activation, dtype="float64", **settings)
    # onnxruntime's layer normalization adds ε in float32.
    normalized = settings.get("normalization") == "layer"
    with pytest.warns(UserWarning, match="float32") if periodic else nullcontext():
        compare(mlp, tmp_path, 1e-6 if periodic else 1e-10 if normalized else 1e-12)


@pytest.mark.parametrize(("kind", "activation", "settings"), networks.varied())
def test_every_piece(kind: str, activation: str, settings: Any, tmp_path: Path) -> None:
    compare(fitted(kind, activation, **settings), tmp_path)


def test_gelu_in_float64(tmp_path: Path) -> None:
    """Runtimes have the error function in float32 alone: it is ours."""
    compare(fitted(activation="gelu", dtype="float64"), tmp_path)


def test_any_number_of_rows(tmp_path: Path) -> None:
    mlp = fitted()
    for n in (1, 7):
        X = inputs(mlp)[:n]
        made = run(mlp, tmp_path, {"X": X})
        assert made["label"].shape == (n,)
        assert made["probabilities"].shape == (n, 3)
        assert_same(made["probabilities"], mlp, X)


def test_a_plain_network_is_onnxs_own_operations(tmp_path: Path) -> None:
    mlp = fitted(scaling=None)
    mlp.to_onnx(tmp_path / "model.onnx")
    assert nodes(tmp_path) == ["Gemm", "Relu", "Gemm", "Relu", "Gemm", "ArgMax", "Softmax"]
    normalized = fitted(scaling=None, normalization="layer", activation="gelu")
    normalized.to_onnx(tmp_path / "model.onnx")
    assert Counter(nodes(tmp_path)) == Counter(
        {"Gemm": 3, "LayerNormalization": 2, "Gelu": 2, "ArgMax": 1, "Softmax": 1}
    )
    assert all(len(node.output) == 1 for node in onnx.load(tmp_path / "model.onnx").graph.node)
    fitted("values", scaling=None, normalization="batch").to_onnx(tmp_path / "model.onnx")
    assert nodes(tmp_path) == ["Gemm", "Relu", "Gemm", "Relu", "Gemm"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter that needs no more
@pytest.mark.parametrize("normalization", [None, "layer", "batch"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "elu", "selu", "tanh", "swish", "mish"])
def test_no_more_nodes_than_pytorch_exports(
    activation: str, normalization: str | None, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")

    class Both(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Any) -> Any:
            p = self.network(x)
            return p.argmax(-1), p

    for residual in (False, True):
        settings = {"normalization": normalization, "residual": residual}
        mlp = fitted("labels", activation, **settings)
        x = torch.tensor(inputs(mlp))
        theirs = tmp_path / "theirs.onnx"
        torch.onnx.export(Both(mlp.to_torch()), (x,), theirs, dynamo=False, opset_version=20)
        mlp.to_onnx(tmp_path / "model.onnx")
        names = [n.op_type for n in onnx.load(theirs).graph.node]
        other = [name for name in names if name not in ("Constant", "Identity")]
        assert len(nodes(tmp_path)) <= len(other), (nodes(tmp_path), other)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    fitted("values").to_onnx(tmp_path / "deep" / "model.onnx")
    made = onnx.load(tmp_path / "deep" / "model.onnx")
    assert {entry.domain: entry.version for entry in made.opset_import}[""] == 21
    assert {p.key: p.value for p in made.metadata_props} == {"task": "values", "loss": "mse"}
    assert (made.producer_name, made.producer_version) == ("xpmlp", xpmlp.__version__)
    (rows, features) = made.graph.input[0].type.tensor_type.shape.dim
    assert (rows.dim_param, features.dim_value) == ("rows", 5)


def test_calibrated_probabilities(tmp_path: Path) -> None:
    for more in ({}, {"output": "softmax"}):
        mlp = fitted("labels" if not more else "labels, mse", **more)
        mlp.calibrate(networks.data(), networks.targets("labels"))
        assert mlp.calibration is not None
        assert mlp.calibration.temperature != 1
        compare(mlp, tmp_path)


@pytest.mark.parametrize("members", [{}, {"ensemble": 2}])
def test_deviations_and_quantiles(members: dict[str, Any], tmp_path: Path) -> None:
    mlp = fitted("gaussian", **members)
    X = inputs(mlp)
    made = run(mlp, tmp_path, {"X": X})
    for name, wanted in zip(("values", "deviations"), mlp.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(made[name][:, 0], wanted, rtol=2e-6, atol=2e-6)
    mlp = fitted("quantiles", **members)
    made = run(mlp, tmp_path, {"X": X})
    assert made["quantiles"].shape == (len(X), 3, 1)
    wanted = mlp.predict_quantiles(X)
    np.testing.assert_allclose(made["quantiles"][:, :, 0], wanted, rtol=2e-6, atol=2e-6)


def test_pixels_are_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (30, 5)).astype("uint8"), rng.integers(0, 3, 30)
    mlp = xpmlp.MLP([5, 8, 3], backend="numpy", seed=0)
    mlp.fit(X, y, epochs=1)
    made = run(mlp, tmp_path, {"X": X})
    np.testing.assert_array_equal(made["label"], mlp.predict(X))
    assert_same(made["probabilities"], mlp, X)


def test_limits_of_values(tmp_path: Path) -> None:
    from dataclasses import replace

    mlp = fitted("two values")
    low, high = np.array([0.0, 1.0]), np.array([0.5, 3.0])
    mlp.scaling = replace(mlp.scaling, target_low=low, target_high=high)
    compare(mlp, tmp_path)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("scaling", ["standard", "robust", "quartiles", None])
def test_a_table_takes_columns(scaling: str | None, codes: bool, tmp_path: Path) -> None:
    mlp = networks.of_people(scaling, codes)
    for X in (networks.people(), networks.strangers()):
        made = run(mlp, tmp_path, columns(X))
        assert np.abs(made["probabilities"] - mlp.predict_proba(X)).max() <= 1e-6
        names = np.array(mlp.metadata["classes"])
        np.testing.assert_array_equal(made["label"], names[mlp.predict(X)])


@pytest.mark.parametrize("names", [("age",), ("rooms",), ("town", "zone"), ("age", "rooms")])
def test_tables_of_one_kind_of_columns(names: tuple[str, ...], tmp_path: Path) -> None:
    X = {name: networks.people()[name] for name in names}
    scaling = "quartiles" if "zone" in names else "standard"
    table = xpmlp.Table(categorical=[n for n in names if n == "zone"], scaling=scaling).fit(X)
    mlp = xpmlp.MLP([table.width, 2], table=table, targets="labels", backend="numpy", seed=0)
    made = run(mlp, tmp_path, columns(X))
    assert np.abs(made["probabilities"] - mlp.predict_proba(X)).max() <= 1e-6


def columns(X: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    """Columns as a session takes them; the rows' numbers are no input."""
    feed = {}
    for name, cells in X.items():
        if name == "row_id":
            continue
        if name in ("age", "rooms"):
            column = np.array([np.nan if v is None else v for v in cells])
        else:
            column = np.array(["" if v is None else str(v) for v in cells], dtype=object)
        feed[name] = column[:, None]
    return feed


def test_dates_are_refused_by_name(tmp_path: Path) -> None:
    X = {"when": ["2024-01-05", "2024-03-09", "2023-05-07"], "age": [1.0, 2.0, 5.0]}
    table = xpmlp.Table().fit(X)
    mlp = xpmlp.MLP([table.width, 2], table=table, targets="labels", backend="numpy")
    with pytest.raises(InvalidValueError, match=r"column 'when' has dates.*drop=\['when'\]"):
        mlp.to_onnx(tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_custom_activations_are_recorded(tmp_path: Path) -> None:
    bent = xpmlp.activations.from_functions(
        lambda xp, z: z / (1.0 + xp.abs(z)), lambda xp, z: 1.0 / (1.0 + xp.abs(z)) ** 2, "bent"
    )
    compare(fitted(activation=bent), tmp_path)  # type: ignore[arg-type]


def test_a_model_that_was_not_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="not been trained"):
        xpmlp.MLP([2, 3, 2], backend="numpy").to_onnx(tmp_path / "model.onnx")


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xpmlp\[onnx\]'"):
        fitted().to_onnx(tmp_path / "model.onnx")


def test_there_is_no_backward_pass() -> None:
    from xpmlp_backends.onnx import _none

    from xpmlp.export.forward import no_backward

    for backward in (_none, no_backward):
        with pytest.raises(NotImplementedError):
            backward(None)
