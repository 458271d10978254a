"""What matrix products may be rounded to: asked for by the model, done by the device that can."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from xpmlp_backends import jax as _jax
from xpmlp_backends.jax import JaxBackend
from xpmlp_backends.numpy.backend import NumpyBackend
from xpmlp_backends.torch import precision as _torch_precision
from xpmlp_backends.torch.backend import TorchBackend

import xpmlp
from xpmlp.cli import parser
from xpmlp.errors import CheckpointError, InvalidValueError
from xpmlp.nn import contract
from xpmlp.nn.contract import PRECISIONS

X = np.random.default_rng(0).standard_normal((24, 6)).astype(np.float32)
Y = np.arange(24) % 3
ROUNDED = ("tf32", "bf16")


def model(backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([6, 8, 3], seed=1, backend=backend, **options)


# What people ask for


def test_an_unknown_precision_suggests_the_nearest() -> None:
    with pytest.raises(InvalidValueError, match=r"precision 'tf-32'.*Did you mean 'tf32'"):
        model(precision="tf-32")


@pytest.mark.parametrize("precision", ROUNDED)
def test_nothing_is_rounded_in_float64(precision: str) -> None:
    with pytest.raises(
        InvalidValueError, match=f"precision: found '{precision}'.*float64.*float32"
    ):
        model(precision=precision, dtype="float64")
    wide = model(precision=precision).copy(dtype="float64")
    assert (wide.precision, wide.dtype) == ("float32", "float64")


@pytest.mark.parametrize("precision", ROUNDED)
def test_a_cpu_computes_in_float32_and_says_so_once(
    backend: Any, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    if "gpu" in backend.capabilities:
        pytest.skip("this device is no CPU")
    assert backend.with_precision(precision) is backend
    with caplog.at_level(logging.INFO, "xpmlp"):
        mlp = model(backend, precision=precision)
    said = f"precision {precision}: {backend.name} on {backend.device} computes its matrix products"
    assert [r.getMessage() for r in caplog.records] == [f"{said} in float32"]
    assert (mlp.precision, mlp.backend.precision) == (precision, "float32")
    exact = model(backend)
    for one in (mlp, exact):
        one.fit(X, Y, epochs=1, batch_size=8)
    for name, value in exact.state_dict().items():
        np.testing.assert_array_equal(mlp.state_dict()[name], value)


def test_float32_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "xpmlp"):
        mlp = model(precision="float32")
    assert not caplog.records
    assert "precision" not in repr(mlp)
    assert "products" not in mlp.summary()


def test_the_model_says_what_was_asked_for_and_what_is_done() -> None:
    mlp = model(precision="tf32")
    assert "precision='tf32'" in repr(mlp)
    assert "float32, matrix products in tf32 (in float32 on cpu)" in mlp.summary()
    assert "matrix products in tf32\n" in rounding_model().summary()


class Rounding(NumpyBackend):
    """NumPy, claiming to compute in whatever is asked for."""

    def with_precision(self, precision: str) -> "Rounding":
        made = Rounding(fused=False)
        made.precision = precision
        return made


def rounding_model() -> xpmlp.MLP:
    return model(Rounding(fused=False), precision="tf32")


def test_moving_and_copying_ask_the_new_backend() -> None:
    mlp = rounding_model()
    assert mlp.backend.precision == "tf32"
    assert mlp.copy().backend.precision == "tf32"
    assert mlp.copy("numpy").precision == "tf32"
    assert mlp.copy("numpy").backend.precision == "float32"
    assert mlp.to("numpy").backend.precision == "float32"
    assert mlp.to(Rounding(fused=False)).backend.precision == "tf32"
    assert model(mlp.backend).backend.precision == "float32"  # another model, another wish


def test_a_file_keeps_it(tmp_path: Any) -> None:
    path = tmp_path / "m.xpmlp"
    model(precision="bf16").save(path)
    assert xpmlp.load(path, backend="numpy").precision == "bf16"
    assert xpmlp.load(path, backend=Rounding(fused=False)).backend.precision == "bf16"


@pytest.mark.parametrize("value", [None, "fp8", ["tf32"], 32])
def test_files_without_it_and_with_a_wrong_one(value: Any, tmp_path: Any) -> None:
    """A file of before there were precisions is float32."""
    mlp, path = model(), tmp_path / "m.xpmlp"
    del mlp.arguments["precision"]
    if value is not None:
        mlp.arguments["precision"] = value
    mlp.save(path)
    if value is None:
        assert xpmlp.load(path, backend="numpy").precision == "float32"
    else:
        with pytest.raises(CheckpointError, match="unknown precision"):
            xpmlp.load(path, backend="numpy")


def test_verify_compares_a_rounding_model() -> None:
    assert xpmlp.verify(model(precision="bf16"), X, Y, backends=("numpy", "numpy"), steps=3).agrees


def test_the_command_line_offers_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for precision in PRECISIONS:
        assert parser.parse(["train", "--precision", precision]).precision == precision
    assert parser.parse(["train"]).precision == "float32"
    with pytest.raises(SystemExit):
        parser.parse(["train", "--precision", "tf23"])
    assert "did you mean tf32" in capsys.readouterr().err


# PyTorch's switch


class Matmul:
    """``torch.backends.cuda.matmul`` before PyTorch 2.9."""

    allow_tf32 = False


def switches(torch: Any) -> tuple[Any, ...]:
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        return (matmul.allow_tf32,)
    return (matmul.fp32_precision, torch.backends.fp32_precision)


@pytest.fixture
def torch(torch_backend: Any) -> Any:
    """PyTorch, whose switches are as they were after the test."""
    torch = torch_backend.torch
    before = switches(torch)
    yield torch
    if len(before) == 2:
        torch.backends.cuda.matmul.fp32_precision, torch.backends.fp32_precision = before
    assert switches(torch) == before


@pytest.mark.parametrize(
    ("precision", "new"), [("float32", "ieee"), *((p, "tf32") for p in ROUNDED)]
)
@pytest.mark.parametrize("users", ["none", "ieee", "tf32"])
def test_the_switch_is_set_within_and_restored(
    torch: Any, precision: str, new: str, users: str
) -> None:
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("PyTorch before 2.9 has allow_tf32")
    matmul.fp32_precision = users
    with _torch_precision.products(torch, precision):
        assert matmul.fp32_precision == new
        with _torch_precision.products(torch, "float32"):
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == new
    assert matmul.fp32_precision == users
    with pytest.raises(ZeroDivisionError), _torch_precision.products(torch, precision):
        raise ZeroDivisionError
    assert matmul.fp32_precision == users


def test_what_follows_the_general_switch_goes_on_doing_so(torch: Any) -> None:
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("PyTorch before 2.9 has no general switch")
    matmul.fp32_precision = "none"  # as at the beginning: someone may have set it in the meantime
    torch.backends.fp32_precision = "tf32"
    with _torch_precision.products(torch, "float32"):
        assert matmul.fp32_precision == "ieee"
    assert matmul.fp32_precision == "tf32"
    torch.backends.fp32_precision = "ieee"
    assert matmul.fp32_precision == "ieee"


@pytest.mark.parametrize("users", [True, False])
def test_an_older_pytorch_has_one_switch(users: bool) -> None:
    old = SimpleNamespace(backends=SimpleNamespace(cuda=SimpleNamespace(matmul=Matmul())))
    matmul = old.backends.cuda.matmul
    matmul.allow_tf32 = users
    for precision in PRECISIONS:
        with _torch_precision.products(old, precision):
            assert matmul.allow_tf32 == (precision != "float32")
        assert matmul.allow_tf32 == users
    assert not hasattr(matmul, "fp32_precision")  # the two are never mixed


@pytest.mark.parametrize("precision", PRECISIONS)
def test_steps_and_forward_passes_compute_within_the_switch(
    torch: Any, torch_backend: Any, precision: str
) -> None:
    """A device of another kind stands in for CUDA: only its type is looked at."""
    made = TorchBackend(torch, torch_backend.xp, torch_backend.device, precision, capture=False)
    made.device = SimpleNamespace(type="cuda")
    seen = []

    def watch(*arguments: Any) -> Any:
        assert not torch.is_grad_enabled()
        seen.append(switches(torch)[0])
        return arguments[0]

    before = switches(torch)
    made.compile(watch)(0, 0, 0, 0, 2)
    made.compile_forward(watch)(1)
    assert switches(torch) == before
    assert (
        seen == [{"float32": "ieee"}.get(precision, "tf32")] * 3
        or seen == [precision != "float32"] * 3
    )


@pytest.mark.parametrize(
    ("kind", "cuda", "capability", "expected"),
    [
        ("cuda", "13.0", (9, 0), True),
        ("cuda", "13.0", (8, 0), True),
        ("cuda", "13.0", (7, 5), False),
        ("cuda", None, (9, 4), False),
        ("cpu", "13.0", (9, 0), False),
    ],
)
def test_pytorch_rounds_where_the_gpu_can(
    torch: Any, torch_backend: Any, kind: str, cuda: Any, capability: Any, expected: bool
) -> None:
    fake = SimpleNamespace(
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(get_device_capability=lambda device: capability),
    )
    assert _torch_precision.can_round(fake, SimpleNamespace(type=kind)) is expected


def test_pytorch_is_made_anew_for_each_precision(
    torch_backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpmlp_backends.torch.backend.can_round", lambda *found: True)
    made = torch_backend.with_precision("bf16")
    assert (made.precision, torch_backend.precision) == ("bf16", "float32")
    assert made.with_precision("bf16") is made
    assert made.with_precision("float32").precision == "float32"
    assert model(torch_backend, precision="tf32").backend.precision == "tf32"


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """The nearest number with 8 significant bits, ties to even."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


