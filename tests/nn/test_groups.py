"""Groups of parameters against ``torch.optim``'s, in float64; and what a group may not change."""

import pickle
import re
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from oracle import needs_torch, torch
from test_optimizers import BATCH, EPOCHS, PAIRS, ROWS

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.groups import Grouped
from xpmlp.nn.optimizers import OPTIMIZERS, Group, Optimizer
from xpmlp.nn.schedules import Cosine, Custom, FlatCos

STEPS = EPOCHS * ROWS // BATCH
GROUPS = {"dense1.W": {"rate": 0.5}, "*.b": {"rate": 2.0}}
FACTORS = {"dense1.W": 0.5, "dense1.b": 2.0, "dense2.W": 1.0, "dense2.b": 2.0}


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.standard_normal((ROWS, 4)), rng.integers(0, 3, ROWS)


def network(backend: Any, **options: Any) -> xpmlp.MLP:
    given = {"dtype": "float64", "seed": 2} | options
    return xpmlp.MLP([4, 6, 3], "tanh", backend=backend, **given)


def fit(mlp: xpmlp.MLP, optimizer: Optimizer, epochs: int = EPOCHS, **options: Any) -> Any:
    X, y = data()
    return mlp.fit(
        X, y, epochs=epochs, batch_size=BATCH, optimizer=optimizer, shuffle=False, **options
    )


def by_torch(mlp: xpmlp.MLP, make: Any, before_step: Any = lambda k, stepper, p: None) -> Any:
    """The same training by PyTorch; ``make`` gets the tensors by name."""
    X, y = data()
    p = {n: torch.tensor(v, requires_grad=True) for n, v in mlp.state_dict().items()}
    stepper, k = make(p), 0
    for _ in range(EPOCHS):
        for start in range(0, ROWS, BATCH):
            rows = slice(start, start + BATCH)
            stepper.zero_grad()
            h = torch.tanh(torch.tensor(X[rows]) @ p["dense1.W"] + p["dense1.b"])
            z = h @ p["dense2.W"] + p["dense2.b"]
            torch.nn.functional.cross_entropy(z, torch.tensor(y[rows])).backward()
            before_step(k, stepper, p)
            stepper.step()
            k += 1
    return {name: tensor.detach().numpy() for name, tensor in p.items()}


def compare(mlp: xpmlp.MLP, expected: Any) -> None:
    for name, value in mlp.state_dict().items():
        assert_close(value, expected[name], rtol=1e-10, atol=1e-14)


# Against PyTorch


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.sampled(2)
@needs_torch
def test_factors_of_the_rate(backend: Any, name: str) -> None:
    ours, theirs = PAIRS[name]
    rate = ours.learning_rate

    def make(p: Any) -> Any:
        stepper = theirs(list(p.values()))
        (group,) = stepper.param_groups
        parts = [{**group, "params": [tensor], "lr": rate * FACTORS[n]} for n, tensor in p.items()]
        return type(stepper)(parts)

    mlp = network(backend)
    expected = by_torch(mlp, make)
    fit(mlp, type(ours)(**{**vars(ours), "groups": GROUPS}))
    compare(mlp, expected)


@needs_torch
def test_decay_and_schedule_of_a_group(backend: Any) -> None:
    """No decay of biases; a schedule of its own for the last weights, times a factor."""
    mlp = network(backend)
    groups = {
        "*.b": {"weight_decay": 0, "rate": 0.1},
        "dense2.*": Group(schedule=Cosine(0.05), rate=0.5, weight_decay=FlatCos(0.4)),
    }
    optimizer = xpmlp.AdamW(Cosine(0.03), weight_decay=0.3, groups=groups)
    steps = ROWS // BATCH

    def times(k: int) -> tuple[float, float]:
        return k / steps, EPOCHS

    def set_rates(k: int, stepper: Any, p: Any) -> None:
        first, biases, last = stepper.param_groups
        common = Cosine(0.03).at(*times(k))
        first["lr"], biases["lr"] = common, 0.1 * common
        last["lr"] = 0.5 * Cosine(0.05).at(*times(k))
        last["weight_decay"] = FlatCos(0.4).at(*times(k))

    def make(p: Any) -> Any:
        return torch.optim.AdamW(
            [
                {"params": [p["dense1.W"]], "weight_decay": 0.3},
                {"params": [p["dense1.b"], p["dense2.b"]], "weight_decay": 0.0},
                {"params": [p["dense2.W"]]},
            ]
        )

    expected = by_torch(mlp, make, set_rates)
    history = fit(mlp, optimizer)
    compare(mlp, expected)
    assert history["learning_rate"][-1] == Cosine(0.03).at(*times(STEPS - 1))


