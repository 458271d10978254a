"""The threads of the array library: their number changes how it rounds, so a run fixes it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xpmlp.errors import MissingExtraError, require, warn

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def limited(threads: int) -> Iterator[str]:
    """Within the block, let BLAS and OpenMP compute with so many threads; yield what they have.

    Without threadpoolctl, variables must have said so when the process began; else this warns.
    """
    try:
        control: Any = require("threadpoolctl", "mpi", "fixing the number of threads")
    except MissingExtraError as error:
        said = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        if not said or set(said.values()) != {str(threads)}:
            warn(
                f"shards: the number of threads changes how sums are rounded, and {error}. Or "
                f"start Python with OMP_NUM_THREADS={threads}"
            )
        yield str(sorted(said.items()))
        return
    with control.threadpool_limits(limits=threads):
        pools = {(pool["internal_api"], pool["num_threads"]) for pool in control.threadpool_info()}
        yield ", ".join(f"{api} {number}" for api, number in sorted(pools))
