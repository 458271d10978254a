"""Training on data in a file: the same bits as in memory with the same order of rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xpmlp
from xpmlp.arrays import host, moments, rows, stored
from xpmlp.data import open_rows, stored_order
from xpmlp.errors import DataError, DivergenceError, InvalidValueError
from xpmlp.training import batches

N, COLUMNS, GROUP, BUFFER = 110, 6, 8, 20


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks in an epoch, several blocks in a pass."""
    monkeypatch.setattr(batches, "CHUNK_STEPS", 3)
    for module in (host, rows):
        monkeypatch.setattr(module, "BLOCK_ROWS", 16)


def example(dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    X = rng.standard_normal((N, COLUMNS))
    y = np.argmax(X[:, :3] + 0.3 * X[:, 3:], axis=1)
    return (X * 50 + 120).clip(0, 255).astype(dtype) if dtype == "uint8" else X.astype(dtype), y


def written(folder: Path, X: np.ndarray, y: np.ndarray, buffer: int = BUFFER) -> Any:
    table = pa.table({f"c{k}": column for k, column in enumerate(X.T)} | {"y": y})
    pq.write_table(table, folder / "a.parquet", row_group_size=GROUP)
    return open_rows(folder / "a.parquet", label="y", buffer=buffer)


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([COLUMNS, 8, 3], **({"backend": backend, "seed": 3} | options))


def assert_same(a: xpmlp.MLP, b: xpmlp.MLP) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], strict=True)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "standard": ({"scaling": "standard"}, {"batch_size": 7}, "float32"),
    "standardized as it is read": ({"scaling": "standard"}, {"batch_size": 7}, "float64"),
    "robust": ({"scaling": "robust"}, {"batch_size": 16}, "float32"),
    "rounded as it is read": ({}, {"batch_size": 16}, "float64"),
    "pixels": ({}, {"batch_size": 16}, "uint8"),
    "weights and dropout": (
        {"dropout": 0.3},
        {"batch_size": 7, "sample_weight": np.arange(1.0, N + 1)},
        "float32",
    ),
    "without the last batch": ({}, {"batch_size": 7, "shuffle": "full"}, "float32"),
    "in order": ({}, {"batch_size": 7, "shuffle": False}, "float32"),
    "first weights": ({"initializer": "data", "bias_initializer": "data"}, {}, "float32"),
    "bins": ({"embedding": xpmlp.Embedding("piecewise", bins=4)}, {}, "float32"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(3)
def test_the_same_bits_as_in_memory(backend: Any, case: str, tmp_path: Path) -> None:
    options, fit, dtype = CASES[case]
    X, y = example(dtype)
    data = written(tmp_path, X, y)

    def order(epoch: int, n: int) -> np.ndarray:
        made = stored_order(3, epoch, data.X.groups, BUFFER)
        return made[: n // 7 * 7] if fit.get("shuffle") == "full" else made

    in_memory = fit if fit.get("shuffle") is False else fit | {"shuffle": order}
    a, b = model(backend, **options), model(backend, **options)
    ours = a.fit(data.X, data.y, epochs=2, **fit)
    theirs = b.fit(X, y, epochs=2, **in_memory)
    assert_same(a, b)
    for name in set(ours) - {"seconds"}:
        assert ours[name] == theirs[name], name
    np.testing.assert_array_equal(a.predict(data.X), b.predict(X))
    np.testing.assert_array_equal(a.predict_proba(data.X), b.predict_proba(X), strict=True)
    assert a.evaluate(data.X, y) == b.evaluate(X, y)


def test_networks_with_orders_of_their_own(tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X, y)
    ensemble = model("numpy", ensemble=2)
    ensemble.fit(data.X, data.y, epochs=2, batch_size=16)
    for i in range(2):
        alone = model("numpy", seed=3 + i)
        alone.fit(data.X, data.y, epochs=2, batch_size=16)
        np.testing.assert_allclose(
            ensemble.member(i).predict_proba(X), alone.predict_proba(X), rtol=1e-4
        )


def test_data_that_fit_in_the_buffer_and_memmaps_are_as_in_memory(tmp_path: Path) -> None:
    X, y = example()
    np.save(tmp_path / "a.npy", X)
    in_memory = model("numpy")
    expected = in_memory.fit(X, y, epochs=2, validation_data=(X, y), metrics=["f1"])
    for given in (open_rows(tmp_path / "a.npy").X, np.load(tmp_path / "a.npy", mmap_mode="r")):
        mlp = model("numpy")
        history = mlp.fit(given, y, epochs=2, validation_data=(given, y), metrics=["f1"])
        assert_same(mlp, in_memory)
        assert {**history, "seconds": 0} == {**expected, "seconds": 0}
        np.testing.assert_array_equal(mlp.predict(given), in_memory.predict(X), strict=True)


def test_nothing_reads_all_of_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even of a memmap: at most a chunk of three steps."""
    X, y = example("float64")
    np.save(tmp_path / "a.npy", X)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    most: list[int] = []
    original = stored.StoredMatrix._read

    def read(self: Any, at: np.ndarray) -> np.ndarray:
        most.append(len(at))
        return original(self, at)

    monkeypatch.setattr(stored.StoredMatrix, "_read", read)
    monkeypatch.setattr("xpmlp.model.forward.ROWS", 16)
    for scaling in ("standard", "robust", None):
        mlp = model("numpy", scaling=scaling)
        mlp.fit(mapped, y, epochs=1, batch_size=5, validation_split=0.2)
        mlp.predict(mapped)
    assert max(most) <= 16


def test_each_group_is_read_once_a_pass(tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X, y)
    read: list[int] = []
    original = data.X.source.read
    data.X.source.read = lambda group: read.append(group) or original(group)
    model("numpy", scaling="robust").fit(data.X, data.y, epochs=3, batch_size=7)
    groups = len(data.X.groups)
    assert sorted(read[:groups]) == list(range(groups))  # all statistics
    assert len(read) <= 4 * groups
    for epoch in range(3):
        order = stored_order(3, epoch, data.X.groups, BUFFER)
        first = dict.fromkeys((order // GROUP).tolist())
        assert read[(1 + epoch) * groups :][:1] == [next(iter(first))] or read[groups]


def test_workers_share_the_pass_for_the_statistics(tmp_path: Path) -> None:
    X, y = example("float64")
    backend = xpmlp.backend("numpy")
    whole = rows.rows(backend, X, COLUMNS, "float64").statistics()
    parts = []
    for blocks in np.array_split(np.arange(7), 3):
        alone = rows.rows(backend, written(tmp_path, X, y).X, COLUMNS, "float64")
        parts.append(alone.partial(blocks.tolist()))
    counts, blocks_of = (np.concatenate(each) for each in zip(*parts, strict=True))
    np.testing.assert_array_equal(moments.merged(counts, blocks_of), whole, strict=True)


def test_an_objective_takes_them(tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X, y)
    found = []
    for given in (X, data.X):
        objective = xpmlp.Objective(model("numpy"), given, y)
        found.append(objective(objective.start()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-7)


def test_a_part_is_held_out(tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X, y)
    seen: list[Any] = []

    class Look(xpmlp.Callback):
        def on_train_begin(self, training: Any) -> None:
            seen.append(training)

    mlp = model("numpy", scaling="standard")
    history = mlp.fit(data.X, data.y, epochs=1, validation_split=0.2, callbacks=[Look()])
    held, kept = seen[0].validation, seen[0].given
    assert (held.x.count, kept.x.count) == (22, 88)
    both = np.r_[kept.x.array[:], held.x.array[:]]
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(X, axis=0))
    mean = kept.x.array[:].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(mlp.scaling.shift, mean, rtol=1e-12)
    assert history["val_accuracy"] == [mlp.evaluate(held.x.array[:], held.y)["accuracy"]]


def test_data_on_the_device_are_copied_there(backend: Any, tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X, y)
    trained = []
    for data_on in ("auto", "device"):
        mlp = model(backend)
        mlp.fit(data.X, data.y, epochs=1, batch_size=16, data_on=data_on, shuffle=False)
        trained.append(mlp)
    assert_same(trained[0], trained[1])


def test_real_targets(tmp_path: Path) -> None:
    X, _ = example()
    data = written(tmp_path, X, X[:, 0] + 2 * X[:, 1])
    mlp = xpmlp.MLP([COLUMNS, 1], scaling="standard", backend="numpy", seed=0)
    history = mlp.fit(data.X, data.y, epochs=60, batch_size=16, optimizer=xpmlp.Adam(0.05))
    assert history["r2"][-1] > 0.99


# Resuming


class Cut(xpmlp.Callback):
    """Ends the run after some steps."""

    every = 1

    def on_batch_end(self, training: Any) -> None:
        if training.total == 23:
            raise RuntimeError("no power")


def resumable(data: Any, folder: Path, *callbacks: xpmlp.Callback) -> xpmlp.MLP:
    mlp = model("numpy", dropout=0.2, scaling="standard")
    mlp.fit(
        data.X,
        data.y,
        epochs=3,
        batch_size=7,
        checkpoints=folder,
        checkpoint_every=5,
        resume=True,
        callbacks=callbacks,
    )
    return mlp


def test_a_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    data = written(tmp_path, *example())
    whole = resumable(data, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="no power"):
        resumable(data, tmp_path / "cut", Cut())
    again = open_rows(tmp_path / "a.parquet", label="y", buffer=BUFFER)
    assert_same(resumable(again, tmp_path / "cut"), whole)


@pytest.mark.parametrize("what", ["numbers", "buffer"])
def test_other_data_are_not_resumed(what: str, tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X, y)
    with pytest.raises(RuntimeError, match="no power"):
        resumable(data, tmp_path / "cut", Cut())
    if what == "numbers":
        X[50, 1] += 1
    other = written(tmp_path, X, y, BUFFER + (what == "buffer"))
    with pytest.raises(InvalidValueError, match="had other data"):
        resumable(other, tmp_path / "cut")


# What goes wrong


def test_a_bad_number_is_found_before_the_first_step(tmp_path: Path) -> None:
    X, y = example()
    X[77, 2] = np.nan
    data = written(tmp_path, X, y)
    for scaling in ("standard", "robust", None):
        mlp = model("numpy", scaling=scaling)
        before = mlp.state_dict()
        with pytest.raises(InvalidValueError, match=r"a.parquet: found nan in row 77, column 2"):
            mlp.fit(data.X, data.y)
        assert mlp.known_task is None
        for name, values in mlp.state_dict().items():
            np.testing.assert_array_equal(values, before[name])


def test_a_divergence_is_found(tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X * 1e4, y)
    with (
        pytest.raises(DivergenceError, match="diverged in epoch 1 of 3, step 1 of 16"),
        np.errstate(all="ignore"),
        pytest.warns(UserWarning, match=r"far from scaled.* in the 110 rows looked at"),
    ):
        model("numpy").fit(data.X, data.y, epochs=3, batch_size=7, optimizer=xpmlp.SGD(1e36))


def test_a_file_that_changes_between_epochs(tmp_path: Path) -> None:
    X, y = example()
    data = written(tmp_path, X, y)

    class Write(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            pq.write_table(pa.table({"c0": X[:, 0]}), tmp_path / "a.parquet")

    mlp = model("numpy")
    with pytest.raises(DataError, match="written since it was opened"):
        mlp.fit(data.X, data.y, epochs=3, batch_size=7, callbacks=[Write()])
    assert mlp.epochs_trained == 1


def test_more_rows_than_32_bits_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Many:
        shape = (2**31 + 1, 1)

    data = batches.Data(Many(), None, None, None, None)
    with pytest.raises(InvalidValueError, match="2,147,483,649 rows on the device"):
        batches.OnDevice(data)
