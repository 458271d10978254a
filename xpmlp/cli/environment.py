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
    if "numpy" not in sys.modules and wants_skylakex():
        os.environ.setdefault(CORE_VARIABLE, "SkylakeX")
    backend = getattr(args, "backend", None) or os.environ.get("XPMLP_BACKEND")
    # Commands without --dtype read it from a file, later than JAX can be told. In 64-bit mode
    # JAX still computes a float32 model in float32.
    if backend == "jax" and getattr(args, "dtype", "float64") == "float64":
        os.environ.setdefault("JAX_ENABLE_X64", "1")


def wants_skylakex(cpuinfo: str | None = None) -> bool:
    """Whether OpenBLAS would use half of this CPU, unless told otherwise.

    OpenBLAS picks its kernels by the CPU's maker and model. It knows Intel's with AVX-512, but
    takes AMD's Zen 4 and 5, and makers it has never heard of, for "Haswell", with vectors half as
    wide; matrix products then take nearly twice the time.
    """
    vendor, flags = cpu(cpuinfo)
    return vendor not in ("", "GenuineIntel") and flags >= AVX512


def cpu(cpuinfo: str | None = None) -> tuple[str, frozenset[str]]:
    """Return the CPU's maker and feature flags, both empty where Linux does not tell."""
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "", frozenset()
    fields: dict[str, str] = {}
    for line in cpuinfo.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    return fields.get("vendor_id", ""), frozenset(fields.get("flags", "").split())
