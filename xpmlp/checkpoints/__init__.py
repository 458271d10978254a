"""Checkpoints: files from which an interrupted training run resumes, bit for bit."""

from xpmlp.checkpoints.folder import Checkpoints

__all__ = ["Checkpoints"]
