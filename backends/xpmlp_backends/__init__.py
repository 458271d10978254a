"""The adapters of the array libraries. No library is imported before it is asked for."""

from xpmlp_backends.base import EagerBackend
from xpmlp_backends.registry import PUBLIC, TABLE, auto, backend, backend_of, why_not

__all__ = ["PUBLIC", "TABLE", "EagerBackend", "auto", "backend", "backend_of", "why_not"]
