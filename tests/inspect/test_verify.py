"""``verify``: backends agree, and whatever is planted is found at its step, layer and quantity."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import make_backend
from xpmlp_backends.base import EagerBackend

import xpmlp
from xpmlp import schedules
from xpmlp.errors import BackendError, InvalidValueError
from xpmlp.inspect.verify.parity import Parity, verify
from xpmlp.inspect.verify.replay import ENDS, RecordingBackend
from xpmlp.nn.contract import Execution
from xpmlp.nn.ops import Ops

SIZES = [6, 8, 7, 3]


def network(dtype: str = "float64", **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP(SIZES, **{"dtype": dtype, "backend": "numpy", "seed": 3} | options)


def example(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    X = rng.standard_normal((n, SIZES[0]))
    return X, np.argmax(X[:, :3] + 0.3 * X[:, 3:], axis=1)


def verified(backends: Any, mlp: xpmlp.MLP | None = None, **options: Any) -> Parity:
    return verify(mlp or network(), *example(), **{"backends": backends, "batch_size": 8} | options)


# Agreement


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["numpy-readonly", "strict", "torch", "jax", "dpnp"])
@pytest.mark.sampled(3)
def test_backends_agree_over_100_steps(name: str, dtype: str) -> None:
    mlp = network(dtype, activation="tanh", dropout=0.2, input_dropout=0.1, l2=1e-3, max_norm=2.0)
    rate = schedules.WarmUp(5e-3)
    parity = verified(
        ("numpy", make_backend(name)),
        mlp,
        optimizer=xpmlp.Adam(rate, clip_norm=1.0),
        batch_size=10 if name == "jax" else 12,  # JAX compiles once more for a smaller last batch
        sample_weight=np.linspace(0.5, 2, 40),
    )
    assert parity.agrees, parity.report()
    assert parity.cause is None
    assert parity.not_finite is None
    assert [d.step for d in parity.differences] == list(range(1, 101))
    assert parity.largest.largest < (1e-12 if dtype == "float64" else 1e-5)


def test_the_record_and_the_replay_are_what_fit_computes() -> None:
    X, y = example()
    options = {"epochs": 3, "batch_size": 9, "optimizer": xpmlp.Adam(schedules.Cosine(0.01))}
    plain, watched = network(dropout=0.3), RecordingBackend(xpmlp.backend("numpy"), 15)
    plain.fit(X, y, **options)
    network(dropout=0.3).copy(backend=watched).fit(X, y, **options)
    states = list(watched.states())
    assert len(states) == 16
    assert np.array_equal(states[-1].params, plain.weights.flat)
    values = watched.replay(14, states[14])
    for end in ENDS:
        found = {(v.layer, v.quantity): v.value for v in values}
        for name, parameter in plain.parameters.items():
            layer, symbol = name.split(".")
            assert np.array_equal(found[layer, f"{symbol} {end}"], parameter)


def test_network_given_stays_as_it_is() -> None:
    mlp = network("float32", scaling="standard", normalization="batch", residual=False)
    before, task = mlp.state_dict(), mlp.known_task
    assert verified(("numpy", "numpy"), mlp, steps=7, batch_size=None).agrees
    assert all(np.array_equal(before[name], value) for name, value in mlp.state_dict().items())
    assert (mlp.epochs_trained, mlp.known_task, mlp.scaling.pixels) == (0, task, None)


@pytest.mark.usefixtures("torch_backend")
def test_a_trained_network_goes_on_from_where_it_is() -> None:
    mlp = network(dropout=0.2)
    mlp.fit(*example(), epochs=2)
    parity = verified(("numpy", "torch"), mlp, steps=12, optimizer="sgd", shuffle=False)
    assert parity.agrees, parity.report()
    assert len(parity.differences) == 12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_biases_that_batch_normalization_subtracts_are_left_out(dtype: str) -> None:
    mlp = network(dtype, normalization="batch")
    parity = verified(("numpy", make_backend("torch")), mlp)
    assert parity.agrees, parity.report()
    assert parity.left_out == ("dense1.b", "norm1.mean", "dense2.b", "norm2.mean")
    assert "Not compared: dense1.b, norm1.mean, " in parity.report()
    faulty = plant("dense_grad", gradient_of_layer(2, (0, 1e-3, 0)))
    cause = verified(("numpy", faulty), mlp, steps=5).cause
    assert cause is not None
    assert (cause.step, cause.layer, cause.quantity) == (1, "dense2", "dW")


# Planted faults: each on a NumPy that has one operation of its own


def plant(name: str, fault: Callable[..., Any], backend: str = "numpy") -> Any:
    """A backend whose operation ``name`` is ``fault(right operation, *arguments)``.

    What operations may do at once is composed of them, so that the fault is in every place.
    """
    made = make_backend(backend)
    plain = Ops.reference(made.xp, made.ops.device)
    if name not in ("dense_activation", "dense_activation_grad"):
        made.ops = replace(
            made.ops,
            dense_activation=plain.dense_activation,
            dense_activation_grad=plain.dense_activation_grad,
        )
    right = getattr(made.ops, name)
    made.ops = replace(made.ops, **{name: lambda *a, **k: fault(right, *a, **k)})
    return made


def in_layer(n: int, W: Any) -> bool:
    return tuple(W.shape) == (SIZES[n - 1], SIZES[n])


def dense_2(right: Any, x: Any, W: Any, b: Any) -> Any:
    return right(x, W, b) + (1e-6 if in_layer(2, W) else 0.0)


def gradient_of_layer(layer: int, off: tuple[float, float, float]) -> Callable[..., Any]:
    """dx, dW and db of one layer off by so much."""

    def fault(right: Any, x: Any, W: Any, dz: Any, need_dx: bool, out: Any) -> Any:
        parts = right(x, W, dz, need_dx, (None, None))
        if not in_layer(layer, W):
            return parts
        return tuple(p if p is None or not o else p + o for p, o in zip(parts, off, strict=True))

    return fault


def shifted_mask(right: Any, key: Any, *rest: Any, **options: Any) -> Any:
    return right(key + 1, *rest, **options)


def scaled(by: float, part: int | None = None) -> Callable[..., Any]:
    """A result, or one part of it, off by a factor."""

    def fault(right: Any, *arguments: Any) -> Any:
        result = right(*arguments)
        if part is None:
            return result * by
        return tuple(r * by if i == part else r for i, r in enumerate(result))

    return fault


def wrong_epsilon(right: Any, *arguments: Any) -> Any:
    *same, epsilon = arguments
    return right(*same, epsilon * 100)


def wrong_second_moment(right: Any, *arguments: Any) -> Any:
    new, (m, v) = right(*arguments)
    return new, (m, v * 1.01)


def wrong_row(right: Any, X: Any, y: Any, weight: Any, rows: Any, *rest: Any) -> Any:
    rows = np.where(np.arange(len(rows)) == 2, (rows + 1) % len(X), rows)
    return right(X, y, weight, rows, *rest)


def shifted_pack(right: Any, layout: Any, tensors: Any, out: Any, views: Any) -> Any:
    flat = right(layout, tensors, out, views)
    start, stop = layout.slots["dense3.W"][1:]
    flat = flat.copy()
    flat[start:stop] = np.roll(flat[start:stop], 1)
    return flat


def wrong_limit(right: Any, g: Any, limit: float) -> Any:
    return right(g, limit * 1.001)


class Plan(NamedTuple):
    """A fault and where it has to be found."""

    op: str
    fault: Callable[..., Any]
    layer: str
    quantity: str
    step: int = 1
    network: dict[str, Any] = {}  # noqa: RUF012  (never written to)
    optimizer: Any = "adam"


def from_17(wrong: Callable[..., Any]) -> Callable[..., Any]:
    """Adam's fault from its 17th step on, told by the bias correction in its coefficients."""

    def fault(right: Any, *arguments: Any) -> Any:
        begins = xpmlp.Adam().coefficients(17, 1e-3)[1]
        return wrong(right, *arguments) if arguments[4][1] <= begins else right(*arguments)

    return fault