def test_bfloat16_rounds_factors_and_nothing_else(torch_backend: Any) -> None:
    made = TorchBackend(torch_backend.torch, torch_backend.xp, torch_backend.device, "bf16")
    rng = np.random.default_rng(4)
    x, W, dz = (rng.standard_normal(s).astype(np.float32) for s in ((7, 300), (300, 4), (7, 4)))
    b = rng.standard_normal(4).astype(np.float32)
    asarray, to_numpy = made.asarray, made.to_numpy
    rx, rW, rdz = (to_bfloat16(a).astype(np.float64) for a in (x, W, dz))
    assert_close(to_numpy(made.ops.dense(*map(asarray, (x, W, b)))), rx @ rW + b, of_max=1e-6)
    assert_close(to_numpy(made.ops.dense(asarray(x), asarray(W), None)), rx @ rW, of_max=1e-6)
    found = made.ops.dense_grad(*map(asarray, (x, W, dz)), True)
    expected = rdz @ rW.T, rx.T @ rdz, dz.astype(np.float64).sum(axis=0)
    for one, other in zip(found, expected, strict=True):
        assert_close(to_numpy(one), other, of_max=1e-6)
    assert made.ops.dense_grad(*map(asarray, (x, W, dz)), False)[0] is None
    for kept, host in ((x, x.copy()), (W, W.copy())):
        assert np.array_equal(kept, host)
    wide = (a.astype(np.float64) for a in (x, W, b))
    exact = x.astype(np.float64) @ W.astype(np.float64) + b
    assert_close(to_numpy(made.ops.dense(*map(asarray, wide))), exact, rtol=1e-12, atol=1e-12)


