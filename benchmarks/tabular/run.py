"""The runs: every set, fold and contestant once, each result a line of JSON as soon as it is."""

import argparse
import json
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks.report import not_there, say
from benchmarks.settings import prepare_process

RESULTS = Path(__file__).parents[1] / "results" / "tabular.jsonl"
FOLDS = 5
SEED = 0
WARM_ROWS = 300
"""Rows of the first fit of each contestant, which is not measured: it loads and compiles."""


def main(arguments: list[str]) -> None:
    """Run what is missing in the file of results, then print the report."""
    options = _parse(arguments)
    threads = prepare_process(options.threads)
    from benchmarks.tabular import report

    if options.report:
        say(report.lines(read(options.out)))
        return
    sets, contestants = _there(options)
    print(f"{len(sets)} sets, {options.folds} folds: {', '.join(contestants)}; {threads} threads")
    clock = Clock(options.minutes)
    done = {key(line) for line in read(options.out)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    whole = not options.out.exists() or options.out.read_bytes()[-1:] in (b"", b"\n")
    with open(options.out, "a", encoding="utf-8") as file:
        file.write("" if whole else "\n")  # a kill may have cut the last line off
        for line in results(sets, contestants, options.folds, threads, done, clock, options.quick):
            file.write(json.dumps(line) + "\n")
            file.flush()
            shown = f"{line['error']:.4g}" if "error" in line else line["failed"]
            print(*key(line), shown, f"{line['fit_seconds']:.1f} s", flush=True)
    if clock.over:
        print(f"stopped after {options.minutes:g} minutes; the same command goes on from here")
    say(report.lines(read(options.out)))


class Clock:
    """Whether so many minutes are over; never, for None."""

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else perf_counter() + 60.0 * minutes

    @property
    def over(self) -> bool:
        """Whether no further fit should begin."""
        return self._end is not None and perf_counter() >= self._end


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks tabular", description=__doc__)
    some: Any = {"nargs": "+", "default": [], "metavar": "NAME"}
    parser.add_argument("--sets", **some, help="these data sets only")
    parser.add_argument("--contestants", **some, help="these contestants only")
    parser.add_argument("--folds", type=int, default=FOLDS, help=f"the first of {FOLDS}")
    parser.add_argument("--minutes", type=float, help="begin no fit after so many minutes")
    parser.add_argument("--threads", type=int, help="default: all cores of this process")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of results, in JSON lines")
    parser.add_argument("--report", action="store_true", help="only the tables of such a file")
    parser.add_argument("--quick", action="store_true", help="150 rows, few epochs: does it run?")
    options = parser.parse_args(arguments)
    if not 1 <= options.folds <= FOLDS:
        parser.error(f"--folds: found {options.folds}; expected 1 to {FOLDS}")
    return options


def _there(options: argparse.Namespace) -> tuple[list[Any], list[str]]:
    """Return the sets and contestants that can be used; a line says who is left out, and why."""
    from benchmarks.tabular.contestants import CONTESTANTS
    from benchmarks.tabular.sets import BY_NAME

    for asked, known in ((options.sets, BY_NAME), (options.contestants, CONTESTANTS)):
        if unknown := [name for name in asked if name not in known]:
            sys.exit(f"found {', '.join(unknown)}; known are {', '.join(known)}")
    sets = [one for name, one in BY_NAME.items() if name in (options.sets or BY_NAME)]
    names = [name for name in CONTESTANTS if name in (options.contestants or CONTESTANTS)]
    left_out = {one.name: why for one in sets if (why := one.why_not)}
    left_out |= {name: why for name in names if (why := CONTESTANTS[name].why_not)}
    print(*not_there(left_out), sep="\n", end="\n" if left_out else "")
    return [s for s in sets if not s.why_not], [n for n in names if n not in left_out]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    found = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def key(line: dict[str, Any]) -> tuple[str, int, str]:
    """Return which run a result is of."""
    return line["set"], line["fold"], line["contestant"]


def folds(kind: str, y: Any) -> list[tuple[Any, Any]]:
    """Return the training and test rows of each fold; everyone's are the same."""
    from sklearn.model_selection import KFold, StratifiedKFold

    make = StratifiedKFold if kind == "classes" else KFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer rows than folds
        return list(make(FOLDS, shuffle=True, random_state=SEED).split(y, y))


def results(
    sets: Iterable[Any],
    contestants: Sequence[str],
    count: int,
    threads: int,
    done: set[tuple[str, int, str]],
    clock: Clock,
    quick: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the result of each run that is not done; contestants take turns within a fold."""
    warm: set[tuple[str, str]] = set()
    for one in sets:
        missing = {(one.name, f, c) for f in range(count) for c in contestants} - done
        if not missing or clock.over:
            continue
        X, y = one.table()
        if quick:
            X, y = X[:150], y[:150]
        for fold, (train, test) in enumerate(folds(one.kind, y)[:count]):
            for name in contestants:
                if (one.name, fold, name) not in missing:
                    continue
                if clock.over:
                    return
                if (one.kind, name) not in warm and not quick:
                    some = train[:WARM_ROWS]
                    _run(name, one, X.iloc[some], y[some], X.iloc[test], y[test], threads, quick)
                warm.add((one.kind, name))
                found = _run(
                    name, one, X.iloc[train], y[train], X.iloc[test], y[test], threads, quick
                )
                about = {"set": one.name, "fold": fold, "contestant": name, "kind": one.kind}
                yield about | {"rows": len(train), "threads": threads} | found


def _run(
    name: str, one: Any, X: Any, y: Any, X_test: Any, y_test: Any, threads: int, quick: bool
) -> dict[str, Any]:
    """Fit a contestant and measure it; a failure is a result, too."""
    from benchmarks.tabular.contestants import CONTESTANTS
    from benchmarks.tabular.measure import of_fold

    model = CONTESTANTS[name].make(one.kind, threads, SEED)
    if quick and hasattr(model, "epochs"):
        model.set_params(epochs=2)
    X, X_test = X.reset_index(drop=True), X_test.reset_index(drop=True)
    classes = 1 + int(max(y.max(), y_test.max())) if one.kind == "classes" else 0
    begin = middle = perf_counter()
    spent = process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y)
            middle, spent = perf_counter(), process_time() - spent
            measured: dict[str, Any] = of_fold(one.kind, model, X_test, y_test, classes)
    except Exception as error:
        measured, middle = {"failed": f"{type(error).__name__}: {error}"[:300]}, perf_counter()
    seconds = {"fit_seconds": middle - begin, "test_seconds": perf_counter() - middle}
    if "error" in measured:
        seconds["fit_cpu_seconds"] = spent
    return measured | seconds
