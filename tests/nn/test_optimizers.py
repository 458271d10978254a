"""Optimizers and clipping against ``torch.optim`` and ``torch.nn.utils``, in float64."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from oracle import needs_torch, torch

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.optimizers import OPTIMIZERS, Optimizer, optimizer
from xpmlp.nn.schedules import Exponential

STEPS, SIZE = 100, 130

# Each beside the same one in PyTorch, as a function of its parameters.
PAIRS: dict[str, tuple[Optimizer, Any]] = {
    "sgd": (xpmlp.SGD(0.03), lambda p: torch.optim.SGD(p, lr=0.03)),
    "momentum": (xpmlp.Momentum(0.02, momentum=0.8), lambda p: torch.optim.SGD(p, 0.02, 0.8)),
    "nesterov": (
        xpmlp.Nesterov(0.02, momentum=0.8),
        lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True),
    ),
    "adagrad": (xpmlp.AdaGrad(0.05), lambda p: torch.optim.Adagrad(p, lr=0.05)),
    "rmsprop": (
        xpmlp.RMSProp(0.01, rho=0.95, epsilon=1e-6),
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.95, eps=1e-6),
    ),
    "adam": (
        xpmlp.Adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-7),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.99), eps=1e-7),
    ),
    "adamw": (
        xpmlp.AdamW(0.01, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.3),
    ),
}
DEFAULTS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-2),
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(p),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
    "adam": lambda p: torch.optim.Adam(p),
    "adamw": lambda p: torch.optim.AdamW(p),
}


def gradients(seed: int = 0) -> np.ndarray:
    """A sequence over many magnitudes, with an element that is always 0."""
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((STEPS, SIZE)) * 10.0 ** rng.uniform(-4, 1, SIZE)
    g[:, 7] = 0.0
    return g


def start() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(SIZE)


def by_torch(make: Any, sequence: np.ndarray, before_step: Any = lambda p: None) -> np.ndarray:
    p = torch.tensor(start(), requires_grad=True)
    stepper = make([p])
    for g in sequence:
        p.grad = torch.tensor(g)
        before_step(p)
        stepper.step()
    return p.detach().numpy()


def by_xpmlp(
    backend: Any,
    opt: Optimizer,
    sequence: np.ndarray,
    dtype: str = "float64",
    rates: Any = None,
) -> tuple[Any, tuple[Any, ...]]:
    """Parameters and moments after the sequence, on the host."""
    p = backend.asarray(start(), dtype)
    moments = tuple(backend.xp.zeros_like(p) for _ in range(opt.slots))
    for t, g in enumerate(sequence, start=1):
        rate = opt.learning_rate if rates is None else rates[t - 1]
        c = backend.asarray(np.array(opt.coefficients(t, rate)), dtype)
        clipped = opt.clip(backend.ops, backend.asarray(g, dtype))
        p, moments = opt.update(backend.ops, p, clipped, moments, c)
    return backend.to_numpy(p), tuple(backend.to_numpy(m) for m in moments)


def test_every_optimizer_has_its_pair() -> None:
    assert set(PAIRS) == set(DEFAULTS) == set(OPTIMIZERS)
    assert all(isinstance(opt, OPTIMIZERS[name]) for name, (opt, _) in PAIRS.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
@needs_torch
def test_a_hundred_steps(backend: Any, name: str) -> None:
    ours, theirs = PAIRS[name]
    p, moments = by_xpmlp(backend, ours, gradients())
    assert len(moments) == ours.slots
    assert_close(p, by_torch(theirs, gradients()), rtol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hundred_steps_with_the_default_settings(backend: Any, name: str) -> None:
    p, _ = by_xpmlp(backend, optimizer(name), gradients(2))
    assert_close(p, by_torch(DEFAULTS[name], gradients(2)), rtol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
@needs_torch
def test_float32_stays_near_float64(backend: Any, name: str) -> None:
    ours, theirs = PAIRS[name]
    p, _ = by_xpmlp(backend, ours, gradients(), "float32")
    assert p.dtype == np.float32
    assert_close(p, by_torch(theirs, gradients()), of_max=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zero_parameters_with_zero_gradients_stay_zero(backend: Any, name: str) -> None:
    """The gaps in the flat buffer count on it."""
    ours, _ = PAIRS[name]
    p = backend.asarray(np.zeros(4))
    moments = tuple(backend.xp.zeros_like(p) for _ in range(ours.slots))
    for t in (1, 2, 3):
        c = backend.asarray(np.array(ours.coefficients(t, 0.1)))
        p, moments = ours.update(backend.ops, p, backend.xp.zeros_like(p), moments, c)
    assert_close(backend.to_numpy(p), np.zeros(4))
    assert all(np.all(backend.to_numpy(m) == 0) for m in moments)


ROWS, BATCH = 80, 20
EPOCHS = STEPS * BATCH // ROWS


def fit_by_torch(mlp: xpmlp.MLP, X: Any, y: Any, make: Any, scheduled: Any = None) -> Any:
    """Training of the same network on the same batches by PyTorch's autograd and optimizer."""
    p = {n: torch.tensor(v, requires_grad=True) for n, v in mlp.state_dict().items()}
    stepper = make(list(p.values()))
    scheduler = scheduled and scheduled(stepper)
    for _ in range(EPOCHS):
        for start in range(0, ROWS, BATCH):
            rows = slice(start, start + BATCH)
            stepper.zero_grad()
            h = torch.tanh(torch.tensor(X[rows]) @ p["dense1.W"] + p["dense1.b"])
            z = h @ p["dense2.W"] + p["dense2.b"]
            torch.nn.functional.cross_entropy(z, torch.tensor(y[rows])).backward()
            stepper.step()
            if scheduler:
                scheduler.step()
    return {name: tensor.detach().numpy() for name, tensor in p.items()}


