"""The tables of a file of results: errors, wins, times, calibration."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

from benchmarks.report import table

Errors = dict[str, dict[str, float]]
"""The mean normalised error of each contestant, by set."""

PAIRS = (("fast", "td-s"), ("best", "td"))
"""The same recipe, ours and pytabkit's."""

TIE = 0.01
"""A relative difference of mean errors that counts for neither."""


def lines(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the report."""
    good = [line for line in results if "error" in line]
    if not good:
        return ["no results"]
    errors, names = _errors(good), list(dict.fromkeys(line["contestant"] for line in good))
    made = [*_means(good, errors, names), "", *_contests(errors, names), "", *_sets(errors, names)]
    made += ["", *_pairs(good, errors), "", *_sure(good, names)]
    failed = [line for line in results if "failed" in line]
    made += [
        f"failed: {line['set']}, fold {line['fold']}, {line['contestant']}: {line['failed']}"
        for line in failed
    ]
    return made


def _errors(results: Sequence[Mapping[str, Any]]) -> Errors:
    """Return errors as shares of those without inputs: 1 is the most frequent class or the mean."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in results:
        share = line["error"] / line["naive"] if line["naive"] else math.nan
        found[line["set"]][line["contestant"]].append(share)
    return {s: {c: mean(values) for c, values in by.items()} for s, by in found.items()}


def _common(errors: Errors, names: Sequence[str]) -> list[str]:
    """Return the sets on which all of these have results."""
    return [s for s, by in errors.items() if all(name in by for name in names)]


def _means(results: Sequence[Mapping[str, Any]], errors: Errors, names: Sequence[str]) -> list[str]:
    kinds = {line["set"]: line["kind"] for line in results}
    common = _common(errors, names)
    seconds = {n: [x["fit_seconds"] for x in results if x["contestant"] == n] for n in names}
    rows = []
    for name in names:
        by_kind = [
            _mean([errors[s][name] for s in common if kind in (None, kinds[s])])
            for kind in (None, "classes", "values")
        ]
        rows.append([name, *by_kind, median(seconds[name]), sum(seconds[name])])
    rows.sort(key=lambda row: math.inf if row[1] is None else row[1])
    head = ["contestant", "error", "classes", "values", "median s", "total s"]
    about = f"mean normalised error over {len(common)} sets that all have done (1: without inputs)"
    return [about, *table(head, rows)]


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def _contests(errors: Errors, names: Sequence[str]) -> list[str]:
    """Return wins, ties and losses of each against each: the row against the column."""
    rows = []
    for one in names:
        cells = []
        for other in names:
            counts = [0, 0, 0]
            for s in _common(errors, (one, other)):
                a, b = errors[s][one], errors[s][other]
                counts[1 if abs(a - b) <= TIE * max(a, b) else 0 if a < b else 2] += 1
            cells.append("-" if one == other else "/".join(map(str, counts)))
        rows.append([one, *cells])
    head = ["wins/ties/losses", *names]
    return [f"by set, a tie within {TIE:.0%}", *table(head, rows)]


def _sets(errors: Errors, names: Sequence[str]) -> list[str]:
    rows = [[s, *(by.get(name) for name in names)] for s, by in errors.items()]
    return ["normalised error", *table(["set", *names], rows)]


def _pairs(results: Sequence[Mapping[str, Any]], errors: Errors) -> list[str]:
    """Return ours by pytabkit's: errors by set, and times of the same fold of the same run."""
    found = ["the same recipe, xpmlp by pytabkit (below 1: lower error, less time)"]
    for ours, theirs in PAIRS:
        if common := _common(errors, (ours, theirs)):
            a = mean(errors[s][ours] for s in common)
            b = mean(errors[s][theirs] for s in common)
            found.append(f"{ours} by {theirs}, {len(common)} sets: {a:.4f} / {b:.4f} = {a / b:.4f}")
            found += [
                f"  {what}: median {median(times):.3f}, from {min(times):.3f} to {max(times):.3f}"
                for what, key in (("time", "fit_seconds"), ("processor's time", "fit_cpu_seconds"))
                if (times := _ratios(results, ours, theirs, key))
            ]
    return found


def _ratios(results: Sequence[Mapping[str, Any]], ours: str, theirs: str, key: str) -> list[float]:
    """Return the ratios of two contestants' times of the same fold of the same set."""
    times = {(x["set"], x["fold"], x["contestant"]): x[key] for x in results if key in x}
    return [
        t / times[s, f, theirs]
        for (s, f, c), t in times.items()
        if c == ours and times.get((s, f, theirs))
    ]


def _sure(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Return calibration and coverage, means over sets and folds."""
    measured = ("log_loss", "log_loss_scaled", "ece", "ece_scaled", "ece_by_chance", "coverage")
    rows = []
    for name in names:
        own = [line for line in results if line["contestant"] == name]
        rows.append([name, *(_mean([x[what] for x in own if what in x]) for what in measured)])
    head = ["contestant", "log loss", "at T", "calibration", "at T", "by chance", "90 % covers"]
    return ["classes: log loss, calibration error; values: coverage", *table(head, rows)]