def from_rate(rate: float, wrong: Callable[..., Any]) -> Callable[..., Any]:
    """The same for SGD, by its learning rate."""

    def fault(right: Any, p: Any, g: Any, c: Any) -> Any:
        return wrong(right, p, g, c) if c <= rate else right(p, g, c)

    return fault


def nan_row(right: Any, *given: Any) -> Any:
    rows, dz = right(*given)
    return np.where(np.arange(len(rows)) == 4, np.nan, rows), dz


SLOWING = xpmlp.SGD(schedules.StepDecay(0.05, every=3))

PLANTED = {
    "dense adds 1e-6 in layer 2": Plan("dense", dense_2, "dense2", "z"),
    "dW of layer 1": Plan("dense_grad", gradient_of_layer(1, (0, 1e-6, 0)), "dense1", "dW"),
    "dW of layer 3": Plan("dense_grad", gradient_of_layer(3, (0, 1e-6, 0)), "dense3", "dW"),
    "db of layer 2": Plan("dense_grad", gradient_of_layer(2, (0, 0, 1e-6)), "dense2", "db"),
    "dx of layer 3": Plan("dense_grad", gradient_of_layer(3, (1e-6, 0, 0)), "dense3", "dx"),
    "dropout shifted": Plan(
        "dropout_mask", shifted_mask, "dropout1", "y", network={"dropout": [0.5, 0]}
    ),
    "input dropout shifted": Plan(
        "dropout_mask", shifted_mask, "dropout0", "y", network={"input_dropout": 0.5}
    ),
    "softmax loss": Plan("label_cross_entropy", scaled(1 + 1e-7, 0), "loss", "rows"),
    "softmax gradient": Plan("label_cross_entropy", scaled(1 + 1e-7, 1), "loss", "dz"),
    "NaN in a loss": Plan("label_cross_entropy", nan_row, "loss", "rows"),
    "softmax of distributions": Plan(
        "softmax_cross_entropy",
        scaled(1 + 1e-7, 1),
        "loss",
        "dz",
        network={"loss": "categorical_cross_entropy"},
    ),
    "h at once": Plan("dense_activation", scaled(1 + 1e-7, 1), "dense1", "h at once"),
    "dW at once": Plan("dense_activation_grad", scaled(1 + 1e-7, 1), "dense2", "dW at once"),
    "mean of the batch": Plan("batch_mean", scaled(1 + 1e-7, 1), "dense3", "dz from above"),
    "sigmoid gradient": Plan(
        "sigmoid_cross_entropy",
        scaled(1 + 1e-7, 1),
        "loss",
        "dz",
        network={"loss": "binary_cross_entropy"},
    ),
    "erf": Plan("erf", scaled(1 + 1e-7), "activation1", "h", network={"activation": "gelu"}),
    "wrong row": Plan("gather_batch", wrong_row, "inputs", "x"),
    "pack": Plan("pack", shifted_pack, "dense3", "dW packed"),
    "clip_by_norm": Plan(
        "clip_by_norm",
        wrong_limit,
        "dense1",
        "dW clipped",
        optimizer=xpmlp.Adam(clip_norm=0.1),
    ),
    "adam's epsilon": Plan("adam", wrong_epsilon, "dense1", "W updated by adam"),
    "adam's v": Plan("adam", wrong_second_moment, "dense1", "moment 2 of W in adam"),
    "sgd": Plan("sgd", scaled(1 + 1e-7), "dense1", "W updated by sgd", optimizer="sgd"),
    **{
        name: Plan(name, scaled(1 + 1e-7, 0), "dense1", f"W updated by {name}", optimizer=name)
        for name in ("momentum", "nesterov", "adagrad", "rmsprop")
    },
    "adam from step 17": Plan(
        "adam", from_17(scaled(1 + 1e-7, 0)), "dense1", "W updated by adam", step=17
    ),
    "sgd from half the rate": Plan(
        "sgd",
        from_rate(0.025, scaled(1 + 1e-7)),
        "dense1",
        "W updated by sgd",
        step=16,
        optimizer=SLOWING,
    ),
}


