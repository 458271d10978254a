"""The same run on any number of workers: who they are, and how they add up their gradients."""

from xpmlp.parallel.communicator import Alone, Communicator, gather
from xpmlp.parallel.find import register
from xpmlp.parallel.mpi import MPI

__all__ = ["MPI", "Alone", "Communicator", "gather", "register"]
