"""The real ``kernels/`` on the host, compiled by g++ with ``shim.h``.

Arguments are checked against the kernel's parameters, types of pointers included.
"""

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from emulation.device import Array, CudaError, on_this_device, put

SHIM = Path(__file__).with_name("shim.h")
OPTIONS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE")
COMPILER = shutil.which("g++")

POINTS = {"f": "float32", "d": "float64", "i": "int32", "j": "uint32", "t": "uint16"}
SCALARS = {"f": np.float32, "d": np.float64, "i": np.int32, "x": np.int64}


@cache
def compiled(code: str, names: tuple[str, ...]) -> Any:
    """The kernels in a shared library of the host."""
    if COMPILER is None:
        raise CudaError("g++ is not installed")
    lines = [f'#include "{SHIM}"', code]
    for i, name in enumerate(names):
        lines.append(f'extern "C" const char* call_{i}(void** a, const int* s) '
                     f"{{ return launch(&{name}, a, s); }}")  # fmt: skip
        lines.append(f'extern "C" const char* types_{i}() {{ return types(&{name}); }}')
    source = "\n".join(lines)
    stem = hashlib.sha256((source + SHIM.read_text()).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / "xpmlp-emulated"
    folder.mkdir(exist_ok=True)
    library = folder / f"{stem}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            (Path(work) / "kernels.cpp").write_text(source)
            made = Path(work) / "kernels.so"
            options = [
                "-std=c++17",
                "-O1",
                "-shared",
                "-fPIC",
                "-ffp-contract=off",
                "-U_FORTIFY_SOURCE",
            ]
            subprocess.run(
                [COMPILER, *options, str(Path(work) / "kernels.cpp"), "-o", str(made)], check=True
            )
            made.replace(library)
    return ctypes.PyDLL(str(library))  # one thread at a time: a block runs on fibers


class RawModule:
    def __init__(self, *, code: str, options: tuple[str, ...], name_expressions: Any) -> None:
        self._code, self._names = code, tuple(name_expressions)

    def get_function(self, name: str) -> "RawKernel":
        library = compiled(self._code, self._names)
        index = self._names.index(name)
        types = getattr(library, f"types_{index}")
        types.restype = ctypes.c_char_p
        call = getattr(library, f"call_{index}")
        call.restype = ctypes.c_char_p
        return RawKernel(name, call, types().decode().split())


class RawKernel:
    def __init__(self, name: str, call: Any, types: list[str]) -> None:
        self.name, self._call, self._types = name, call, types

    def __call__(self, grid: Any, block: Any, arguments: Any) -> None:
        assert len(arguments) == len(self._types), (self.name, len(arguments), self._types)
        shape = (ctypes.c_int * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
        assert all(side > 0 for side in shape), (self.name, grid, block)
        assert np.prod(shape[3:]) <= 1024
        held = [self._checked(*each) for each in zip(arguments, self._types, strict=True)]
        pointers = (ctypes.c_void_p * len(held))(*(x.ctypes.data for x in held))

        def work(keep: Any = held) -> None:
            if failure := self._call(pointers, shape):
                raise CudaError(f"{self.name}: {failure.decode()}")

        put(self.name, work)

    def _checked(self, argument: Any, kind: str) -> Any:
        """The argument's bytes, if it is what the kernel's parameter takes."""
        if not kind.startswith("P"):
            assert type(argument) is SCALARS[kind], (self.name, type(argument), kind)
            return np.array(argument)
        if isinstance(argument, np.uint64):
            assert argument == 0, self.name
            return np.array(argument)
        assert isinstance(argument, Array), (self.name, type(argument), kind)
        on_this_device("an array", argument.number)
        assert argument.flags.c_contiguous, (self.name, argument.strides)
        expected = POINTS.get(kind.removeprefix("P").removeprefix("K"))
        assert expected in (None, str(argument.dtype)), (self.name, argument.dtype, kind)
        return np.array(argument.data.ptr, np.uint64)
