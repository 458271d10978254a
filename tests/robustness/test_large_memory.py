"""A Parquet file is trained on in less memory than it takes; with --full, 4 GB in 1 GB."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")
if not Path("/proc/self/status").exists():
    pytest.skip("the peak of a process's memory is read from /proc", allow_module_level=True)

COLUMNS, GROUP = 64, 16_384
MIB = 2**20

TRAIN = """
import json, sys
import numpy as np
import pyarrow.parquet, xpmlp

def peak():
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

mlp = xpmlp.MLP([64, 8, 2], scaling="standard", backend="numpy", seed=0)
few = np.random.default_rng(0).standard_normal((2048, 64)).astype(np.float32)
mlp.fit(few, few[:, 0] > 0, epochs=2)  # what any training takes
before = peak()
data = xpmlp.data.open_rows(sys.argv[1], label="label", buffer=32768)
history = mlp.fit(data.X, data.y, epochs=1, batch_size=1024)
print(json.dumps({"before": before, "peak": peak(), "accuracy": history["accuracy"][-1]}))
"""


def write(path: Path, size: int) -> int:
    """Write a file of so many bytes of numbers, group by group; return its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n, rng, writer = size // (4 * COLUMNS), np.random.default_rng(0), None
    for start in range(0, n, GROUP):
        X = rng.standard_normal((min(GROUP, n - start), COLUMNS), np.float32)
        columns = {f"c{k}": column for k, column in enumerate(X.T)}
        table = pa.table(columns | {"label": (X[:, 0] > 0).astype(np.int32)})
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return n


@pytest.mark.slow
def test_the_memory_that_a_file_takes(tmp_path: Path, draws: Any, tried: Any) -> None:
    size = draws(240, 240, 4096) * MIB
    n = write(tmp_path / "large.parquet", size)
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "large.parquet")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert found.returncode == 0, found.stderr
    record = json.loads(found.stdout.splitlines()[-1])
    assert record["accuracy"] > 0.8
    more = record["peak"] - record["before"]
    # A buffer, a group and chunks of the steps; and of each row its label, target and order.
    assert more < 180 * MIB + 24 * n
    assert more < 0.85 * size
    if size >= 4096 * MIB:
        assert record["peak"] < 1024 * MIB
    tried(f"{size // MIB:,} MiB of Parquet: trained within {record['peak'] // MIB} MiB")
