"""Training steps of one network at one batch size and precision: everyone, beside each other."""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import signature
from math import ceil
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.contestants import Contestant, Xpmlp, prepare
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.peers import JaxOnGpu, TorchCompiled, TorchGraph
from benchmarks.gpu.precision import Within, jax_products, torch_products
from benchmarks.peers import Torch
from benchmarks.problems import Problem, expected_losses, flops
from benchmarks.report import not_there, table
from benchmarks.rounds import interleave, ratio, spread
from benchmarks.training import Makers, disagreeing
from xpmlp.errors import BackendError, XpmlpError

US = "xpmlp cupy"
RIVALS = ("PyTorch eager", "PyTorch compile", "PyTorch graph", "JAX jit + scan")
TOLERANCES = {"float32": 1e-3, "tf32": 3e-3, "bf16": 1e-2}
"""Relative, of the mean losses; rounded factors moved them by less than a fifth of that."""

CHECKED = (10, 2)
"""Steps and epochs whose losses are compared."""

CALL, LEAST, MOST = 0.2, 2, 64
"""Seconds of a timed call at least; and how many epochs it has at least, and at most."""

LEAST_ROUNDS = 3
SETTLE = 0.02
"""Seconds before a measurement: nobody's threads are spinning, as on a CPU."""


def makers(problem: Problem, precision: str, device: str = "cuda") -> Makers:
    """Return how to make each contestant, by name; on a CPU they can be tried without a GPU."""
    ours = partial(exactly, problem, precision)
    platform = "gpu" if device == "cuda" else device

    def in_torch(make: Callable[..., Contestant]) -> Callable[[], Contestant]:
        made = partial(make, problem, device, bf16=precision == "bf16")
        return partial(Within, partial(torch_products, precision), made)

    return {
        US: partial(ours, "cupy"),
        "xpmlp torch": partial(ours, "torch", device),
        "xpmlp jax": partial(ours, "jax", platform),
        "PyTorch eager": in_torch(Torch),
        "PyTorch compile": in_torch(TorchCompiled),
        "PyTorch graph": in_torch(TorchGraph),
        "JAX jit + scan": partial(
            Within, partial(jax_products, precision), partial(JaxOnGpu, problem, platform)
        ),
        "CuPy eager": lambda: ours(without_capture()),
    }


def exactly(problem: Problem, precision: str, backend: Any, device: str | None = None) -> Xpmlp:
    """Return xpmlp in a precision that its backend really has.

    Raises
    ------
    BackendError
        If it computes in another.
    """
    made = Xpmlp(problem, backend, device, precision)
    if made.mlp.backend.precision != precision:
        raise BackendError(f"it computes in {made.mlp.backend.precision}, not in {precision}")
    return made


def without_capture() -> Any:
    """Return xpmlp's CuPy backend, which is to take its steps eagerly.

    Raises
    ------
    BackendError
        If it cannot be told to.
    """
    from xpmlp_backends.cupy.backend import create

    if "capture" not in signature(create).parameters:
        raise BackendError("this CuPy backend has no argument 'capture'")
    arguments: Any = {"capture": False}
    return create(None, **arguments)


class Ready(NamedTuple):
    """A contestant that has trained already, and what that showed.

    Attributes
    ----------
    contestant : Contestant
    losses : list of float
        Of the batches in order, to be compared.
    epochs : int
        Of a timed call.
    first : float
        Seconds until it was ready to be timed, without the timing itself.
    """

    contestant: Contestant
    losses: list[float]
    epochs: int
    first: float


def get_ready(name: str, make: Callable[[], Contestant], problem: Problem) -> Ready:
    """Make a contestant, let it compile and capture, and see its losses and its pace.

    Raises
    ------
    ImportError, RuntimeError, XpmlpError
        If it cannot take part.
    """
    print(f"  {name} gets ready", file=sys.stderr, flush=True)
    begin = perf_counter()
    try:
        contestant = make()
        contestant.start()
        losses = contestant.train(min(CHECKED[0], problem.steps), CHECKED[1], shuffle=False)
        contestant.train(problem.steps)
        start = perf_counter()
        contestant.train(problem.steps)
    except (ImportError, XpmlpError):
        raise
    except Exception as error:  # whatever a library raises, the others shall be measured
        if name.startswith("xpmlp"):
            traceback.print_exc()
        raise RuntimeError(f"{type(error).__name__}: {error}") from error
    epoch = perf_counter() - start
    epochs = min(max(ceil(CALL / epoch), LEAST), MOST)
    return Ready(contestant, losses, epochs, start - begin)


