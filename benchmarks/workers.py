"""What several workers win, as ratios of the time of a step; and a model of what more would win.

Each way to train is a start of its own, round by round, so that all see the same machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

import xpmlp
from benchmarks.environment import describe, usable_cores
from benchmarks.report import say, table
from benchmarks.rounds import ratio, spread
from xpmlp.parallel.find import communicator

NETWORKS = {"784-512-512-10": [784, 512, 512, 10], "784-2048-2048-10": [784, 2048, 2048, 10]}
BATCH, STEPS = 1024, 10
WORKERS = (1, 2, 4, 8)
FAR = tuple(2**i for i in range(11))
"""Workers for which the model is drawn."""


class Way(NamedTuple):
    """A way to train: processes under mpiexec, or 0 for none; threads of each; arguments of fit."""

    size: int
    threads: int
    how: dict[str, Any]


def ways(cores: int) -> dict[str, Way]:
    """Return what is compared."""
    found = {
        f"1 worker, {cores} threads, whole batches": Way(0, cores, {}),
        "1 worker, 1 thread, whole batches": Way(0, 1, {}),
        "1 worker, 8 shards": Way(0, 1, {"shards": 8}),
    }
    for size in WORKERS:
        name = f"{size} worker{'s' * (size > 1)}, MPI"
        found[name] = Way(size, 1, {"workers": "mpi", "shards": 8})
        engine = {"workers": "mpi", "shards": 8, "reduction": "engine"}
        found[f"{name}, engine's sum"] = Way(size, 1, engine)
    return found


def main(given: Sequence[str]) -> None:
    """Print ratios and the model of cost, and write all as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--network", choices=tuple(NETWORKS), action="append")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--out", type=Path, help="file for the results, as JSON")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    if options.worker is not None:
        work(*options.worker)
        return
    if launcher() is None:
        raise SystemExit("workers: found no mpiexec; pip install 'xpmlp[mpi]'")
    cores, found = usable_cores(), {"environment": describe()}
    for name in options.network or NETWORKS:
        times = measured(ways(cores), NETWORKS[name], options.batch, options.rounds)
        found[name] = report(name, times, cores, options.batch)
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def launcher() -> str | None:
    """Return mpiexec, of this environment if it has one."""
    beside = Path(sys.executable).parent / "mpiexec"
    return str(beside) if beside.exists() else shutil.which("mpiexec")


def measured(
    chosen: dict[str, Way], sizes: list[int], batch: int, rounds: int
) -> dict[str, list[float]]:
    """Return milliseconds of a step, and of the exchange of a few numbers, for each round."""
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, way in chosen.items():
                for key, value in started(way, sizes, batch, Path(folder) / "found").items():
                    times.setdefault(f"{name}{key}", []).append(value)
    return times


def started(way: Way, sizes: list[int], batch: int, out: Path) -> dict[str, float]:
    """Train in new processes."""
    said = json.dumps({"sizes": sizes, "batch": batch, "how": way.how, "threads": way.threads})
    command = [sys.executable, "-m", "benchmarks", "workers", "--worker", str(out), said]
    if way.size:
        command = [str(launcher()), "-n", str(way.size), *command]
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(way.threads))
    subprocess.run(command, env=os.environ | limits, check=True)
    found: dict[str, float] = json.loads(out.read_text(encoding="utf-8"))
    return found


def work(out: str, said: str) -> None:
    """Train, as one of the processes, and write what a step took."""
    asked = json.loads(said)
    how, batch = asked["how"], asked["batch"]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(STEPS * batch, asked["sizes"][0])).astype(np.float32)
    y = rng.integers(0, 10, len(X))
    mlp = xpmlp.MLP(asked["sizes"], backend="numpy", seed=0)
    threads = {"threads": asked["threads"]} if how else {}
    history = mlp.fit(X, y, epochs=6, batch_size=batch, optimizer="adam", **how, **threads)
    found = {"": 1e3 * median(history["seconds"][2:]) / STEPS}  # the step is recorded before
    if "workers" in how:
        found[", latency"] = latency(communicator(how["workers"]))
    if "workers" not in how or communicator(how["workers"]).rank == 0:
        Path(out).write_text(json.dumps(found), encoding="utf-8")


def latency(together: Any, times: int = 200) -> float:
    """Return the milliseconds of the two exchanges of a step, of a few numbers."""
    send = [np.zeros(8) for _ in range(together.size)]
    receive = [np.zeros(8) for _ in range(together.size)]
    begun = perf_counter()
    for _ in range(2 * times):
        together.exchange(send, receive)
    return 1e3 * (perf_counter() - begun) / times