@needs_torch
def test_a_schedule_of_weight_decay(backend: Any) -> None:
    mlp = network(backend)

    def set_decay(k: int, stepper: Any, p: Any) -> None:
        stepper.param_groups[0]["weight_decay"] = FlatCos(0.5).at(k * BATCH / ROWS, EPOCHS)

    expected = by_torch(mlp, lambda p: torch.optim.AdamW(list(p.values()), lr=0.02), set_decay)
    fit(mlp, xpmlp.AdamW(0.02, weight_decay=FlatCos(0.5)))
    compare(mlp, expected)


@needs_torch
def test_the_norm_is_that_of_all_groups(backend: Any) -> None:
    mlp = network(backend)

    def clip(k: int, stepper: Any, p: Any) -> None:
        norm = torch.sqrt(sum((t.grad**2).sum() for t in p.values()))
        for tensor in p.values():
            tensor.grad *= torch.clamp(0.3 / norm, max=1.0)

    def make(p: Any) -> Any:
        parts = [{"params": [t], "lr": 0.1 * FACTORS[n]} for n, t in p.items()]
        return torch.optim.SGD(parts, momentum=0.9)

    expected = by_torch(mlp, make, clip)
    fit(mlp, xpmlp.Momentum(0.1, clip_norm=0.3, groups=GROUPS))
    compare(mlp, expected)


# Freezing


def frozen_options(kind: str) -> dict[str, Any]:
    return {
        "decay": {"optimizer": xpmlp.AdamW(0.1, weight_decay=0.5, groups=FROZEN)},
        "clipped": {"optimizer": xpmlp.Nesterov(0.1, clip_norm=0.1, groups=FROZEN)},
        "averaged": {"optimizer": xpmlp.SGD(0.1, average=0.8, groups=FROZEN)},
    }[kind]


FROZEN = {"dense1.*": {"rate": 0}}


@pytest.mark.parametrize("kind", ["decay", "clipped", "averaged"])
def test_what_is_frozen_keeps_every_bit(backend: Any, kind: str) -> None:
    """By penalties and a bound on the norm it does not change either."""
    mlp = network(backend, l1=0.1, l2=0.1, max_norm=0.3)
    before = mlp.parameters
    fit(mlp, epochs=2, **frozen_options(kind))
    for name, value in mlp.parameters.items():
        assert bool(np.all(value == before[name])) == name.startswith("dense1"), name
    assert np.linalg.norm(mlp.parameters["dense2.W"], axis=0).max() <= 0.3 * (1 + 1e-12)


@needs_torch
def test_the_rest_trains_as_if_it_were_alone(backend: Any) -> None:
    mlp = network(backend)
    last = ["dense2.W", "dense2.b"]
    expected = by_torch(mlp, lambda p: torch.optim.AdamW([p[n] for n in last], lr=0.05))
    fit(mlp, xpmlp.AdamW(0.05, groups=FROZEN))
    compare(mlp, expected)


def test_all_may_be_frozen(backend: Any) -> None:
    """Only the running statistics are then learned."""
    mlp = network(backend, normalization="batch")
    before = mlp.state_dict()
    fit(mlp, xpmlp.Adam(groups={"*": {"rate": 0}}), epochs=1)
    after = mlp.state_dict()
    changed = {name for name in after if not np.array_equal(after[name], before[name])}
    assert changed == {"norm1.mean", "norm1.var"}


# How steps run


def test_steps_with_groups_run_in_the_fastest_mode(backend: Any) -> None:
    mlp = network(backend)
    plain = network(backend)
    mode = fit(mlp, xpmlp.AdamW(groups=GROUPS, average=0.9)).execution
    assert mode == fit(plain, xpmlp.AdamW()).execution


def test_values_come_with_the_plan() -> None:
    """Other rates, decays and schedules need no other step; other groups do."""
    mlp = network("numpy")
    for rate, decay in ((0.1, 0.9), (0.2, 0.99)):
        groups = {"*.b": Group(rate=rate, weight_decay=FlatCos(decay), schedule=Cosine(rate))}
        fit(mlp, xpmlp.AdamW(Cosine(rate), groups=groups, average=decay), epochs=1)
    assert len(mlp.compiled) == 1
    for groups in ({"*.b": Group(rate=0)}, {"*.W": Group(rate=0.1)}, None):
        fit(mlp, xpmlp.AdamW(groups=groups, average=0.9), epochs=1)
    assert len(mlp.compiled) == 4


class Counted(Optimizer):
    """Gradient descent that counts its updates."""

    name = "counted"
    calls: list[Any] = []  # noqa: RUF012 - shared on purpose

    def update(self, ops: Any, p: Any, g: Any, moments: Any, c: Any) -> Any:
        self.calls.append((p, c.shape))
        return ops.sgd(p, g, c[0]), ()


