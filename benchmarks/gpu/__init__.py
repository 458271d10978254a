"""How fast xpmlp is on this GPU, beside PyTorch, JAX, and what it could be at best.

Training steps of 784-512-512-10 with Adam on uint8 pixels that lie on the device, at several
batch sizes and precisions, everyone from the same weights and at the same precision; then MNIST
where it is found. Ratios within one run count. It ends within its budget, and says what it left
out; it fails if xpmlp fell back or someone did other work.
"""

import argparse
import os
import sys
import textwrap
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.budget import Budget

RESULTS = Path(__file__).parents[1] / "results"
SIZES = (784, 512, 512, 10)
STEPS = {128: 480, 8192: 32, 1024: 96}
"""Batch sizes, and how many steps an epoch has; the most important ones first."""

PRECISIONS = ("tf32", "float32", "bf16")
QUICK = {16: 4}
RESERVE = 40.0
"""Seconds that are kept for MNIST, the picture and the way out."""

FIRST = 45.0
"""Seconds a case may need before one has told better."""

VARIABLES = ("NVIDIA_TF32_OVERRIDE", "CUPY_TF32", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES")
"""What in the environment could make a difference, and is reported."""


def main(arguments: list[str]) -> None:
    """Measure, print tables, and write them; exit with 1 and a line for whatever went wrong."""
    options = _parse(arguments)
    budget = Budget(options.budget)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave room for the others
    from benchmarks.environment import describe

    results: dict[str, Any] = {
        "environment": describe() | {"variables": _variables()},
        "settings": {k: v for k, v in vars(options).items() if k != "out"},
        "cases": [],
        "left_out": {},
        "failures": [],
    }
    print(*about(results["environment"]), "", sep="\n", flush=True)
    try:
        if options.only != "mnist":
            measure(results, options, budget)
        if options.only != "steps":
            _mnist(results, options, budget)
    except KeyboardInterrupt:
        results["failures"].append("interrupted")
    finish(results, options.out, budget)
    if results["failures"]:
        sys.exit("\n".join(["failed:", *results["failures"]]))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a dry run: tiny, one round")
    parser.add_argument("--budget", type=float, default=420.0, help="seconds (default: 420)")
    parser.add_argument("--rounds", type=int, default=15, help="at most (default: 15)")
    parser.add_argument("--batches", type=int, nargs="+", choices=STEPS, help="only these")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--contestants", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--only", choices=("steps", "mnist"), help="as the stages of scripts/gpu")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try it")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for what is written")
    return parser.parse_args(arguments)


def _variables() -> dict[str, str]:
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def about(environment: Mapping[str, Any]) -> list[str]:
    """Say what was measured on."""
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    gpus = [
        f"{gpu['name']}, {gpu['memory']}, driver {gpu['driver']}" for gpu in environment["gpus"]
    ]
    return [
        f"{environment['date']}, {'; '.join(gpus) or 'nvidia-smi names no GPU'}",
        f"{environment['cpu']}, {environment['cores_used']} cores, "
        f"load average before: {environment['load_average']}",
        *textwrap.wrap(f"Python {environment['python']}, {versions}", 80, break_on_hyphens=False),
        *(f"{name}={value}"[:80] for name, value in environment["variables"].items()),
    ]