@pytest.mark.parametrize("plan", PLANTED.values(), ids=PLANTED.keys())
@pytest.mark.sampled(3)
def test_planted_fault_is_found(plan: Plan) -> None:
    mlp = network(**plan.network)
    X, y = example()
    if "loss" in plan.network:
        y = np.eye(3)[y]
    parity = verify(
        mlp,
        X,
        y,
        backends=("numpy", plant(plan.op, plan.fault)),
        steps=30,
        batch_size=8,
        optimizer=plan.optimizer,
    )
    assert not parity.agrees
    cause = parity.cause
    assert cause is not None
    assert (cause.layer, cause.quantity) == (plan.layer, plan.quantity), parity.report()
    assert parity.beyond == cause.step == plan.step
    assert (cause.epoch, cause.batch) == ((cause.step - 1) // 5 + 1, (cause.step - 1) % 5 + 1)
    assert not cause.difference <= parity.tolerance
    assert all(not d.largest > 1e-10 for d in parity.differences[: parity.beyond - 1])


@pytest.mark.parametrize("name", ["strict", "torch", "jax", "dpnp"])
def test_planted_fault_is_found_on(name: str) -> None:
    mlp = network(loss="mse", activation="identity")  # little for JAX to compile
    parity = verified(("numpy", plant("dense", dense_2, name)), mlp, steps=5, optimizer="sgd")
    cause = parity.cause
    assert cause is not None
    assert (cause.step, cause.layer, cause.quantity) == (1, "dense2", "z"), parity.report()
    assert cause.second - cause.first == pytest.approx(1e-6, rel=1e-6)


def counted(name: str, wrong: Callable[[int], bool]) -> Any:
    """A backend whose layer 3 gives too much in those of its calls."""
    calls = iter(range(10**9))

    def fault(right: Any, x: Any, W: Any, b: Any) -> Any:
        return right(x, W, b) * (1.001 if in_layer(3, W) and wrong(next(calls)) else 1.0)

    made = plant(name, fault)
    made.compile = partial(EagerBackend.compile, made)  # a recorded step would call it only once
    return made


def test_fault_that_begins_with_the_17th_call() -> None:
    """Computed again it is there in every step, but only from the 17th was it in the training."""
    parity = verified(("numpy", counted("dense", lambda call: call >= 16)), steps=30)
    cause = parity.cause
    assert cause is not None
    found = (parity.beyond, cause.step, cause.epoch, cause.batch, cause.layer, cause.quantity)
    assert found == (17, 17, 4, 2, "dense3", "z")


def test_fault_that_does_not_come_again_has_no_cause() -> None:
    parity = verified(("numpy", counted("dense", lambda call: call == 16)), steps=30)
    assert (parity.agrees, parity.beyond, parity.cause) == (False, 17, None)
    assert "does not compute the same twice" in " ".join(parity.report().split())


def test_fault_in_the_compiled_step_alone() -> None:
    made = make_backend("numpy")
    right = made.compile

    class Wrong:
        execution = Execution("recorded")

        def __init__(self, step: Any) -> None:
            self.run = right(step)

        def __call__(self, *arguments: Any) -> Any:
            state = self.run(*arguments)
            return state._replace(params=state.params * (1 + 1e-8))

    made.compile = Wrong
    cause = verified(("numpy", made), steps=5).cause
    assert cause is not None
    assert (cause.layer, cause.quantity) == ("dense1", "W after the compiled step")


def test_fault_in_running_statistics() -> None:
    def fault(right: Any, layout: Any, tensors: Any, out: Any, views: Any) -> Any:
        flat = right(layout, tensors, out, views)
        return flat if "dense1.W" in layout.slots else flat * (1 + 1e-7)

    cause = verified(
        ("numpy", plant("pack", fault)), network(normalization="batch", bias=False), steps=5
    ).cause
    assert cause is not None
    assert (cause.step, cause.layer, cause.quantity) == (1, "norm1", "mean packed")


def test_small_fault_that_takes_many_steps_to_show() -> None:
    """Each step is off by less than the tolerance: the first of them is named."""
    fault = scaled(1 + 5e-11)
    parity = verified(("numpy", plant("sgd", fault)), steps=30, optimizer=xpmlp.SGD(0.1))
    assert parity.beyond is not None
    assert parity.beyond > 1
    assert parity.cause is not None
    assert (parity.cause.step, parity.cause.layer) == (1, "dense1")
    assert 1e-11 < parity.cause.difference < 1e-10


def test_nan_from_one_operation() -> None:
    def fault(right: Any, p: Any, g: Any, *rest: Any) -> Any:
        new, moments = right(p, g, *rest)
        begins = xpmlp.Adam().coefficients(7, 1e-3)[1]
        return (new * np.nan if rest[2][1] <= begins else new), moments

    parity = verified(("numpy", plant("adam", fault)), steps=30)
    assert (parity.beyond, parity.not_finite) == (7, 8)
    cause = parity.cause
    assert cause is not None
    assert (cause.step, cause.quantity) == (7, "W updated by adam")
    assert cause.difference == np.inf
    assert np.isfinite(cause.first)
    assert np.isnan(cause.second)
    assert "not finite from step 8 on" in parity.report()


def test_both_diverging_alike_agree() -> None:
    mlp = network(loss="mse", activation="identity")
    X, y = example()
    parity = verify(mlp, X, np.eye(3)[y], backends=("numpy", "numpy"), optimizer=xpmlp.SGD(1e200))
    assert parity.agrees
    assert parity.not_finite is not None


# Tolerance, choice of backends, report


def test_tolerance_is_respected() -> None:
    pair = ("numpy", plant("dense", dense_2))
    assert not verified(pair, steps=10, tolerance=1e-8).agrees
    loose = verified(pair, steps=10, tolerance=1e-2)
    assert loose.agrees
    assert loose.cause is None
    assert 1e-8 < loose.largest.largest < 1e-2
    assert verified(("numpy", "numpy"), steps=10, tolerance=0.0).agrees
    assert verified(pair, network("float32"), steps=10).tolerance == 1e-4


@pytest.mark.usefixtures("torch_backend")
def test_second_backend_is_the_first_other_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    import xpmlp_backends

    works = {"numpy", "torch"}
    monkeypatch.setattr(
        xpmlp_backends, "why_not", lambda name: None if name in works else f"no {name} here"
    )
    parity = verified("numpy", steps=2)
    assert [side.backend for side in parity.sides] == ["numpy", "torch"]
    assert [side.backend for side in verified(["torch"], steps=2).sides] == ["torch", "numpy"]
    works.clear()
    with pytest.raises(BackendError, match=r"(?s)pip install 'xpmlp\[torch\]'.*no jax here"):
        verified(("numpy",), steps=2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps 0"),
        ({"tolerance": -1.0}, "tolerance -1.0"),
        ({"tolerance": float("nan")}, "tolerance nan"),
        ({"backends": ()}, "one or two"),
        ({"backends": ("numpy",) * 3}, "one or two"),
        ({"backends": ("numpy", "torhc")}, "Did you mean 'torch'"),
        ({"batch_size": 0}, "batch_size"),
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"X": np.zeros((4, 5))}, "expected 6"),
        ({"X": np.zeros(4)}, "two dimensions"),
        ({"X": np.zeros((0, 6)), "y": np.zeros(0)}, "no rows"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], match: str) -> None:
    X, y = example(4)
    with pytest.raises(InvalidValueError, match=match):
        verify(network(), **{"X": X, "y": y, "backends": ("numpy", "numpy")} | options)