def compare_fits(backend: Any, ours: Optimizer, theirs: Any, scheduled: Any = None) -> None:
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((ROWS, 4)), rng.integers(0, 3, ROWS)
    mlp = xpmlp.MLP([4, 6, 3], "tanh", backend=backend, dtype="float64", seed=2)
    expected = fit_by_torch(mlp, X, y, theirs, scheduled)
    mlp.fit(X, y, epochs=EPOCHS, batch_size=BATCH, optimizer=ours, shuffle=False)
    for key, value in mlp.state_dict().items():
        assert_close(value, expected[key], rtol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_whole_fit(backend: Any, name: str) -> None:
    compare_fits(backend, *PAIRS[name])


def test_a_whole_fit_with_a_schedule(backend: Any) -> None:
    steps = ROWS // BATCH
    compare_fits(
        backend,
        xpmlp.AdamW(Exponential(0.1, factor=0.9), weight_decay=0.2),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.2),
        lambda stepper: torch.optim.lr_scheduler.ExponentialLR(stepper, 0.9 ** (1 / steps)),
    )


# Clipping


@pytest.mark.parametrize("limit", [0.5, 3.0, 1e6])
def test_clip_by_norm(backend: Any, limit: float) -> None:
    """PyTorch divides by norm + 1e-6, so its result is shorter by that."""
    for g in gradients()[:5]:
        p = torch.zeros(SIZE, dtype=torch.float64, requires_grad=True)
        p.grad = torch.tensor(g)
        norm = float(torch.nn.utils.clip_grad_norm_([p], limit))
        expected = p.grad.numpy() * ((norm + 1e-6) / norm if norm > limit else 1.0)
        found = backend.to_numpy(backend.ops.clip_by_norm(backend.asarray(g), limit))
        assert_close(found, expected, rtol=1e-13)
        assert np.linalg.norm(found) <= min(norm, limit) * (1 + 1e-14)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_clip_by_norm_of_very_large_and_very_small_gradients(backend: Any, dtype: str) -> None:
    limits = np.finfo(dtype)
    direction = np.array([3.0, 0.0, -4.0]) / 5.0
    for size in (float(limits.max) / 2, 1e30, 1.0):
        g = backend.asarray(direction * size, dtype)
        found = backend.to_numpy(backend.ops.clip_by_norm(g, 0.25))
        assert_close(found, direction * 0.25, rtol=8 * limits.eps)
    for size in (0.0, float(limits.tiny), 1e-30):
        g = backend.asarray(direction * size, dtype)
        found = backend.to_numpy(backend.ops.clip_by_norm(g, 0.25))
        assert_close(found, backend.to_numpy(g), rtol=8 * limits.eps)


def test_clip_value_comes_before_clip_norm(backend: Any) -> None:
    opt = xpmlp.SGD(0.1, clip_value=0.3, clip_norm=0.4)
    p = torch.zeros(SIZE, dtype=torch.float64, requires_grad=True)
    p.grad = torch.tensor(gradients()[0])
    torch.nn.utils.clip_grad_value_([p], 0.3)
    expected = p.grad.numpy() * (0.4 / np.linalg.norm(p.grad.numpy()))
    found = backend.to_numpy(opt.clip(backend.ops, backend.asarray(gradients()[0])))
    assert_close(found, expected, rtol=1e-13)


