"""What has to be in the environment of this process before an array library is loaded."""

import os
import sys
from argparse import Namespace
from pathlib import Path

AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
"""The instructions that OpenBLAS's SkylakeX kernels use."""

CORE_VARIABLE = "OPENBLAS_CORETYPE"


def prepare(args: Namespace) -> None:
    """Set what the command needs, for this process only; what the user has set stays."""
    # ``xpmlp info`` shows what a Python program would get, which nobody prepares.
    looking = args.command == "info" and not args.measure
    if "numpy" not in sys.modules and not looking and wants_skylakex():
        os.environ.setdefault(CORE_VARIABLE, "SkylakeX")
    backend = getattr(args, "backend", None) or os.environ.get("XPMLP_BACKEND")
    # Commands without --dtype read it from a file, later than JAX can be told. In 64-bit mode
    # JAX still computes a float32 model in float32.
    if backend == "jax" and getattr(args, "dtype", "float64") == "float64":
        os.environ.setdefault("JAX_ENABLE_X64", "1")


def wants_skylakex(cpuinfo: str | None = None) -> bool:
    """Whether OpenBLAS might use half of this CPU, unless told otherwise.

    OpenBLAS picks its kernels by the CPU's maker and model. It knows Intel's with AVX-512; AMD's
    Zen 4 and 5 only newer versions do, and makers it has never heard of none. These it takes for
    "Haswell", with vectors half as wide; matrix products then take up to twice the time.
    """
    vendor, flags = cpu(cpuinfo)
    return vendor not in ("", "GenuineIntel") and flags >= AVX512


def cpu(cpuinfo: str | None = None) -> tuple[str, frozenset[str]]:
    """Return the CPU's maker and feature flags, both empty where Linux does not tell."""
    fields = processor(cpuinfo)
    return fields.get("vendor_id", ""), frozenset(fields.get("flags", "").split())


def processor(cpuinfo: str | None = None) -> dict[str, str]:
    """Return what Linux tells of the first processor, by its names; empty elsewhere."""
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
    lines = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
