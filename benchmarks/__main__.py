"""``python -m benchmarks``: which measurement to run."""

import argparse
import importlib
import sys


def main() -> None:
    """Run the measurement that was named, with the arguments after its name."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="each has a --help of its own"
    )
    which = (
        *("cpu", "accuracy", "diagnosis", "exports", "gpu", "mnist", "reading", "tabular"),
        "workers",
    )
    parser.add_argument("which", choices=which)
    chosen = parser.parse_args(sys.argv[1:2]).which
    importlib.import_module(f"benchmarks.{chosen}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
