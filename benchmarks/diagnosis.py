"""What the diagnosis says of trainings that are known to go well, and of others that do not.

Each run of ``diagnosis_cases`` is a row: what the diagnosis must find (one of the names, or
nothing), and what it found. The thresholds were chosen on the first part of the table; the second
is held out and counted apart. MNIST is read from XPMLP_DATA_DIR; its rows are left out without it.
"""

import argparse
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from threadpoolctl import threadpool_limits

import xpmlp
from benchmarks.diagnosis_cases import HELD_OUT, TUNING, Case
from benchmarks.environment import describe
from xpmlp.errors import DivergenceError
from xpmlp.inspect.diagnose.diagnosis import Diagnosis


def run(case: Case, seed: int = 0, backend: Any = "numpy") -> Diagnosis:
    """Train as the case says, and return what was found."""
    X, y, X_test, y_test = case.data()
    mlp = xpmlp.MLP(case.sizes, **({"seed": seed, "backend": backend} | case.mlp))
    if case.change is not None:
        state = mlp.state_dict()
        case.change(state)
        mlp.load_state_dict(state)
    if case.before:
        mlp.fit(X, y, epochs=case.before, batch_size=case.batch)
    diagnosis = Diagnosis()
    with suppress(DivergenceError):  # the diagnosis says why
        mlp.fit(
            X,
            y,
            epochs=case.epochs,
            batch_size=case.batch,
            optimizer=case.optimizer,
            validation_data=(X_test, y_test),
            callbacks=[*case.callbacks, diagnosis],
        )
    return diagnosis


def judge(case: Case, seed: int = 0) -> dict[str, Any]:
    """Run, and compare what was found with what must be."""
    start = perf_counter()
    found = [finding.name for finding in run(case, seed).findings]
    right = any(name in found for name in case.expected) if case.expected else not found
    return {
        "name": case.name,
        "expected": list(case.expected),
        "found": found,
        "right": right,
        "first": bool(found) and found[0] in case.expected,
        "seconds": round(perf_counter() - start, 2),
    }


def count(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Count healthy runs without a warning, and sick runs with the right finding."""
    healthy = [row for row in rows if not row["expected"]]
    sick = [row for row in rows if row["expected"]]
    by_name: dict[str, list[int]] = {}
    for row in sick:
        right, of = by_name.setdefault(row["expected"][0], [0, 0])
        by_name[row["expected"][0]] = [right + row["right"], of + 1]
    return {
        "healthy": len(healthy),
        "without a warning": sum(row["right"] for row in healthy),
        "sick": len(sick),
        "found": sum(row["right"] for row in sick),
        "found first": sum(row["first"] for row in sick),
        "by symptom": by_name,
    }


def main(arguments: list[str]) -> None:
    """Run every case, print the table and the counts, and write JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks diagnosis", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    mnist = bool(os.environ.get("XPMLP_DATA_DIR"))
    parts: dict[str, Any] = {}
    with threadpool_limits(1):  # the networks are small: threads would wait for each other
        for part, cases in (("tuning", TUNING), ("held out", HELD_OUT)):
            rows = []
            for case in cases:
                if "MNIST" in case.name and not mnist:
                    continue
                row = judge(case, options.seed)
                rows.append(row)
                mark = "  " if row["right"] else "X "
                print(f"{mark}{case.name:42} {', '.join(row['found']) or '-'}", flush=True)
            counts = count(rows)
            print(f"{part}: {counts}\n")
            parts[part] = {"counts": counts, "rows": rows}
    if options.json:
        options.json.write_text(
            json.dumps(
                {"environment": describe(), "seed": options.seed, "diagnosis": parts}, indent=1
            )
        )
