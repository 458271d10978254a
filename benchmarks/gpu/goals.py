"""What was to be reached on a GPU, what was, and what makes a run fail."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from benchmarks.gpu.steps import RIVALS, US
from benchmarks.report import table

Case = Mapping[str, Any]

CAPTURED = (US, "xpmlp torch")
"""Who must not fall back on a GPU."""


class Goal(NamedTuple):
    """Something to reach at a batch size, in every precision.

    Attributes
    ----------
    text : str
    batch : int
    limit : float
    at_least : bool
        Whether the limit is the smallest, or else the largest value that is good.
    measured : callable
        ``measured(case)``, None where it is not known.
    """

    text: str
    batch: int
    limit: float
    at_least: bool
    measured: Callable[[Case], float | None]

    def met(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


def speed_over(rival: str, case: Case) -> float | None:
    """Return how many times as long as ours a rival's step takes."""
    value: float | None = case["rows"].get(rival, {}).get("times_ours")
    return value


def speed_over_all(case: Case) -> float | None:
    """Return that of the fastest rival."""
    return min(filter(None, (speed_over(rival, case) for rival in RIVALS)), default=None)


def times_the_floor(case: Case) -> float | None:
    """Return how many times our own floor we take."""
    value: float | None = (case.get("floor") or {}).get("times_the_floor")
    return value


GOALS = (
    Goal("× PyTorch eager's speed", 128, 8.0, True, partial(speed_over, "PyTorch eager")),
    Goal("× torch.compile's speed", 128, 3.0, True, partial(speed_over, "PyTorch compile")),
    Goal("× JAX scan's speed", 128, 1.8, True, partial(speed_over, "JAX jit + scan")),
    Goal("× PyTorch graph's speed", 128, 1.5, True, partial(speed_over, "PyTorch graph")),
    Goal("× our own floor", 128, 1.5, False, times_the_floor),
    Goal("× the fastest rival's speed", 8192, 1.0, True, speed_over_all),
)


def compare(cases: Iterable[Case]) -> list[dict[str, Any]]:
    """Hold every case against the goals of its batch size."""
    return [
        {
            "goal": f"{'≥' if goal.at_least else '≤'} {goal.limit:g} {goal.text}",
            "batch": goal.batch,
            "precision": case["precision"],
            "measured": value,
            "met": None if value is None else goal.met(value),
        }
        for case in cases
        for goal in GOALS
        if goal.batch == case["batch"]
        for value in [goal.measured(case)]
    ]


def lines(compared: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table, the precisions side by side; a dash is what was not measured."""
    cells: dict[tuple[int, str], dict[str, str]] = {}
    for each in compared:
        row = cells.setdefault((each["batch"], each["goal"]), {})
        if each["measured"] is not None:
            said = "met" if each["met"] else "missed"
            row[each["precision"]] = f"{each['measured']:.2f} {said}"
    if not cells:
        return []
    precisions = list(dict.fromkeys(each["precision"] for each in compared))
    rows = [
        (f"{batch}: {goal}", *(row.get(name) for name in precisions))
        for (batch, goal), row in cells.items()
    ]
    return [f"Goals of {US} at the same precision", *table(("batch: goal", *precisions), rows)]


def failures(cases: Iterable[Case]) -> list[str]:
    """Return what of the cases makes a run fail: a line each."""
    found, taken_part = [], False
    for case in cases:
        where = f"batch {case['batch']}, {case['precision']}"
        taken_part |= US in case["rows"]
        for name in CAPTURED:
            notes = case["rows"].get(name, {}).get("execution", {}).get("notes", [])
            found += [f"{where}: {name} fell back: {note}" for note in notes]
        found += [f"{where}: {name} has other losses" for name in case["disagree"]]
        if "floor_failed" in case:
            found.append(f"{where}: our own floor: {case['floor_failed']}")
    if not taken_part:
        found.append(f"{US} did not run")
    return found
