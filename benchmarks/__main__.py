"""``python -m benchmarks``: which measurement to run."""

import argparse
import importlib
import sys


def main() -> None:
    """Run the measurement that was named, with the arguments after its name."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="each has a --help of its own"
    )
    parser.add_argument("which", choices=("cpu", "accuracy", "diagnosis", "gpu", "tabular"))
    which = parser.parse_args(sys.argv[1:2]).which
    importlib.import_module(f"benchmarks.{which}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