def test_report_says_it_all_in_80_columns() -> None:
    good = verified(("numpy", "strict"), network(dropout=0.2), steps=60)
    text = good.report()
    assert text.startswith("numpy and strict: they agree\n")
    assert f"numpy {np.__version__} on cpu" in text
    assert "strict: array_api_strict" in text
    assert "All 60 steps agree to 1e-10" in text
    bad = verified(("numpy", plant("adam", from_17(scaled(1 + 1e-7, 0)))), steps=60)
    text = bad.report()
    assert text.startswith("numpy and numpy: they part at step 17\n")
    assert "17 (epoch 4, batch 2)" in text
    assert "layer     dense1\n" in text
    assert "quantity  W updated by adam\n" in text
    assert max(map(len, [*good.report().splitlines(), *text.splitlines()])) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())


def test_printed_it_is_a_summary() -> None:
    good = verified(("numpy", "numpy"), steps=60)
    assert str(good) == (
        "numpy and numpy agree. Largest difference in 60 steps: 0.0e+00, after step 1 (tolerance "
        "1e-10). report() has the rest."
    )
    bad = verified(("numpy", plant("dense", dense_2)), steps=60)
    assert str(bad).startswith("numpy and numpy part at step 1, first in dense2: ")
    assert len(str(bad)) < 250
    assert "Difference(" not in repr(bad)
    assert len(bad.differences) == 60


def test_result_as_json() -> None:
    parity = verified(("numpy", plant("dense", dense_2)), steps=3)
    result = json.loads(json.dumps(parity.to_dict()))
    assert result["agrees"] is False
    assert result["beyond"] == 1
    assert result["cause"]["layer"] == "dense2"
    assert [d["step"] for d in result["differences"]] == [1, 2, 3]
    assert result["sides"][1]["library"] == "numpy"