def test_an_update_for_each_part_that_moves() -> None:
    """Neighbours of one group are one part; without groups the optimizer gets all at once."""
    backend, layout = make_backend("numpy"), network("numpy").network.layout
    p, g = (backend.asarray(np.ones(layout.size)) for _ in range(2))
    for groups, parts in (
        (None, 1),
        ({"dense*": {"rate": 0.1}}, 1),
        ({"dense1.*": {"rate": 0.1}}, 2),
        ({"*.b": {"rate": 0.1}}, 4),
        ({"*.b": {"rate": 0}}, 2),
    ):
        Counted.calls.clear()
        optimizer = Grouped(Counted(0.1, groups=groups), layout)
        c = backend.asarray(np.arange(1.0, 1.0 + len(optimizer.groups)))
        new, _ = optimizer.update(backend.ops, p, g, (), c)
        assert new is p  # in place
        assert len(Counted.calls) == parts
        assert {shape for _, shape in Counted.calls} == {(1,)}
        if groups is None:
            assert Counted.calls[0][0] is p


# Resuming, moving, saving

OPTIMIZER = xpmlp.AdamW(
    Cosine(0.05),
    weight_decay=FlatCos(0.2),
    groups={"dense1.b": {"rate": 0}, "*.b": {"rate": 0.1, "weight_decay": 0}, "dense1.W": {}},
    average=0.8,
)


def test_a_resumed_run_ends_as_the_uninterrupted_one(backend: Any, tmp_path: Any) -> None:
    whole = network(backend, normalization="batch")
    keep = xpmlp.Checkpoints(tmp_path, every=3, keep=99, best=False)
    expected = fit(whole, OPTIMIZER, epochs=3, checkpoints=keep)
    paths = sorted(tmp_path.glob("step-*.xpmlp"))
    assert len(paths) == 4
    for path in paths[:-1]:
        mlp = network(backend, normalization="batch")
        again = tmp_path / f"from {path.stem}"
        history = fit(mlp, OPTIMIZER, epochs=3, checkpoints=again, resume=path)
        assert history["loss"] == expected["loss"]
        for name, value in whole.state_dict().items():
            np.testing.assert_array_equal(mlp.state_dict()[name], value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": {"*.b": Group(rate=0.2)}}, "optimizer: groups"),
        ({"groups": None}, "optimizer: groups"),
        ({"groups": dict(reversed(OPTIMIZER.groups))}, "groups: the pattern 'dense1.b'"),
        ({"average": 0.9}, "optimizer: average: found 0.9; it had 0.8"),
        ({"average": None}, "optimizer: average"),
        ({"weight_decay": FlatCos(0.3)}, "optimizer: weight_decay: rate: found 0.3; it had 0.2"),
    ],
)
def test_other_groups_do_not_resume_it(tmp_path: Any, changes: Any, message: str) -> None:
    fit(network("numpy"), OPTIMIZER, epochs=1, checkpoints=tmp_path)
    other = xpmlp.AdamW(**{**vars(OPTIMIZER), **changes})
    with pytest.raises(InvalidValueError, match=message):
        fit(network("numpy"), other, epochs=1, checkpoints=tmp_path, resume=True)


def test_a_moved_and_a_pickled_model_continue(backend: Any) -> None:
    whole, moved = network("numpy"), network("numpy")
    constant = xpmlp.AdamW(0.05, groups=OPTIMIZER.groups, average=0.8)
    fit(whole, constant, epochs=5)
    fit(moved, constant, epochs=2)
    copied = pickle.loads(pickle.dumps(moved))
    for mlp in (moved.to(backend), copied):
        fit(mlp, constant, epochs=3, continued=True)
        for name, value in whole.state_dict().items():
            assert_close(mlp.state_dict()[name], value, rtol=1e-9, atol=1e-12)


def test_an_estimator_takes_it() -> None:
    sklearn = pytest.importorskip("xpmlp.sklearn")
    X, y = data()
    estimator = sklearn.MLPClassifier(
        (6,), solver=xpmlp.AdamW(0.05, groups=GROUPS, average=0.9), max_iter=5, tol=0.0,
        random_state=0, backend="numpy", early_stopping=True,
    )  # fmt: skip
    with pytest.warns(Warning, match="Maximum iterations"):
        estimator.fit(X, y)
    assert estimator.get_params()["solver"].average == 0.9
    assert estimator.score(X, y) > 0.3


# Which pattern decides