def measure(
    problem: Problem,
    precision: str,
    chosen: Makers,
    rounds: int,
    budget: Budget,
    expected: list[float] | None = None,
) -> dict[str, Any]:
    """Check that all train alike, then time them while the budget lasts.

    Parameters
    ----------
    problem : Problem
    precision : str
        One of ``TOLERANCES``; what the makers were made for.
    chosen : dict of callable
    rounds : int
        At most; at least ``LEAST_ROUNDS``, or as many.
    budget : Budget
    expected : list of float, optional
        The losses that must come out, where they are known.
    """
    made, left_out = prepare({n: partial(get_ready, n, m, problem) for n, m in chosen.items()})
    if expected is None:
        expected = expected_losses(problem, min(CHECKED[0], problem.steps), CHECKED[1])
    losses = {"expected": expected} | {name: ready.losses for name, ready in made.items()}
    preparing = budget.spent
    seconds = _timed(made, problem, rounds, budget)
    times = {
        name: [s / (problem.steps * made[name].epochs) * 1e6 for s in values]
        for name, values in seconds.items()
    }
    done = max(map(len, times.values()), default=0)
    return {
        "precision": precision,
        "batch": problem.batch,
        "steps": problem.steps,
        "flops_per_step": flops(problem.sizes, problem.batch),
        "losses": losses,
        "tolerance": TOLERANCES[precision],
        "disagree": disagreeing(losses, TOLERANCES[precision]),
        "left_out": left_out,
        "rounds": done,
        "least_seconds": preparing
        + (budget.spent - preparing) / max(done, 1) * min(done, LEAST_ROUNDS),
        "rows": {name: _row(name, made[name], times, losses, problem) for name in times},
    }


def _timed(
    made: Mapping[str, Ready], problem: Problem, rounds: int, budget: Budget
) -> dict[str, list[float]]:
    def before(contestant: Contestant) -> None:
        contestant.start()
        contestant.train(problem.steps)

    return interleave(
        {name: partial(r.contestant.train, problem.steps, r.epochs) for name, r in made.items()},
        rounds,
        0.0,
        {name: partial(before, ready.contestant) for name, ready in made.items()},
        settle=SETTLE,
        over=lambda done: done >= LEAST_ROUNDS and budget.left <= 0,
    )


def _row(
    name: str,
    ready: Ready,
    times: Mapping[str, list[float]],
    losses: Mapping[str, list[float]],
    problem: Problem,
) -> dict[str, Any]:
    pairs = zip(losses[name], losses["expected"], strict=True)
    row: dict[str, Any] = {
        "us_per_step": spread(times[name]) | {"rounds": times[name]},
        "times_ours": ratio(times, name, US),
        "steps_per_call": problem.steps * ready.epochs,
        "first_seconds": ready.first,
        "loss_off": max(abs(a - b) / abs(b) for a, b in pairs),
    }
    if isinstance(ready.contestant, Xpmlp):
        execution, memory = ready.contestant.execution, ready.contestant.mlp.backend.memory()
        row["execution"] = {"mode": execution.mode, "notes": list(execution.notes)}
        row["memory_used"] = memory.used if memory else None
    return row


def lines(case: Mapping[str, Any]) -> list[str]:
    """Return the table of a case.

    "off" is how far the losses lay from those in float64, "steps" how many a timed call had.
    """
    head = ("µs per step", "median", "25 %", "75 %", "min", "max", "× ours", "steps", "off")
    rows = [
        (
            name + " !" * (name in case["disagree"]),
            *(row["us_per_step"][key] for key in ("median", "q1", "q3", "min", "max")),
            row["times_ours"],
            str(row["steps_per_call"]),
            f"{row['loss_off']:.0e}",
        )
        for name, row in case["rows"].items()
    ]
    made = [
        f"Batch {case['batch']}, {case['precision']}: {case['flops_per_step'] / 1e6:,.0f} MFLOP a "
        f"step, {case['steps']} steps an epoch, {case['rounds']} rounds",
        *table(head, rows),
        *not_there(case["left_out"]),
    ]
    if case["disagree"]:
        made.append(f"! losses further from the expected ones than {case['tolerance']:g}")
    return made


def ways(cases: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return how each of xpmlp's contestants took its steps, over all cases, notes and all."""
    found: dict[str, set[str]] = {}
    for case in cases:
        for name, row in case["rows"].items():
            if way := row.get("execution"):
                found.setdefault(name, set()).add("; ".join([way["mode"], *way["notes"]]))
    return found
