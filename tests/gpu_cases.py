"""Results of the GPU benchmark, as a GPU could give them."""

from typing import Any

from benchmarks import gpu, rounds
from benchmarks.gpu import floor, goals, steps
from benchmarks.problems import Problem


def a_case(precision: str, batch: int, **us: float) -> dict[str, Any]:
    """A case with everyone, at 100 µs unless said otherwise, and long names of what is missing."""
    names = list(steps.makers(Problem.make((2, 4, 2), 8, 1), precision))
    times = {name: us.get(name.replace(" ", "_"), 100.0) for name in names}
    ours = times[steps.US]
    rows: dict[str, Any] = {
        name: {
            "us_per_step": rounds.spread([time]) | {"rounds": [time]},
            "times_ours": time / ours,
            "steps_per_call": 30_720,
            "first_seconds": 12.0,
            "loss_off": 1.2e-6,
        }
        for name, time in times.items()
    }
    for name in goals.CAPTURED:
        rows[name]["execution"] = {"mode": "captured in CUDA graphs", "notes": []}
    parts = {
        "empty kernels": {"nodes": 13.5, "us": 0.3 * ours, "us_per_node": 0.05 * ours},
        "parts": [
            {"part": "784x512: x W + b", "is_product": True, "nodes": 1.0, "us": 0.2 * ours},
            {"part": "784x512: dW", "is_product": True, "nodes": 1.0, "us": 0.3 * ours},
            {"part": "slope", "is_product": False, "nodes": 1.0, "us": 0.04 * ours},
            {"part": "slope", "is_product": False, "nodes": 1.0, "us": 0.06 * ours},
            {"part": "adam", "is_product": False, "nodes": 1.0, "us": 0.1 * ours},
        ],
        "steps in order": rounds.spread([ours]),
        "autotune table": [("product", "candidates"), ("8192x784 by 784x512" * 6, 16)],
    }
    return {
        "precision": precision,
        "batch": batch,
        "steps": 480,
        "flops_per_step": 26_000_000_000,
        "losses": {},
        "tolerance": 1e-3,
        "disagree": [],
        "left_out": {"xpmlp jax": "it could not be imported, said at great length " * 3},
        "rounds": 15,
        "least_seconds": 20.0,
        "rows": rows,
        "floor": floor.summary(parts, {}, ours),
    }


def everything(cases: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "environment": {
            "date": "2026-01-01",
            "python": "3.12.1",
            "cpu": "A processor",
            "cores_used": 16,
            "load_average": 0.25,
            "gpus": [{"name": "NVIDIA H200", "driver": "580.1", "memory": "143771 MiB"}],
            "versions": {f"a-package-{k}": "0.1.0.dev0" for k in range(9)},
            "variables": {"XLA_FLAGS": "--a-very-long-one " * 9},
        },
        "settings": {
            "budget": 420.0,
            "batches": None,
            "precisions": gpu.PRECISIONS,
            "contestants": None,
            "quick": False,
            "device": "cuda",
            "only": None,
        },
        "cases": cases,
        "left_out": {"MNIST": "it is not there, which is said at great length " * 3},
        "failures": ["a failure that is said at great length " * 3],
        "goals": goals.compare(cases),
        "mnist": {"test_accuracy": 0.985, "seconds": 123.4, "memory_used": 1.2e12},
        "seconds": 400.0,
    }
