"""The same run on any number of workers: who they are, and how they add up their gradients."""

from xpmlp.parallel.communicator import Alone, Communicator

__all__ = ["Alone", "Communicator"]
