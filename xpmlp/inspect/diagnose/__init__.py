"""What is wrong with a training run: what is measured, what it means, and what to change."""

from xpmlp.inspect.diagnose.diagnosis import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding"]
