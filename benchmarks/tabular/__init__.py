"""``python -m benchmarks tabular``: the score without tuning, on real tables.

The same five folds for everyone, fixed seeds, no tuning. Each fit is a line of JSON in a file, so
a run that was interrupted goes on where it was; ``--report`` makes the tables from it.
"""

from benchmarks.tabular.run import main as main
