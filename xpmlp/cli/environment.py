"""Environment variables that must be set before an array library is loaded."""

import os
import sys
from argparse import Namespace
from pathlib import Path

AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
"""The instructions that OpenBLAS's SkylakeX kernels use."""

CORE_VARIABLE = "OPENBLAS_CORETYPE"


SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""What mpiexec and srun set: those of ``parallel.find``, which loads NumPy."""


def may_have_others() -> bool:
    """Whether this process may be one of several that were started together."""
    return any(name in os.environ for name in SIZES)


def prepare(args: Namespace) -> None:
    """Set what the command needs, for this process only; keep what the user has set."""
    # ``xpmlp info`` shows what an ordinary Python program gets.
    looking = args.command == "info" and not args.measure
    core = best_core()
    if "numpy" not in sys.modules and not looking and core:
        os.environ.setdefault(CORE_VARIABLE, core)
    backend = getattr(args, "backend", None) or os.environ.get("XPMLP_BACKEND")
    # Commands without --dtype read it from a file, later than JAX can be told. In 64-bit mode
    # JAX still computes a float32 model in float32.
    if backend == "jax" and getattr(args, "dtype", "float64") == "float64":
        os.environ.setdefault("JAX_ENABLE_X64", "1")


ZEN4 = ("AuthenticAMD", "25")
"""Maker and family of the CPUs that compute AVX-512 in two halves, if they have it."""


def best_core(cpuinfo: str | None = None) -> str | None:
    """Return the kernels OpenBLAS should use if it may pick others; None lets it choose.

    OpenBLAS picks its kernels by the CPU's maker and model, each version its own way. Those with
    AVX-512 ("SkylakeX") do up to twice the work where vectors are 512 bits wide, as on Zen 5 and
    on Intel's, which every version knows. Zen 4 computes such vectors in halves, and there the
    AVX2 kernels ("Haswell") took a tenth less time for products of 512 units and more.
    """
    vendor, flags = cpu(cpuinfo)
    if vendor in ("", "GenuineIntel") or not flags >= AVX512:
        return None
    return "Haswell" if (vendor, processor(cpuinfo).get("cpu family")) == ZEN4 else "SkylakeX"


def cpu(cpuinfo: str | None = None) -> tuple[str, frozenset[str]]:
    """Return the CPU's maker and feature flags, both empty if Linux does not tell."""
    fields = processor(cpuinfo)
    return fields.get("vendor_id", ""), frozenset(fields.get("flags", "").split())


def processor(cpuinfo: str | None = None) -> dict[str, str]:
    """Return Linux's fields of the first processor; empty on other systems."""
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
    lines = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}
