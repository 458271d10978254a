"""Training steps: everyone on the same problem, beside the bare products and beside each other."""

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from time import perf_counter
from typing import Any

from benchmarks.contestants import Contestant, Products, Xpmlp, prepare, without_numba
from benchmarks.peers import Jax, ScikitLearn, Torch
from benchmarks.problems import Problem, expected_losses, flops
from benchmarks.report import not_there, say, table
from benchmarks.rounds import interleave, ratio, spread
from benchmarks.settings import Settings

NETWORKS = (
    ((2, 16, 2), 32, 1000),
    ((64, 128, 10), 32, 500),
    ((784, 128, 10), 128, 200),
    ((784, 512, 512, 10), 256, 60),
    ((784, 2048, 2048, 10), 1024, 10),
)
"""Sizes, rows of a batch, and steps of an epoch."""

QUICK = (((2, 16, 2), 32, 50), ((784, 128, 10), 128, 5))

US, FLOOR = "xpmlp numpy", "products only"
TOLERANCE = 1e-3
"""Relative; the losses of everyone must be this close to the expected ones."""

IMPORTS = {
    US: ("xpmlp.mlp", "xpmlp_backends.numpy.backend", "numba"),
    "xpmlp, no Numba": ("xpmlp.mlp", "xpmlp_backends.numpy.backend"),
    "xpmlp torch": ("xpmlp.mlp", "torch", "xpmlp_backends.torch.backend"),
    "xpmlp jax": ("xpmlp.mlp", "jax", "xpmlp_backends.jax"),
    "PyTorch eager": ("torch",),
    "PyTorch compile": ("torch",),
    "JAX jit + scan": ("jax",),
    "scikit-learn": ("sklearn.neural_network",),
}
"""What each contestant imports sooner or later."""

Makers = dict[str, Callable[[], Contestant]]


def makers(problem: Problem) -> Makers:
    """Return how to make each contestant, by name."""
    return {
        FLOOR: partial(Products, problem),
        US: partial(Xpmlp, problem, "numpy"),
        "xpmlp, no Numba": lambda: Xpmlp(problem, without_numba()),
        "xpmlp torch": partial(Xpmlp, problem, "torch", "cpu"),
        "xpmlp jax": partial(Xpmlp, problem, "jax", "cpu"),
        "PyTorch eager": partial(Torch, problem),
        "PyTorch compile": partial(started, partial(Torch, problem, compiled=True)),
        "JAX jit + scan": partial(Jax, problem),
        "scikit-learn": partial(ScikitLearn, problem),
    }


def load(name: str) -> None:
    """Import what a contestant needs, as far as it is installed."""
    for module in IMPORTS.get(name, ()):
        with suppress(ImportError):  # without Numba it runs, and without the others it says so
            import_module(module)


def started(make: Callable[[], Contestant]) -> Contestant:
    """Make one that may fail only when it first trains."""
    made = make()
    made.start()
    made.train(1)
    return made


def losses(
    contestants: Mapping[str, Contestant], problem: Problem, steps: int = 10, epochs: int = 2
) -> dict[str, list[float]]:
    """Return the mean loss of the first epochs over the same batches; first the expected one."""
    found = {"expected": expected_losses(problem, steps, epochs)}
    for name, contestant in contestants.items():
        contestant.start()
        found[name] = contestant.train(steps, epochs, shuffle=False)
    return found


def disagreeing(found: Mapping[str, list[float]], tolerance: float = TOLERANCE) -> list[str]:
    """Return who has losses that differ from the expected ones; the floor has none."""
    expected = found["expected"]
    return [
        name
        for name, values in found.items()
        if any(not _close(a, b, tolerance) for a, b in zip(values, expected, strict=bool(values)))
    ]


def _close(found: float, expected: float, tolerance: float) -> bool:
    return abs(found - expected) <= tolerance * abs(expected)


def measure(problem: Problem, rounds: int, chosen: Makers | None = None) -> dict[str, Any]:
    """Check that all train alike, then time them; return everything about one network."""
    cold: dict[str, float] = {}

    def timed(name: str, make: Callable[[], Contestant]) -> Contestant:
        load(name)  # start-up time is another part's
        begin = perf_counter()
        made = make()
        made.start()
        made.train(problem.steps)
        cold[name] = perf_counter() - begin
        return made

    chosen = makers(problem) if chosen is None else chosen
    contestants, left_out = prepare({n: partial(timed, n, make) for n, make in chosen.items()})
    found = losses(contestants, problem, min(10, problem.steps))

    def before(contestant: Contestant) -> None:
        contestant.start()
        contestant.train(1)

    seconds = interleave(
        {name: partial(c.train, problem.steps) for name, c in contestants.items()},
        rounds,
        before={name: partial(before, c) for name, c in contestants.items()},
    )
    times = {name: [s / problem.steps * 1e6 for s in values] for name, values in seconds.items()}
    rows = {
        name: {
            "us_per_step": spread(values) | {"rounds": values},
            "times_the_floor": ratio(times, name, FLOOR),
            "times_xpmlp_numpy": ratio(times, name, US),
            "first_seconds": max(0.0, cold[name] - min(seconds[name])),
        }
        for name, values in times.items()
    }
    return {
        "batch": problem.batch,
        "steps": problem.steps,
        "flops_per_step": flops(problem.sizes, problem.batch),
        "losses": found,
        "disagree": disagreeing(found),
        "left_out": left_out,
        "rows": rows,
    }


def run(settings: Settings) -> dict[str, Any]:
    """Measure each network, and print its table."""
    results = {}
    offered = QUICK if settings.quick else NETWORKS
    names = ["-".join(map(str, sizes)) for sizes, *_ in offered]
    if unknown := set(settings.networks) - set(names):
        sys.exit(f"--networks: found {', '.join(sorted(unknown))}; expected of {', '.join(names)}")
    for sizes, batch, steps in offered:
        problem = Problem.make(sizes, batch, steps)
        if settings.networks and problem.name not in settings.networks:
            continue
        results[problem.name] = measure(problem, settings.rounds)
        say(lines({problem.name: results[problem.name]}))
    return results


def lines(results: dict[str, Any]) -> list[str]:
    """Return a table for each network; "first s" is what the first epoch took beyond another."""
    head = ("µs per step", "median", "25 %", "75 %", "× floor", "× xpmlp", "first s")
    made = []
    for name, network in results.items():
        rows = [
            (
                who + " (!)" * (who in network["disagree"]),
                *(row["us_per_step"][key] for key in ("median", "q1", "q3")),
                row["times_the_floor"],
                row["times_xpmlp_numpy"],
                row["first_seconds"],
            )
            for who, row in network["rows"].items()
        ]
        work = network["flops_per_step"] / 1e6
        made += ["", f"Training {name}, batch {network['batch']}, {work:,.2f} MFLOP a step"]
        made += [*table(head, rows), *not_there(network["left_out"])]
        if network["disagree"]:
            made.append("(!) its losses are not the expected ones: it does other work")
    return made[1:]