class Model(NamedTuple):
    """Milliseconds: a row's gradient, an update, meeting a worker, sending all numbers once."""

    row: float
    update: float
    worker: float
    sent: float

    def step(self, workers: int, batch: int, cores: int | None = None) -> float:
        """Return the milliseconds of a step; each worker has a core unless they share some."""
        share = max(1.0, workers / cores) if cores else 1.0
        own = batch / workers * self.row + self.update
        return share * own + self.moved(workers)

    def moved(self, workers: int) -> float:
        """Return those of the exchange: twice the array, but for one's own slice."""
        return 2 * (workers - 1) * self.worker + 2 * (1 - 1 / workers) * self.sent


def fitted(steps: dict[int, float], latencies: dict[int, float], batch: int, cores: int) -> Model:
    """Fit the model to 1, 2 and 4 workers, by least squares without negative times."""
    sizes = [size for size in steps if size <= 4]
    waits = [latencies[size] / (2 * (size - 1)) for size in sizes if size > 1]
    worker = median(waits)
    shares = [max(1.0, size / cores) for size in sizes]
    A = np.array(
        [
            [share * batch / n, share, 2 * (1 - 1 / n)]
            for n, share in zip(sizes, shares, strict=True)
        ]
    )
    b = np.array([steps[n] - 2 * (n - 1) * worker for n in sizes])
    kept = [0, 1, 2]
    while True:
        found = np.linalg.lstsq(A[:, kept], b, rcond=None)[0]
        if (found >= 0).all():
            break
        kept.pop(int(np.argmin(found)))
    row, update, sent = (float(found[kept.index(i)]) if i in kept else 0.0 for i in range(3))
    return Model(row, update, worker, sent)


def pays_from(model: Model, workers: int) -> int | None:
    """Return the smallest batch (a power of two) at which so many are faster than half as many."""
    if workers == 1:
        return 1
    for batch in (2**i for i in range(workers.bit_length() - 1, 31)):
        if model.step(workers, batch) < model.step(workers // 2, batch):
            return batch
    return None


def report(name: str, times: dict[str, list[float]], cores: int, batch: int) -> dict[str, Any]:
    """Print a network's ratios and its model; return them."""
    plain = {n: values for n, values in times.items() if not n.endswith("latency")}
    both, one = f"1 worker, {cores} threads, whole batches", "1 worker, 1 thread, whole batches"
    rows = [
        (way, ratio(times, way, both), ratio(times, one, way), median(values))
        for way, values in plain.items()
    ]
    head = (name, f"time / {cores} threads", "gain over 1 thread", "ms a step")
    say(table(head, rows))
    alone = ratio(times, "1 worker, MPI", "1 worker, 8 shards")
    say([f"one worker through MPI / without MPI: {alone:.3f}"])
    found: dict[str, Any] = {"ms": {n: spread(v) for n, v in times.items()}, "MPI / none": alone}
    found["ratios"] = {way: {"to all threads": a, "gain": b} for way, a, b, _ in rows}
    for end in ("", ", engine's sum"):
        found[f"model{end}"] = modelled(times, end, batch, cores)
    return found


def modelled(times: dict[str, list[float]], end: str, batch: int, cores: int) -> dict[str, Any]:
    """Fit the model to one way to add up, print what it says of more workers, and return it."""
    names = {n: f"{n} worker{'s' * (n > 1)}, MPI{end}" for n in WORKERS}
    steps = {n: median(times[name]) for n, name in names.items()}
    latencies = {n: median(times[f"{name}, latency"]) for n, name in names.items()}
    model = fitted(steps, latencies, batch, cores)
    said = model.step(8, batch, cores)
    say([f"model{end}: 8 workers {said:.1f} ms, measured {steps[8]:.1f}: {said / steps[8]:.3f}"])
    rows = [
        (n, model.step(n, batch), model.step(1, batch) / model.step(n, batch), pays_from(model, n))
        for n in FAR
    ]
    say(table(("workers, a core each", "ms a step", "gain", "pays from batch"), rows))
    return {
        **model._asdict(),
        "8 workers, predicted / measured": said / steps[8],
        "drawn": [dict(zip(("workers", "ms", "gain", "batch"), row, strict=True)) for row in rows],
    }