def test_a_network_learns_with_bfloat16_products(torch_backend: Any) -> None:
    made = TorchBackend(torch_backend.torch, torch_backend.xp, torch_backend.device, "bf16")
    made.with_precision = lambda precision: made
    mlp, exact = model(made, precision="bf16"), model(torch_backend)
    for one in (mlp, exact):
        one.fit(X + 3 * np.eye(6, dtype=np.float32)[Y], Y, epochs=60, batch_size=8)
    assert mlp.evaluate(X + 3 * np.eye(6, dtype=np.float32)[Y], Y)["accuracy"] > 0.9
    weights, others = mlp.state_dict(), exact.state_dict()
    assert all(value.dtype == np.float32 for value in weights.values())
    assert not np.array_equal(weights["dense1.W"], others["dense1.W"])


# JAX's


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("float32", "precision = [HIGHEST, HIGHEST]"),
        ("tf32", "precision = [HIGH, HIGH]"),
        ("bf16", "lhs_precision_type = bf16"),
    ],
)
@pytest.mark.parametrize("users", [None, "bfloat16"])
def test_jax_traces_in_the_precision(precision: str, expected: str, users: str | None) -> None:
    backend = make_backend("jax")
    made = JaxBackend(backend.jax, backend.device, precision)
    W = made.asarray(X[:6])

    def step(state: Any, data: Any, plan: Any, k: Any) -> Any:
        return state._replace(params=state.params @ W)

    with backend.jax.default_matmul_precision(users or "default"):
        text = made.compile_forward(lambda flat, statistics, x: x @ flat).lower(W, W, W).as_text()
        state = contract.State(*[W] * 8)
        plan = contract.Plan(*[made.asarray(np.zeros((2, 1)))] * 3)
        data = contract.Data(W, W, None, None, None)
        looped = made.compile(step)._compiled.lower(state, data, plan).as_text()
    for found in (text, looped):
        (product,) = (line for line in found.splitlines() if "dot_general" in line)
        assert expected in product
        assert product.rstrip().endswith("-> tensor<6x6xf32>")


@pytest.mark.parametrize(
    ("platform", "capability", "expected"),
    [
        ("gpu", "9.0", True),
        ("gpu", "10.0", True),
        ("gpu", "7.5", False),
        ("gpu", "gfx942", False),
        ("cpu", "9.0", False),
        ("gpu", None, False),
    ],
)
def test_jax_rounds_where_the_gpu_can(platform: str, capability: Any, expected: bool) -> None:
    device = SimpleNamespace(platform=platform, compute_capability=capability)
    assert _jax.can_round(device) is expected


def test_jax_is_made_anew_for_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = make_backend("jax")
    monkeypatch.setattr(_jax, "can_round", lambda device: True)
    made = backend.with_precision("tf32")
    assert (made.precision, made.device, backend.precision) == ("tf32", backend.device, "float32")
    assert made.with_precision("tf32") is made
    assert made.with_precision("float32").precision == "float32"
    mlp = model(backend, precision="tf32")
    mlp.fit(X, Y, epochs=1, batch_size=8)
    assert mlp.backend.precision == "tf32"