def test_the_first_pattern_that_matches_decides() -> None:
    layout = network("numpy").network.layout
    for patterns, expected in (
        (["dense2.*", "*.b"], {"dense1.W": 0, "dense1.b": 2, "dense2.W": 1, "dense2.b": 1}),
        (["*.b", "dense2.*"], {"dense1.W": 0, "dense1.b": 1, "dense2.W": 2, "dense2.b": 1}),
        (["dense[1].?", "*"], {"dense1.W": 1, "dense1.b": 1, "dense2.W": 2, "dense2.b": 2}),
    ):
        optimizer = xpmlp.SGD(groups={pattern: {"rate": 0.5} for pattern in patterns})
        assert Grouped(optimizer, layout).members == expected


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ["dense3*"],
            "'dense3*' decides nothing: no parameter has such a name. The parameters are "
            "dense1.W, dense1.b, dense2.W, dense2.b",
        ),
        (["norm1.mean"], "'norm1.mean' decides nothing"),
        (["DENSE1.*"], "decides nothing"),
        (
            ["*.b", "dense1.b"],
            "'dense1.b' decides nothing: patterns before it match dense1.b, and the first decides",
        ),
    ],
)
def test_a_pattern_that_decides_nothing(patterns: list[str], message: str) -> None:
    mlp = network("numpy")
    before = mlp.state_dict()
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        fit(mlp, xpmlp.SGD(groups={pattern: {"rate": 0.5} for pattern in patterns}))
    assert all(np.array_equal(before[name], value) for name, value in mlp.state_dict().items())


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ("*.b", InvalidTypeError, "groups: found '\\*.b'; expected a dict"),
        ({"*.b": 0.1}, InvalidTypeError, "groups: found 0.1; expected settings"),
        ({"*.b": {"lr": 0.1}}, InvalidValueError, "setting of a group 'lr'"),
        ({"*.b": {"rate": -1}}, InvalidValueError, "Group: rate is -1"),
        ({"*.b": {"rate": None}}, InvalidValueError, "Group: rate is None"),
        ({"*.b": {"schedule": 0.1}}, InvalidTypeError, "Group: schedule is 0.1"),
        ({"*.b": {"weight_decay": -1}}, InvalidValueError, "Group: weight_decay is -1"),
        ({"*.b": {"weight_decay": "no"}}, InvalidValueError, "Group: weight_decay is 'no'"),
    ],
)
def test_bad_groups_are_refused(groups: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        xpmlp.AdamW(groups=groups)


def test_decay_of_an_optimizer_without_it() -> None:
    with pytest.raises(InvalidValueError, match=r"'\*.b' has a weight_decay, which Adam does not"):
        xpmlp.Adam(groups={"*.b": {"weight_decay": 0.1}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"groups": {"*.b": Group(schedule=Custom(0.1, lambda t, n: -1.0))}},
            "learning_rate.*-0.1",
        ),
        ({"weight_decay": Custom(0.1, lambda t, n: np.nan)}, "weight_decay: found nan for step 1"),
    ],
)
def test_a_schedule_with_a_bad_value(options: Any, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        fit(network("numpy"), xpmlp.AdamW(0.1, **options), epochs=1)


def test_an_optimizer_with_groups_is_a_value() -> None:
    """It can be compared, hashed, copied and printed."""
    one, other = (xpmlp.AdamW(0.1, groups={"*.b": {"rate": 0.5}}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    assert xpmlp.AdamW(0.1, groups={}) == xpmlp.AdamW(0.1)
    assert "groups=(('*.b', Group(rate=0.5" in repr(one)


# Explanations and comparisons


def test_an_explained_step_shows_each_groups_rate() -> None:
    groups = {"dense1.*": {"rate": 0}, "*.b": {"rate": 0.1, "weight_decay": 0}}
    optimizer = xpmlp.AdamW(0.5, weight_decay=0.2, groups=groups, average=0.9)
    mlp = network("numpy", targets="labels", max_norm=5.0)
    found = xpmlp.explain(mlp, np.ones(4), 1, optimizer=optimizer)
    assert found["W1*"].text.startswith("W1* = W1")
    assert found["W1*"].note == "frozen"
    assert found["W2*"].text.startswith("W2* = 0.9 W2 − 0.5 ")
    assert found["b2*"].text.startswith("b2* = 1 b2 − 0.05 ")
    mlp.fit(np.ones((1, 4)), [1], epochs=1, optimizer=optimizer)
    for symbol, name in (("W1", "dense1.W"), ("W2", "dense2.W"), ("b2", "dense2.b")):
        assert_close(found[f"{symbol}*"].values, mlp.parameters[name], rtol=1e-12)


def test_two_backends_are_compared_step_by_step() -> None:
    X, y = data()
    mlp = network("numpy", max_norm=1.0)
    pair = ("numpy", "strict")
    parity = xpmlp.verify(mlp, X, y, backends=pair, steps=6, batch_size=BATCH, optimizer=OPTIMIZER)
    assert parity.agrees, str(parity)


def test_a_diagnosis_knows_what_is_frozen() -> None:
    diagnosis = xpmlp.Diagnosis()
    fit(network("numpy"), xpmlp.Adam(0.01, groups=FROZEN, average=0.9), callbacks=[diagnosis])
    first, last = diagnosis.course.measurements[-1].layers
    assert first.update == 0
    assert last.update > 0
