"""Workers that train on rows in a file: the same bits, and each reads its own groups alone."""

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parallel.together import together

import xpmlp
from xpmlp.data import open_rows
from xpmlp.training import batches

pa = pytest.importorskip("pyarrow")
N, GROUP = 128, 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 3)).astype("float32")
    y = np.argmax(X, axis=1)
    table = pa.table({f"c{k}": column for k, column in enumerate(X.T)} | {"y": y})
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=GROUP)
    return tmp_path / "rows.parquet"


def fitted(path: Path, backend: Any = "numpy", **how: Any) -> np.ndarray:
    data = open_rows(path, label="y", buffer=8)
    mlp = xpmlp.MLP([3, 8, 3], scaling=None, dropout=0.2, backend=backend, seed=1)
    mlp.fit(data.X, data.y, epochs=2, batch_size=30, metrics=False, **how)
    return mlp.backend.to_numpy(mlp.weights.flat)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_number_of_workers_changes_no_bit(
    path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK_STEPS", 2)  # several chunks, and a last batch of 8 rows
    expected = fitted(path, shards=8)
    for found in together(size, lambda worker: fitted(path, workers=worker)):
        np.testing.assert_array_equal(found, expected)


def test_another_number_of_shards_is_another_run(path: Path) -> None:
    assert not np.array_equal(fitted(path, shards=8), fitted(path, shards=2))


def test_each_worker_reads_its_own_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[str, list[np.ndarray]] = defaultdict(list)
    chunks = batches.FromHost.chunks

    def watched(self: Any, plans: Any, done: int = 0) -> Any:
        for rows, _ in plans:
            taken[threading.current_thread().name].append(self._own(rows))
        return chunks(self, plans, done)

    monkeypatch.setattr(batches.FromHost, "chunks", watched)
    together(4, lambda worker: fitted(path, workers=worker))
    # An epoch has a plan of whole batches and one of a smaller: two of each.
    epochs = [
        {
            name: np.concatenate([r.ravel() for r in rows[2 * e : 2 * e + 2]])
            for name, rows in taken.items()
        }
        for e in range(2)
    ]
    for each in epochs:
        assert sorted(np.concatenate(list(each.values())).tolist()) == list(range(N))
        groups = [set((rows // GROUP).tolist()) for rows in each.values()]
        assert sum(map(len, groups)) <= N // GROUP + 3  # two share one where they meet
