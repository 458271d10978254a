"""The same training run on two backends, compared after every step."""

from xpmlp.inspect.verify.parity import verify

__all__ = ["verify"]
