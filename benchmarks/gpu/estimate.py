"""Where a step's time goes, beside what was predicted before anything ran on a GPU.

``python -m benchmarks gpu`` writes the table into ``docs/why/gpu.md``, if it measured all of it on
a GPU. ``python -m benchmarks.gpu.estimate RESULTS.json`` does so with results from another machine.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import table, text_of

DOCS = Path(__file__).parents[2] / "docs" / "why" / "gpu.md"
BEGIN, END = "<!-- predicted and measured: begin -->", "<!-- predicted and measured: end -->"
"""What stands around the table in the documentation."""

BATCH = 128
PRODUCTS, OURS, ADAM, REST, STEP = (
    "products", "gather, loss, sums, slopes", "Adam", "the rest of the step", "the whole step",
)  # fmt: skip
GAP = "a gap: one empty kernel"
PREDICTED = {
    "float32": {PRODUCTS: 31.0, OURS: 13.0, ADAM: 5.5, REST: 6.5, STEP: 56.0},
    "tf32": {PRODUCTS: 22.0, OURS: 13.0, ADAM: 5.5, REST: 4.5, STEP: 45.0},
}
"""Microseconds of 784-512-512-10 at this batch size on an H200, estimated."""

Case = Mapping[str, Any]


def times(case: Case) -> dict[str, float]:
    """Return the microseconds of groups, rest and step, and then of each kernel and product."""
    floor = case["floor"]
    groups = dict.fromkeys((PRODUCTS, OURS, ADAM), 0.0)
    single: dict[str, float] = {}
    for part in floor["parts"]:
        group = PRODUCTS if part["is_product"] else ADAM if part["part"] == "adam" else OURS
        groups[group] += part["us"]
        single[part["part"]] = single.get(part["part"], 0.0) + part["us"]
    rest = floor["ours_us"] - sum(groups.values())
    gap = {GAP: floor["empty"]["us_per_node"]} if floor["empty"] else {}
    return groups | {REST: rest, STEP: floor["ours_us"]} | single | gap


class Column(NamedTuple):
    """Microseconds by name, for a precision: predicted, or measured."""

    precision: str
    kind: str
    us: Mapping[str, float]


def columns(cases: Iterable[Case], batch: int) -> list[Column]:
    """Return what was predicted and what was measured at a batch size."""
    found = {c["precision"]: times(c) for c in cases if c["batch"] == batch and has_parts(c)}
    predicted = PREDICTED if batch == BATCH else {}
    pairs = [
        (Column(name, "predicted", predicted.get(name, {})),
         Column(name, "measured", found.get(name, {})))
        for name in dict.fromkeys([*predicted, *found])
    ]  # fmt: skip
    return [
        column for pair in pairs for column in pair if column.us or column.precision in predicted
    ]


def rows(made: Sequence[Column]) -> list[list[Any]]:
    """Return a row for each name: None is what is not known."""
    names = dict.fromkeys(name for column in made for name in column.us)
    return [[name, *(column.us.get(name) for column in made)] for name in names]


def has_parts(case: Case) -> bool:
    """Whether the kernels and products of a case were timed."""
    return bool((case.get("floor") or {}).get("parts"))


def lines(cases: Sequence[Case]) -> list[str]:
    """Return a table for each batch size."""
    made: list[str] = []
    for batch in dict.fromkeys(case["batch"] for case in cases if has_parts(case)):
        found = columns(cases, batch)
        head = [c.precision if c.kind == "measured" else c.kind for c in found]
        made += ["", *table([f"µs, batch {batch}", *head], rows(found))]
    return ["Where a step's time goes: each part alone, repeated in a graph", *made] if made else []


def block(cases: Iterable[Case], about: str) -> str:
    """Return what stands between the marks in the documentation."""
    made = columns(cases, BATCH)
    missing = ["not yet measured" if column.kind == "measured" else "-" for column in made]
    cells = [
        [
            name,
            *(said if us is None else text_of(us) for us, said in zip(found, missing, strict=True)),
        ]
        for name, *found in rows(made)
    ]
    head = ["µs", *(f"{column.precision}, {column.kind}" for column in made)]
    ruled = [f"| {' | '.join(row)} |" for row in (head, *cells)]
    ruled.insert(1, "|---|" + "--:|" * len(made))
    return "\n".join([BEGIN, about, "", *ruled, END])


NOT_YET = "**Not yet measured.** `python -m benchmarks gpu` on a GPU fills this table in."


def fill(results: Mapping[str, Any]) -> str:
    """Write the table into the documentation if it was measured on a GPU; say what was done."""
    path = DOCS
    if reason := _why_not(results):
        return f"the table in {path.name} was left as it is: {reason}"
    text = path.read_text(encoding="utf-8")
    before, mark, rest = text.partition(BEGIN)
    _, other, after = rest.partition(END)
    if not (mark and other):
        return f"the table in {path.name} was left as it is: its marks are not there"
    environment = results["environment"]
    gpu, date = environment["gpus"][0], environment["date"]
    about = f"Measured on {date}: {gpu['name']}, driver {gpu['driver']}."
    path.write_text(before + block(results["cases"], about) + after, encoding="utf-8")
    return f"the table in {path.name} was filled in"


def _why_not(results: Mapping[str, Any]) -> str | None:
    settings = results["settings"]
    if settings["quick"] or settings["device"] != "cuda" or not results["environment"]["gpus"]:
        return "this was no full run on a GPU"
    begins = tuple(f"batch {BATCH}, {precision}:" for precision in PREDICTED)
    if failed := [line for line in results["failures"] if line.startswith(begins)]:
        return failed[0]
    measured = {c["precision"] for c in results["cases"] if c["batch"] == BATCH and has_parts(c)}
    if missing := [precision for precision in PREDICTED if precision not in measured]:
        return f"there are no parts of a step in {', '.join(missing)}"
    return None


if __name__ == "__main__":
    print(fill(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
