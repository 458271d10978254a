"""``fit(batches=...)``: the same steps as ``fit(X, y)``, with ready batches."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from oracle import torch

import xpmlp
from xpmlp.errors import DivergenceError, InvalidTypeError, InvalidValueError
from xpmlp.training.stream import parts_of

N = 26
RNG = np.random.default_rng(4)
X = RNG.standard_normal((N, 4))
Y = RNG.integers(0, 3, N)
VALUES = X[:, :2] * 3.0 + 7.0
W = RNG.integers(1, 4, N).astype(float)


def network(backend: Any = "numpy", outputs: int = 3, **options: Any) -> xpmlp.MLP:
    given = {"dtype": "float64", "seed": 3, "backend": backend} | options
    return xpmlp.MLP([4, 6, outputs], "tanh", **given)


def parts(*arrays: Any, size: int = 8) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(arrays[1]), size):
        yield tuple(a[start : start + size] for a in arrays)


class Repeated:
    """Batches that do not say how many they are."""

    def __init__(self, *arrays: Any) -> None:
        self.arrays = arrays

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return parts(*self.arrays)


FORMS = {
    "a list": list(parts(X, Y)),
    "a function": lambda: parts(X, Y),
    "an iterable": Repeated(X, Y),
}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "dropout": ({"dropout": 0.3, "input_dropout": 0.1}, {"optimizer": xpmlp.Adam(0.01)}),
    "batch norm": ({"normalization": "batch", "l2": 0.1}, {"validation_data": (X, Y)}),
    "ensemble": ({"ensemble": 2}, {"metrics": False}),
}


def assert_same(a: xpmlp.MLP, b: xpmlp.MLP) -> None:
    """Bit for bit."""
    theirs = b.state_dict()
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(value, theirs[name], strict=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.sampled(5)
def test_the_steps_are_those_of_fit(backend: Any, form: str, case: str) -> None:
    options, fit = CASES[case]
    ours, theirs = network(backend, **options), network(backend, **options)
    history = ours.fit(batches=FORMS[form], epochs=2, **fit)
    expected = theirs.fit(X, Y, epochs=2, batch_size=8, shuffle=False, **fit)
    assert_same(ours, theirs)
    assert list(history) == list(expected)
    for name in set(expected) - {"seconds"}:
        assert_close(history[name], expected[name], rtol=1e-12)
    assert history.examples == N
    ours.fit(batches=FORMS[form], epochs=1, continued=True, **fit)
    theirs.fit(X, Y, epochs=1, batch_size=8, shuffle=False, continued=True, **fit)
    assert_same(ours, theirs)


@pytest.mark.usefixtures("uncompiled")
def test_values_and_weights(backend: Any) -> None:
    """R² is that of the epoch's targets, whatever batch they came in."""
    ours, theirs = network(backend, 2), network(backend, 2)
    history = ours.fit(batches=Repeated(X, VALUES, W), epochs=2)
    expected = theirs.fit(X, VALUES, sample_weight=W, epochs=2, batch_size=8, shuffle=False)
    assert_same(ours, theirs)
    assert_close(history["r2"], expected["r2"], rtol=1e-10)
    by_class, weighted = network(backend), network(backend)
    by_class.fit(batches=FORMS["a list"], epochs=1, class_weight={1: 2.0})
    rows = np.where(Y == 1, 2.0, 1.0)
    weighted.fit(X, Y, sample_weight=rows, epochs=1, batch_size=8, shuffle=False)
    for name, value in weighted.state_dict().items():
        assert_close(by_class.state_dict()[name], value, atol=1e-14)


def test_a_schedule_runs_over_batches_that_can_be_counted() -> None:
    cosine = xpmlp.Adam(xpmlp.schedules.Cosine(0.05))
    ours, theirs = network(), network()
    history = ours.fit(batches=FORMS["a list"], epochs=3, optimizer=cosine)
    expected = theirs.fit(X, Y, epochs=3, batch_size=8, shuffle=False, optimizer=cosine)
    assert_same(ours, theirs)
    assert history["learning_rate"] == expected["learning_rate"]
    untouched = network()
    with pytest.raises(InvalidValueError, match="batches that do not say how many they are"):
        untouched.fit(batches=Repeated(X, Y), optimizer=cosine)
    with pytest.raises(InvalidValueError, match="do not say how many"):
        network(dropout=xpmlp.schedules.FlatCos(0.2)).fit(batches=Repeated(X, Y))
    assert untouched.known_task is None


@pytest.mark.usefixtures("uncompiled")
def test_a_loader_of_pytorch(backend: Any) -> None:
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(data, batch_size=8)
    ours, theirs = network(backend), network(backend)
    ours.fit(batches=loader, epochs=2)
    theirs.fit(X, Y, epochs=2, batch_size=8, shuffle=False)
    assert_same(ours, theirs)