def test_a_hundred_clipped_steps(backend: Any) -> None:
    def clip(p: Any) -> None:
        torch.nn.utils.clip_grad_value_([p], 0.5)
        norm = p.grad.norm()
        p.grad *= torch.clamp(2.0 / norm, max=1.0)

    ours = xpmlp.Adam(0.01, clip_value=0.5, clip_norm=2.0)
    found, _ = by_xpmlp(backend, ours, gradients())
    expected = by_torch(lambda p: torch.optim.Adam(p, lr=0.01), gradients(), clip)
    assert_close(found, expected, rtol=1e-10)


# Settings


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan, "fast", None])
@pytest.mark.parametrize("setting", ["learning_rate", "clip_norm", "clip_value"])
def test_bad_rates_and_limits_are_refused(name: str, setting: str, value: Any) -> None:
    if value is None and setting != "learning_rate":
        return  # None is how clipping is left off
    with pytest.raises(InvalidValueError, match=setting):
        OPTIMIZERS[name](**{setting: value})


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, "much", None])
@pytest.mark.parametrize(
    ("cls", "setting"),
    [
        (xpmlp.Momentum, "momentum"),
        (xpmlp.Nesterov, "momentum"),
        (xpmlp.RMSProp, "rho"),
        (xpmlp.Adam, "beta1"),
        (xpmlp.AdamW, "beta2"),
    ],
)
def test_bad_fractions_are_refused(cls: Any, setting: str, value: Any) -> None:
    with pytest.raises(InvalidValueError, match=setting):
        cls(**{setting: value})


def test_only_momentum_may_be_one() -> None:
    assert xpmlp.Momentum(momentum=1.0).momentum == 1.0
    for cls, setting in ((xpmlp.RMSProp, "rho"), (xpmlp.Adam, "beta1"), (xpmlp.Adam, "beta2")):
        with pytest.raises(InvalidValueError, match=rf"{setting} is 1.0; .* \[0, 1\)$"):
            cls(**{setting: 1.0})


def by_sklearn(stepper: Any, p: np.ndarray, sequence: np.ndarray, rates: np.ndarray) -> np.ndarray:
    for g, rate in zip(sequence, rates, strict=True):
        stepper.learning_rate = rate
        stepper.update_params([p], [g])
    return p


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_rate_inside_the_momentum_is_that_of_its_time(backend: Any, nesterov: bool) -> None:
    """The same as scikit-learn's, also when the rate falls."""
    from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

    sequence, rates = gradients(), 0.1 / np.arange(1.0, STEPS + 1)
    theirs = SGDOptimizer([start()], 0.1, momentum=0.8, nesterov=nesterov)
    cls = xpmlp.Nesterov if nesterov else xpmlp.Momentum
    ours = cls(0.1, momentum=0.8, rate_inside=True)
    expected = by_sklearn(theirs, start(), sequence, rates)
    assert_close(by_xpmlp(backend, ours, sequence, rates=rates)[0], expected, rtol=1e-10)
    outside = cls(0.1, momentum=0.8)
    assert np.abs(by_xpmlp(backend, outside, sequence, rates=rates)[0] - expected).max() > 1e-3


def test_epsilon_before_the_bias_correction(backend: Any) -> None:
    """The same as scikit-learn's; with an ε large enough to see."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer

    expected = start()
    stepper = AdamOptimizer([expected], 0.05, epsilon=0.1)
    for g in gradients():
        stepper.update_params([expected], [g])
    ours = xpmlp.Adam(0.05, epsilon=0.1, epsilon_hat=True)
    assert_close(by_xpmlp(backend, ours, gradients())[0], expected, rtol=1e-10)
    after = by_xpmlp(backend, xpmlp.Adam(0.05, epsilon=0.1), gradients())[0]
    assert np.abs(after - expected).max() > 1e-3


@pytest.mark.parametrize("cls", [xpmlp.AdaGrad, xpmlp.RMSProp, xpmlp.Adam, xpmlp.AdamW])
@pytest.mark.parametrize("value", [0.0, -0.1, np.nan, np.inf, "little"])
def test_epsilon_must_be_positive(cls: Any, value: Any) -> None:
    """With 0 the gaps between the parameters, where the gradient is 0, would become 0/0."""
    with pytest.raises(InvalidValueError, match="epsilon"):
        cls(epsilon=value)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "little"])
def test_bad_weight_decay_is_refused(value: Any) -> None:
    with pytest.raises(InvalidValueError, match="weight_decay"):
        xpmlp.AdamW(weight_decay=value)


def test_names_and_other_things() -> None:
    assert optimizer("adam") == xpmlp.Adam()
    given = xpmlp.SGD(0.5)
    assert optimizer(given) is given
    with pytest.raises(InvalidValueError, match=r"optimizer 'adm'.*Did you mean 'adam'"):
        optimizer("adm")
    for wrong in (xpmlp.Adam, 0.1, None):
        with pytest.raises(InvalidTypeError, match="optimizer"):
            optimizer(wrong)
