"""How fast xpmlp is on this CPU, beside PyTorch, JAX, scikit-learn and the bare products.

Everyone trains the same network from the same weights with the same data, batches, Adam,
precision (float32) and threads; their first losses are compared before anything is timed.
Ratios within one run count; absolute times do not.
"""

import argparse
import json
import os
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.settings import Settings, caches, prepare_process

PARTS = {
    "training": "benchmarks.training",
    "inference": "benchmarks.inference",
    "memory": "benchmarks.memory",
    "startup": "benchmarks.startup",
    "scaling": "benchmarks.scaling",
    "accuracy": "benchmarks.reaching",
    "estimators": "benchmarks.estimators",
}
"""Each part is a module with ``run(settings) -> results`` and ``lines(results)``."""

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str]) -> None:
    """Measure, print tables, and write them; exit with 1 if contestants did not do the same."""
    options = _parse(arguments)
    prepare_process(options.threads)
    from benchmarks.environment import describe  # NumPy may be loaded from here on

    settings = Settings(
        quick=options.quick,
        rounds=options.rounds or (1 if options.quick else 11),
        networks=tuple(options.networks),
        seeds=options.seeds,
        epochs=options.epochs,
    )
    import_module("numpy")  # so that the environment can tell of its products
    results: dict[str, Any] = {"environment": describe(), "settings": vars(settings), "seconds": {}}
    print(*about(results["environment"]), "", sep="\n", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        if not settings.quick:  # whoever compiles does so now, and it is seen
            os.environ.update(caches(cache))
        for part in PARTS:
            if part in (options.only or PARTS) and part not in options.skip:
                begin = perf_counter()
                results[part] = import_module(PARTS[part]).run(settings)
                results["seconds"][part] = perf_counter() - begin
    write(results, options.out)
    wrong = disagreeing(results)
    if wrong:
        sys.exit(f"other results than the rest: {', '.join(wrong)}")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks cpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="everything once, tiny")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 11)")
    parser.add_argument("--threads", type=int, help="default: all cores of this process")
    parser.add_argument("--networks", nargs="+", default=[], help="to train: 784-128-10 ...")
    some: Any = {"nargs": "+", "choices": PARTS, "metavar": "PART"}
    parser.add_argument("--only", **some, help=f"these parts, of {', '.join(PARTS)}")
    parser.add_argument("--skip", **some, default=[], help="not these parts")
    parser.add_argument("--seeds", type=int, default=3, help="of the time to accuracy")
    parser.add_argument("--epochs", type=int, default=20, help="of the time to accuracy")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for what is written")
    return parser.parse_args(arguments)


def about(environment: Mapping[str, Any]) -> list[str]:
    """Say what was measured on."""
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items())
    core = environment["openblas_coretype"]
    return [
        f"{environment['date']}, {environment['cpu']}, {environment['cores_used']} cores",
        f"load average before: {environment['load_average']} (a busy machine spoils the figures)",
        f"NumPy's products: {environment['blas'] or 'unknown'}",
        f"OPENBLAS_CORETYPE={core}" if core else "OPENBLAS_CORETYPE is not set",
        *textwrap.wrap(versions, 80, break_on_hyphens=False),
    ]


def disagreeing(results: Mapping[str, Any]) -> list[str]:
    """Return who did other work than the rest, over all parts."""
    wrong = [
        f"{name} of {network}"
        for network, found in results.get("training", {}).items()
        for name in found["disagree"]
    ]
    for part in ("inference", "estimators"):
        if part in results:
            wrong += import_module(PARTS[part]).disagreeing(results[part])
    return wrong


def write(results: Mapping[str, Any], folder: Path) -> None:
    """Write JSON, the tables as Markdown, and the pictures; some parts do not replace all."""
    from benchmarks import pictures

    folder.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS if part in results]
    stem = "-".join(
        ["cpu", results["environment"]["date"], *(parts if len(parts) < len(PARTS) else [])]
    )
    (folder / f"{stem}.json").write_text(json.dumps(results, indent=1))
    lines = ["# The CPU benchmark", "", "```text", *about(results["environment"])]
    for part, module in PARTS.items():
        if part in results:
            lines += ["", *import_module(module).lines(results[part])]
    (folder / f"{stem}.md").write_text("\n".join([*lines, "```", ""]))
    if results.get("training"):
        pictures.training(results["training"], folder / f"{stem}.png")
    if "scaling" in results:
        pictures.scaling(results["scaling"], folder / f"{stem}-scaling.png")
    print(f"written: {', '.join(sorted(path.name for path in folder.glob(f'{stem}[.-]*')))}")