def test_tensors_on_the_host_for_a_model_elsewhere() -> None:
    """As a loader makes them for a GPU; the strict backend stands in for it."""
    theirs = make_backend("strict")
    ours = network(theirs)
    values = torch.tensor(X, requires_grad=True)
    assert isinstance(parts_of(theirs, (torch.tensor(X), Y), 0)[0], np.ndarray)
    assert parts_of(theirs, (values, Y), 0)[0] is values  # DLPack refuses it
    mine = theirs.asarray(X)
    assert parts_of(theirs, (mine, Y), 0)[0] is mine
    ours.fit(batches=[(torch.tensor(X), torch.tensor(Y))], epochs=1)
    assert ours.epochs_trained == 1


def test_callbacks_and_stopping() -> None:
    seen: list[tuple[int, int]] = []

    class Watch(xpmlp.Callback):
        every = 3

        def on_batch_end(self, training: Any) -> None:
            seen.append((training.step, training.steps))

    stopping = xpmlp.EarlyStopping(patience=2)
    history = network().fit(
        batches=FORMS["a function"],
        epochs=100,
        optimizer=xpmlp.Adam(0.3),
        validation_data=(X[::-1], RNG.integers(0, 3, N)),
        metrics=["f1"],
        callbacks=[Watch(), stopping, xpmlp.Diagnosis()],
    )
    assert len(history["val_f1"]) == len(history["loss"]) < 100
    assert seen[:3] == [(3, 3), (2, 2), (1, 1)]


def test_frames_and_sparse_rows() -> None:
    scipy = pytest.importorskip("scipy.sparse")
    ours, theirs = network(), network()
    ours.fit(batches=lambda: parts(scipy.csr_array(X), Y), epochs=1)
    theirs.fit(X, Y, epochs=1, batch_size=8, shuffle=False)
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value, atol=1e-12)
    frame = {"size": np.arange(20.0), "kind": ["a", "b"] * 10}
    table = xpmlp.Table().fit(frame)
    mlp = xpmlp.MLP([table.width, 4, 2], table=table, backend="numpy", seed=0)
    some = [{name: column[:10] for name, column in frame.items()}] * 2
    mlp.fit(batches=[(part, np.arange(10) % 2) for part in some], epochs=1)
    assert mlp.epochs_trained == 1


def test_a_generator_is_for_one_epoch() -> None:
    mlp = network()
    mlp.fit(batches=parts(X, Y), epochs=1)
    assert mlp.epochs_trained == 1
    with pytest.raises(InvalidValueError, match=r"an iterator \(generator\), which is spent after"):
        mlp.fit(batches=parts(X, Y), epochs=2)
    spent = parts(X, Y)
    with pytest.raises(InvalidValueError, match="found none in epoch 2"):
        mlp.fit(batches=lambda: spent, epochs=2)
    assert mlp.epochs_trained == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batches": 3}, "found a int; expected what gives pairs"),
        ({"batches": {"X": X}}, "found a dict; expected what gives pairs"),
        ({"batches": []}, "found none; expected one at least"),
        ({"batches": [X[:8]]}, "found ndarray in batch 0"),
        ({"batches": [(X, Y, W, W)]}, "found 4 parts in batch 0"),
        ({"batches": [(X, Y), (X[:, :3], Y)]}, "batch 1, X: found shape"),
        ({"batches": [(X, Y), (X, Y + 9)]}, r"batch 1, y: found \d+"),
        ({"batches": [(X, Y), (X, Y, -W)]}, "batch 1, sample_weight: found -"),
        ({"class_weight": "balanced"}, "'balanced' with batches, which are not seen all at once"),
        ({"X": X, "y": Y}, "X and y: found it together with batches; pass one or the other"),
        ({"sample_weight": W}, "batches may be"),
        ({"validation_split": 0.5}, "validation_split: .* pass validation_data"),
        ({"shuffle": False}, "shuffle: found it together with batches"),
        ({"batch_size": 3}, "chooses their size"),
        ({"data_on": "host"}, "each batch is copied as it comes"),
        ({"checkpoints": "here"}, "checkpoints: found it together with batches"),
    ],
)
def test_what_cannot_work(given: dict[str, Any], message: str) -> None:
    mlp = network()
    before = mlp.state_dict()
    with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
        mlp.fit(**({"batches": FORMS["a list"], "epochs": 1} | given))
    assert mlp.epochs_trained == 0
    assert mlp.progress is None
    for name, value in before.items():
        np.testing.assert_array_equal(mlp.state_dict()[name], value)


def test_what_is_learned_from_all_data() -> None:
    for options in ({"scaling": "standard"}, {"initializer": "data"}):
        mlp = network(**options)
        with pytest.raises(InvalidValueError, match="from all data at its first fit"):
            mlp.fit(batches=FORMS["a list"], epochs=1)
        mlp.fit(X, Y, epochs=1)
        mlp.fit(batches=FORMS["a list"], epochs=1)
        assert mlp.epochs_trained == 2
    with pytest.raises(InvalidValueError, match="learns its table from all data"):
        xpmlp.MLP([4, 2], table="auto", backend="numpy").fit(batches=[({"a": [1.0]}, [0])])
    with pytest.raises(InvalidTypeError, match="y: found None; pass fit"):
        network().fit(X)


