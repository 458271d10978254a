"""``python -m benchmarks``: which measurement to run."""

import argparse
import importlib


def main() -> None:
    """Run the measurement that was named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", choices=("small", "accuracy", "diagnosis", "gpu"))
    which, rest = parser.parse_known_args()
    importlib.import_module(f"benchmarks.{which.which}").main(rest)


if __name__ == "__main__":
    main()
