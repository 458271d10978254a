"""``torch.distributed`` with gloo: the processes that ``torchrun`` starts exchange host arrays."""

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from xpmlp_backends.base import require

INSTALL = "pip install 'xpmlp[torch]'"


class Gloo:
    """The processes of ``torchrun``, or of the process group that there is already.

    Arrays are NumPy's, whose memory PyTorch shares; so any backend may compute them.

    Examples
    --------
    >>> from xpmlp_backends.torch.distributed import Gloo
    >>> together = Gloo()  # doctest: +SKIP
    """

    on_host, name = True, "torch.distributed"

    def __init__(self) -> None:
        self._torch: Any = require("torch", "torch", INSTALL)
        self._group: Any = require("torch.distributed", "torch", INSTALL)
        if not self._group.is_initialized():
            self._group.init_process_group("gloo")
        self.rank, self.size = self._group.get_rank(), self._group.get_world_size()
        # With NCCL as its default, arrays of the host need a group of their own.
        own = self._group.get_backend() != "gloo"
        self._of: Any = self._group.new_group(backend="gloo") if own else None

    def exchange(self, send: Sequence[np.ndarray], receive: Sequence[np.ndarray]) -> None:
        """Send an array to each other worker, and receive one."""
        tensor, group, others = self._torch.from_numpy, self._group, set(range(self.size))
        others -= {self.rank}
        calls = [group.irecv(tensor(receive[j]), j, self._of) for j in others if receive[j].size]
        calls += [group.isend(tensor(send[j]), j, self._of) for j in others if send[j].size]
        for call in calls:
            call.wait()

    def all_reduce(self, array: np.ndarray) -> None:
        """Replace an array by its sum over all workers, as gloo adds it up."""
        self._group.all_reduce(self._torch.from_numpy(array), group=self._of)

    def abort(self, status: int = 1) -> NoReturn:
        """End this process; ``torchrun`` then ends the others."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
