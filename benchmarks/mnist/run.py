"""The runs: each recipe, seed and library once, in a process of its own; a line of JSON for each.

Nothing is chosen here. The recipes were chosen on the last 10,000 training pictures. A run trains
on all 60,000, keeps the weights of its epochs, and reads the test pictures when it has ended, once.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.mnist import records
from benchmarks.report import say
from benchmarks.settings import child_json, prepare_process

RECORDS = Path(__file__).parents[1] / "records" / "mnist.jsonl"
PAGE = Path(__file__).parents[2] / "docs" / "why" / "mnist.md"
SEEDS = 5
NAMES = ("quick", "good", "best")
"""The recipes, without importing them: NumPy must not be loaded before its threads are set."""
OURS, PEER = "xpmlp", "pytorch"


def main(arguments: list[str]) -> None:
    """Run what is missing in the file of records, then print its table."""
    options = _parse(arguments)
    if options.page:
        records.write_page(PAGE, records.table(records.read(options.out)))
        return
    if options.report:
        say(records.table(records.read(options.out)))
        return
    threads = prepare_process(options.threads)
    if options.cost:
        from benchmarks.mnist.cost import cost

        say(cost(options.backend, options.device, options.quick))
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = {records.key(line) for line in records.read(options.out)}
    whole = not options.out.exists() or options.out.read_bytes()[-1:] in (b"", b"\n")
    with open(options.out, "a", encoding="utf-8") as file:
        file.write("" if whole else "\n")  # a kill may have cut the last line off
        for job in _jobs(options, threads):
            if records.key(job) in done:
                continue
            line = child_json("benchmarks.mnist.job", json.dumps(job))
            records.check(line)
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(*records.key(line), f"{line['error']:.2f} %, {line['seconds']:.0f} s", flush=True)
    say(records.table(records.read(options.out)))


def _jobs(options: argparse.Namespace, threads: int) -> Iterator[dict[str, Any]]:
    for recipe in options.recipes:
        for seed in range(options.seeds):
            for library in options.libraries:
                yield {
                    "recipe": recipe,
                    "seed": seed,
                    "library": library,
                    "backend": options.backend if library == OURS else PEER,
                    "device": options.device,
                    "threads": threads,
                    "quick": options.quick,
                    "validation": options.validation,
                    "epochs": options.epochs,
                }


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks mnist", description=__doc__)
    add, names = parser.add_argument, list(NAMES)
    add("--recipes", nargs="+", choices=names, default=names, help="default: all")
    add("--seeds", type=int, default=SEEDS, metavar="N", help=f"0 to N - 1 (default: {SEEDS})")
    both = (OURS, PEER)
    add("--libraries", nargs="+", choices=both, default=list(both), help="default: both")
    add("--backend", default="numpy", help="of xpmlp (default: numpy)")
    add("--device", help="as the library names it, such as cuda")
    add("--threads", type=int, help="default: all cores of this process")
    add("--epochs", type=int, help="fewer than the recipe's, to try it; no record")
    held = "train on 50,000, and measure on the last 10,000 training pictures; no record"
    add("--validation", action="store_true", help=held)
    add("--out", type=Path, default=RECORDS, help="file of records, in JSON lines")
    add("--report", action="store_true", help="only the table of such a file")
    add("--cost", action="store_true", help="only what augmentation adds to a step")
    add("--page", action="store_true", help="write that table to the page of the guide")
    add("--quick", action="store_true", help="pictures of noise, one epoch: does it run?")
    options = parser.parse_args(arguments)
    tried = options.quick or options.validation or options.epochs is not None
    if tried and options.out == RECORDS and not (options.report or options.cost):
        parser.error("what is tried is no record; give another file with --out")
    return options