def test_more_than_their_length_and_a_loss_that_is_not_finite() -> None:
    class Wrong(list[Any]):
        def __len__(self) -> int:
            return 2

    with pytest.raises(InvalidValueError, match=r"found more than 2, their len\(\)"):
        network().fit(batches=Wrong(parts(X, Y)), epochs=1)
    mlp = network(outputs=2)
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match="epoch 1 of 1"):
        mlp.fit(batches=[(X, VALUES)] * 9, epochs=1, optimizer=xpmlp.SGD(1e200))


# Epochs of a stated number of batches


def endless(seed: int = 3) -> Any:
    """Batches without an end."""
    rng = np.random.default_rng(seed)
    while True:
        rows = rng.integers(0, N, 8)
        yield X[rows], Y[rows]


def test_a_generator_without_an_end(backend: Any) -> None:
    """Its batches are those of a list, in epochs of a stated length; schedules and stops work."""
    cosine = xpmlp.Adam(xpmlp.schedules.Cosine(0.05))
    first = list(islice(endless(), 12))
    ours, theirs = network(backend), network(backend)
    source = endless()
    history = ours.fit(batches=source, epochs=3, steps_per_epoch=4, optimizer=cosine)
    chosen = [iter([first[:4], first[4:8], first[8:]])]
    expected = theirs.fit(batches=Epochs(chosen), epochs=3, optimizer=cosine)
    assert_same(ours, theirs)
    assert history["learning_rate"] == expected["learning_rate"]
    assert {**history, "seconds": 0} == {**expected, "seconds": 0}
    np.testing.assert_array_equal(next(source)[0], next(islice(endless(), 12, 13))[0])


class Epochs:
    """Other batches in each epoch, four of them."""

    def __init__(self, epochs: list[Any]) -> None:
        self.epochs = epochs[0]

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        return iter(next(self.epochs))


def test_stopping_continuing_and_steps_without_an_end() -> None:
    seen: list[tuple[int, int]] = []

    class Watch(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            seen.append((training.step, training.steps))

    source, mlp = endless(), network()
    stopping = xpmlp.EarlyStopping(patience=1)
    given = {"batches": source, "steps_per_epoch": 3, "optimizer": xpmlp.Adam(0.3)}
    history = mlp.fit(
        **given,
        epochs=500,
        validation_data=(X, RNG.integers(0, 3, N)),
        callbacks=[Watch(), stopping],
    )
    assert len(history["loss"]) < 500
    assert seen[:4] == [(1, 3), (2, 3), (3, 3), (1, 3)]
    assert len(mlp.fit(**given, epochs=2, continued=True)["loss"]) == len(history["loss"])
    with pytest.raises(InvalidValueError, match="checkpoints: found it together with batches"):
        mlp.fit(**given, epochs=2, checkpoints="nowhere")


def test_a_list_goes_on_and_begins_again() -> None:
    batches = list(islice(endless(), 5))
    ours, theirs = network(), network()
    history = ours.fit(batches=batches, epochs=3, steps_per_epoch=4)
    chosen = [batches[:4], [batches[4], *batches[:3]], [*batches[3:], *batches[:2]]]
    theirs.fit(batches=Epochs([iter(chosen)]), epochs=3)
    assert_same(ours, theirs)
    assert history.examples == 32
    longer = network()
    longer.fit(batches=batches[:2], epochs=1, steps_per_epoch=5)
    theirs = network()
    theirs.fit(batches=[batches[k] for k in (0, 1, 0, 1, 0)], epochs=1)
    assert_same(longer, theirs)


def test_what_ends_too_early() -> None:
    mlp = network()
    with pytest.raises(InvalidValueError, match="found 2 more, expected steps_per_epoch=4 in each"):
        mlp.fit(batches=islice(endless(), 6), epochs=2, steps_per_epoch=4)
    assert mlp.epochs_trained == 1
    calls = iter([islice(endless(), 3), iter(())])
    with pytest.raises(InvalidValueError, match="found 3 more, expected steps_per_epoch=4"):
        network().fit(batches=lambda: next(calls), epochs=1, steps_per_epoch=4)
    with pytest.raises(InvalidValueError, match="steps_per_epoch: found it without batches"):
        network().fit(X, Y, steps_per_epoch=4)
    with pytest.raises(InvalidValueError, match="steps_per_epoch: found 0"):
        network().fit(batches=endless(), steps_per_epoch=0)
    with pytest.raises(InvalidValueError, match="One without an end needs steps_per_epoch"):
        network().fit(batches=endless(), epochs=2)