def cases(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield precisions and batch sizes: first what most depends on, last what may be dropped."""
    batches = QUICK if options.quick else options.batches or STEPS
    important = [p for p in options.precisions if p != "bf16"]
    for some in (important, [p for p in options.precisions if p == "bf16"]):
        yield from ((precision, batch) for batch in batches for precision in some)


def measure(results: dict[str, Any], options: argparse.Namespace, budget: Budget) -> None:
    """Measure case after case while the budget lasts; keep what is there on disk."""
    reserve = 0.0 if options.quick or options.only else RESERVE
    waiting, needed = list(cases(options)), FIRST
    for index, (precision, batch) in enumerate(waiting):
        name = f"batch {batch}, {precision}"
        if not options.quick and index and budget.left - reserve < needed:
            results["left_out"][name] = f"{budget.left:.0f} s were left; it needs {needed:.0f} s"
            continue
        share = budget.share(len(waiting) - index, reserve)
        try:
            case = measure_case(precision, batch, options, share)
        except Exception as error:  # the other cases shall be measured
            traceback.print_exc()
            results["failures"].append(f"{name}: {type(error).__name__}: {error}")
            continue
        needed = case["least_seconds"]
        results["cases"].append(case)
        write_json(results, options.out)


def measure_case(
    precision: str, batch: int, options: argparse.Namespace, budget: Budget
) -> dict[str, Any]:
    """Measure everyone at one precision and batch size, and our floor; print the table."""
    from benchmarks.gpu import floor, steps
    from benchmarks.problems import Problem
    from benchmarks.report import say

    print(f"batch {batch}, {precision}: {budget.left:.0f} s", file=sys.stderr, flush=True)
    problem = Problem.make(SIZES, batch, (QUICK if options.quick else STEPS)[batch])
    chosen = steps.makers(problem, precision, options.device)
    if options.contestants:
        if unknown := set(options.contestants) - set(chosen):
            sys.exit(f"--contestants: found {sorted(unknown)}; expected of {list(chosen)}")
        chosen = {name: make for name, make in chosen.items() if name in options.contestants}
    rounds = 1 if options.quick else options.rounds
    case = steps.measure(problem, precision, chosen, rounds, budget)
    say(steps.lines(case))
    begin = budget.spent
    if steps.US in case["rows"]:
        try:
            case["floor"] = floor.measure(problem, precision, case)
        except Exception as error:  # the steps themselves were measured
            traceback.print_exc()
            case["floor_failed"] = f"{type(error).__name__}: {error}"
    case["seconds"] = budget.spent
    case["least_seconds"] += budget.spent - begin
    release()
    return case


def release() -> None:
    """Give back the memory that nobody holds any more."""
    import gc

    gc.collect()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()
    if "cupy" in sys.modules and sys.modules["cupy"].cuda.is_available():
        sys.modules["cupy"].get_default_memory_pool().free_all_blocks()


def _mnist(results: dict[str, Any], options: argparse.Namespace, budget: Budget) -> None:
    from benchmarks.gpu import mnist

    if options.quick or (options.contestants and mnist.US not in options.contestants):
        return
    try:
        results["mnist"] = mnist.run(budget.left - 10)
    except mnist.LeftOutError as reason:
        results["left_out"]["MNIST"] = str(reason)
        if options.only:
            results["failures"].append(f"MNIST was left out: {reason}")
    except Exception as error:
        traceback.print_exc()
        results["failures"].append(f"MNIST: {type(error).__name__}: {error}")


def finish(results: dict[str, Any], folder: Path, budget: Budget) -> None:
    """Compare with the goals, say the rest, and write JSON, Markdown, picture and documentation."""
    from benchmarks.gpu import estimate, goals
    from benchmarks.report import say

    results["goals"] = goals.compare(results["cases"])
    if results["settings"]["only"] != "mnist":
        results["failures"] += goals.failures(results["cases"])
    results["seconds"] = budget.spent
    say(closing(results))
    write_json(results, folder)
    path = folder / stem(results)
    text = ["# The GPU benchmark", "", "```text", *lines(results), "```", ""]
    path.with_suffix(".md").write_text("\n".join(text))
    try:
        if any(case["rows"] for case in results["cases"]):
            from benchmarks.pictures import gpu_steps

            gpu_steps(results["cases"], path.with_suffix(".png"))
    except ImportError as error:
        print(f"no picture: {error}")
    print(f"written: {path}.json, .md and .png; {estimate.fill(results)}", flush=True)


def lines(results: Mapping[str, Any]) -> list[str]:
    """Return everything as text."""
    from benchmarks.gpu import steps

    made = about(results["environment"])
    for case in results["cases"]:
        made += ["", *steps.lines(case)]
    return [*made, "", *closing(results)]


def closing(results: Mapping[str, Any]) -> list[str]:
    """Return what is said after the cases: how it ran, floor, goals, MNIST, what was left out."""
    from benchmarks.gpu import estimate, floor, goals, mnist, steps
    from benchmarks.report import not_there

    ways = [
        line
        for name, found in steps.ways(results["cases"]).items()
        for way in sorted(found)
        for line in textwrap.wrap(f"{name}: {way}", 80, subsequent_indent="  ")
    ]
    parts = [
        ways,
        floor.autotune_lines(results["cases"]),
        floor.lines(results["cases"]),
        estimate.lines(results["cases"]),
        goals.lines(results["goals"]),
        mnist.lines(results["mnist"]) if "mnist" in results else [],
        not_there(results["left_out"]),
        [line[:80] for line in results["failures"]],
        [f"{results['seconds']:.0f} s of {results['settings']['budget']:.0f} s"],
    ]
    return [line for part in parts if part for line in ("", *part)][1:]


def stem(results: Mapping[str, Any]) -> str:
    """Return the name of what is written; some cases do not replace all."""
    settings = results["settings"]
    some = [str(batch) for batch in settings["batches"] or ()]
    some += settings["precisions"] if set(settings["precisions"]) != set(PRECISIONS) else []
    some += ["some"] * bool(settings["contestants"]) + ["quick"] * settings["quick"]
    some += ["mnist"] * (settings["only"] == "mnist")
    return "-".join(["gpu", results["environment"]["date"], *some])


def write_json(results: Mapping[str, Any], folder: Path) -> None:
    """Write what there is so far."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem(results)}.json").write_text(json.dumps(results, indent=1))
