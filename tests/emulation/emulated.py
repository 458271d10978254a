"""CuPy, cuBLASLt and CUDA graphs imitated on the host, as far as the CuPy adapter uses them.

Kernels are the real ``kernels.cu``, compiled by g++ with ``shim.h`` and run on NumPy's memory;
arguments are checked against the kernel's parameters, types of pointers included. Products go
through an imitation of cuBLASLt that takes addresses, descriptors and epilogues as the real one
does, so a wrong layout gives a wrong result. Graphs note what is put on the stream and do it when
they are launched; new memory is full of NaN.
"""

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np

SHIM = Path(__file__).with_name("shim.h")
OPTIONS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE")
COMPILER = shutil.which("g++")


class CudaError(RuntimeError):
    """What CUDA would refuse."""


# Streams and graphs


class Stream:
    """A stream; work on it is done at once, or noted while it captures."""

    current: "Stream"
    count = 0

    def __init__(self, non_blocking: bool = False) -> None:
        Stream.count += 1
        self.ptr, self.nodes = Stream.count, None
        self._outer: list[Stream] = []

    def __enter__(self) -> "Stream":
        self._outer.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *error: object) -> None:
        Stream.current = self._outer.pop()

    def begin_capture(self) -> None:
        self.nodes: list[Any] | None = []
        self.memory: list[Any] = []

    def end_capture(self) -> "Graph":
        nodes, self.nodes = self.nodes, None
        assert nodes is not None
        return Graph(nodes, self.memory)

    def is_capturing(self) -> bool:
        return self.nodes is not None

    def synchronize(self) -> None:
        if self.is_capturing():
            raise CudaError("a capturing stream cannot be waited for")


Stream.current = Stream()


class Graph:
    """What a stream noted, with the memory that was lent meanwhile, as a private pool has it."""

    def __init__(self, nodes: list[tuple[str, Callable[[], object]]], memory: list[Any]) -> None:
        self.nodes, self._memory = nodes, memory

    def launch(self, stream: Stream | None = None) -> None:
        with np.errstate(all="ignore"):
            for _, work in self.nodes:
                work()

    def debug_dot_str(self, flags: int = 0) -> str:
        return "\n".join(name for name, _ in self.nodes)


def put(name: str, work: Callable[[], object]) -> None:
    """Do work, or note it."""
    if Stream.current.is_capturing():
        Stream.current.nodes.append((name, work))  # type: ignore[union-attr]
    else:
        work()


class Event:
    """A moment of the imitated clock."""

    def record(self, stream: Any = None) -> None:
        self.time = Clock.now

    def synchronize(self) -> None: ...


class Clock:
    now = 0.0


# Arrays


class Array(np.ndarray[Any, Any]):
    """An array of the imitated device: a NumPy array that notes what is done to it."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)

    @property
    def device(self) -> Any:  # type: ignore[override]
        return DEVICE

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array.view(Array)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if not isinstance(found, np.ndarray):
            index = (*(index if isinstance(index, tuple) else (index,)), ...)
            found = super().__getitem__(index)
        return found

    def __setitem__(self, index: Any, value: Any) -> None:
        put("copy", lambda: np.ndarray.__setitem__(self, index, value))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.matmul and Stream.current.is_capturing():
            raise CudaError("cuBLAS cannot be captured")
        return noted(ufunc.__name__, getattr(ufunc, method), inputs, options)

    def __array_function__(self, func: Any, types: Any, args: Any, options: Any) -> Any:
        return noted(func.__name__, func, args, options)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return noted("astype", np.ndarray.astype, (self, dtype), {})

    def copy(self, order: Any = "C") -> Any:
        return noted("copy", np.array, (self,), {})

    def _read(self, name: str) -> Any:
        if Stream.current.is_capturing():
            raise CudaError("a value was read while a stream captures")
        return getattr(np.ndarray, name)(self)

    def __float__(self) -> float:
        return self._read("__float__")

    def __bool__(self) -> bool:
        return self._read("__bool__")

    def __int__(self) -> int:
        return self._read("__int__")


def plain(x: Any) -> Any:
    """The same without our class, through lists and tuples."""
    if isinstance(x, Array):
        return x.view(np.ndarray)
    if isinstance(x, list | tuple):
        return type(x)(map(plain, x))
    return x


def noted(name: str, function: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    """Call a function of NumPy, now and whenever the graph that notes it is launched."""
    args, named = plain(args), {key: plain(value) for key, value in options.items()}

    def call() -> Any:
        return function(*args, **named)

    if not Stream.current.is_capturing():
        return wrapped(call())
    with np.errstate(all="ignore"):
        result = np.asarray(call())
    inputs = [x for x in (*args, *named.values()) if isinstance(x, np.ndarray)]
    if "out" in options:
        put(name, call)
    elif not any(np.may_share_memory(result, x) for x in inputs):  # else it is a view
        put(name, lambda: np.copyto(result, call()))
    return kept(result)


def wrapped(x: Any) -> Any:
    """The same in our class; what is no array stays as it is."""
    if isinstance(x, tuple):
        return tuple(map(wrapped, x))
    return np.asarray(x).view(Array) if isinstance(x, np.ndarray | np.generic) else x


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    """New memory, full of NaN or of a large number: nobody may read it."""
    made = np.empty(shape, dtype)
    made[...] = np.nan if made.dtype.kind == "f" else (1 if made.dtype.kind == "b" else 99)
    return kept(made)


def kept(x: Any) -> Any:
    """Keep an array as long as the graph that is being captured."""
    if Stream.current.is_capturing():
        Stream.current.memory.append(x)
    return x.view(Array)


def zeros(shape: Any, dtype: Any = np.float64) -> Any:
    made = empty(shape, dtype)
    put("memset", lambda: np.ndarray.fill(made, 0))
    return made


def copyto(to: Any, source: Any) -> None:
    assert to.shape == source.shape, (to.shape, source.shape)
    assert isinstance(source, Array)
    put("copy", lambda: np.copyto(plain(to), plain(source), casting="same_kind"))


# Kernels


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
    return ctypes.CDLL(str(library))


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

        def work(keep: Any = (held, arguments)) -> None:
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
        assert argument.flags.c_contiguous, (self.name, argument.strides)
        expected = POINTS.get(kind.removeprefix("P").removeprefix("K"))
        assert expected in (None, str(argument.dtype)), (self.name, argument.dtype, kind)
        return np.array(argument.data.ptr, np.uint64)


# cuBLASLt


STORED = {0: np.float32, 1: np.float64, 14: np.uint16}


class Named(SimpleNamespace):
    def __getitem__(self, name: str) -> int:
        return getattr(self, name)


class CublasLtError(Exception):
    """nvmath's cuBLASLtError."""


class CublasLt:
    """``nvmath.bindings.cublasLt``: matrices lie column by column.

    Parameters
    ----------
    unsupported : set of str
        Epilogues for which there is no algorithm.
    costs : list of float
        Seconds of each algorithm; infinite if it fails.
    """

    MatmulDescAttribute = Named(TRANSA=3, TRANSB=4, EPILOGUE=7, BIAS_POINTER=8)
    Epilogue = Named(DEFAULT=1, BIAS=4, RELU_BIAS=6, BGRADA=256)
    MatmulPreferenceAttribute = Named(
        MAX_WORKSPACE_BYTES=1,
        MIN_ALIGNMENT_A_BYTES=5,
        MIN_ALIGNMENT_B_BYTES=6,
        MIN_ALIGNMENT_C_BYTES=7,
        MIN_ALIGNMENT_D_BYTES=8,
    )
    cuBLASLtError = CublasLtError  # noqa: N815 - its name
    matmul_heuristic_result_dtype = np.dtype(
        [
            ("algo", [("data_", "<u8", (8,))]),
            ("workspace_size", "<u8"),
            ("state", "<i4"),
            ("waves_count", "<f4"),
            ("reserved", "<i4", (4,)),
        ]
    )

    def __init__(self, unsupported: Any = (), costs: Any = (3e-6, 2e-6, 4e-6)) -> None:
        self.unsupported, self.costs = set(unsupported), list(costs)
        self.objects: dict[int, Any] = {}
        self.calls: list[int] = []

    def _new(self, made: Any) -> int:
        self.objects[len(self.objects) + 1] = made
        return len(self.objects)

    def create(self) -> int:
        return self._new("handle")

    def get_version(self) -> int:
        return 130000

    def matmul_desc_create(self, compute: int, scale: int) -> int:
        assert (compute, scale) in ((68, 0), (77, 0), (70, 1))
        return self._new({"compute": compute})

    def matmul_desc_set_attribute(self, operation: int, name: int, buffer: int, size: int) -> None:
        assert size == {3: 4, 4: 4, 7: 4, 8: 8}[name]
        self.objects[operation][name] = int.from_bytes(ctypes.string_at(buffer, size), "little")

    def matrix_layout_create(self, kind: int, rows: int, columns: int, ld: int) -> int:
        assert ld >= rows
        return self._new((kind, rows, columns, ld))

    def matmul_preference_create(self) -> int:
        return self._new({})

    def matmul_preference_set_attribute(self, made: int, name: int, at: int, size: int) -> None:
        value = int.from_bytes(ctypes.string_at(at, size), "little")
        assert size == (8 if name == 1 else 4)
        assert name == 1 or value in (1, 2, 4, 8, 16, 32, 64, 128, 256)
        self.objects[made][name] = value

    def matmul_preference_destroy(self, made: int) -> None:
        assert set(self.objects[made]) == {1, 5, 6, 7, 8}

    def matmul_algo_get_heuristic(
        self, handle: int, operation: int, a: int, b: int, c: int, d: int, preference: int,
        wanted: int, results: int, count: int,
    ) -> None:  # fmt: skip
        epilogue = self.objects[operation][7]
        if any(self.Epilogue[name] == epilogue for name in self.unsupported):
            raise CublasLtError("CUBLAS_STATUS_NOT_SUPPORTED")
        found = np.zeros(min(wanted, len(self.costs)), self.matmul_heuristic_result_dtype)
        found["algo"]["data_"][:, 0] = np.arange(len(found)) + 1
        ctypes.memmove(results, found.ctypes.data, found.nbytes)
        ctypes.memmove(count, np.array([len(found)], np.int32).ctypes.data, 4)

    def matmul(
        self, handle: int, operation: int, alpha: int, a: int, a_layout: int, b: int,
        b_layout: int, beta: int, c: int, c_layout: int, d: int, d_layout: int, algorithm: int,
        workspace: int, size: int, stream: int,
    ) -> None:  # fmt: skip
        assert stream == Stream.current.ptr
        assert workspace
        assert (c, c_layout) == (d, d_layout)
        described = dict(self.objects[operation])
        which = int.from_bytes(ctypes.string_at(algorithm, 8), "little") - 1
        if self.costs[which] == float("inf"):
            raise CublasLtError("CUBLAS_STATUS_INTERNAL_ERROR")
        places = (a, a_layout, b, b_layout, d, d_layout)
        put("product", lambda: self._compute(described, which, *places))

    def _matrix(self, address: int, layout: int) -> Any:
        kind, rows, columns, ld = self.objects[layout]
        dtype = np.dtype(STORED[kind])
        raw = (ctypes.c_char * (ld * columns * dtype.itemsize)).from_address(address)
        return np.frombuffer(raw, dtype).reshape(columns, ld).T[:rows]

    def _compute(
        self, described: Any, which: int, a: int, a_layout: int, b: int, b_layout: int, d: int,
        d_layout: int,
    ) -> None:  # fmt: skip
        self.calls.append(which)
        Clock.now += self.costs[which]
        out = self._matrix(d, d_layout)
        factors = []
        for address, layout, transposed in (
            (a, a_layout, described[3]),
            (b, b_layout, described[4]),
        ):
            matrix = self._factor(self._matrix(address, layout), described["compute"])
            factors.append(matrix.T if transposed else matrix)
        result = factors[0].astype(np.float64) @ factors[1].astype(np.float64)
        epilogue = described[7]
        if epilogue != 1:
            raw = (ctypes.c_char * (len(out) * out.itemsize)).from_address(described[8])
            extra = np.frombuffer(raw, out.dtype)
            if epilogue == 256:
                extra[...] = factors[0].sum(axis=1, dtype=np.float64)
            else:
                result = result + extra[:, None]
                result = np.maximum(result, 0) if epilogue == 6 else result
        out[...] = result

    @staticmethod
    def _factor(matrix: Any, compute: int) -> Any:
        if matrix.dtype == np.uint16:  # bfloat16: the upper half of a float32
            return (matrix.astype(np.uint32) << 16).view(np.float32)
        if compute == 77:  # TF32: ten bits of the mantissa
            bits = np.ascontiguousarray(matrix).view(np.uint32)
            return ((bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000).view(np.float32)
        return matrix


# Modules


class Device:
    id = 0
    compute_capability = "90"
    mem_info = (1 << 30, 2 << 30)

    def __init__(self, number: int = 0) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    def __str__(self) -> str:
        return "<emulated CUDA device>"

    def synchronize(self) -> None: ...


DEVICE = Device()


class MemoryPool:
    live = 0

    def malloc(self, size: int) -> None: ...

    def free_all_blocks(self) -> None: ...

    def used_bytes(self) -> int:
        return 0

    free_bytes = used_bytes


class OutOfMemoryError(MemoryError):
    """CuPy's."""


@contextmanager
def using_allocator(allocator: Any) -> Any:
    yield


def cupy_module() -> Any:
    """As much of CuPy as the adapter names."""
    cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        Device=Device,
        MemoryPool=MemoryPool,
        using_allocator=using_allocator,
        get_current_stream=lambda: Stream.current,
        get_elapsed_time=lambda start, stop: (stop.time - start.time) * 1e3,
        runtime=SimpleNamespace(getDeviceProperties=lambda number: {"name": b"emulated"}),
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    return SimpleNamespace(
        ndarray=Array,
        cuda=cuda,
        RawModule=RawModule,
        empty=empty,
        zeros=zeros,
        empty_like=lambda x: empty(x.shape, x.dtype),
        add=np.add,
        copyto=copyto,
        matmul=np.matmul,
        ascontiguousarray=lambda x: noted("copy", np.ascontiguousarray, (x,), {}),
        array=lambda x, dtype=None: np.array(plain(x), dtype=dtype).view(Array),
        asnumpy=lambda x: np.array(x.view(np.ndarray)),
        get_default_memory_pool=MemoryPool,
    )


class Namespace:
    """CuPy's array API namespace: NumPy's, with arrays of the imitated device."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(numpy_xp, name)
        if isinstance(found, type) or not callable(found):
            return found

        def function(*args: Any, device: Any = None, **options: Any) -> Any:
            made = found(*args, **options)
            return made if isinstance(made, Array) else wrapped(made)

        return function


def backend(lt: Any = None, precision: str = "float32", capture: bool = True) -> Any:
    """The CuPy adapter on the imitated device."""
    import sys
    from types import ModuleType

    from xpmlp_backends._cupy import CupyBackend

    if "cupyx.scipy.special" not in sys.modules:
        from scipy.special import erf

        for name in ("cupyx", "cupyx.scipy", "cupyx.scipy.special"):
            sys.modules.setdefault(name, ModuleType(name))
        sys.modules["cupyx.scipy.special"].erf = erf  # type: ignore[attr-defined]
    return CupyBackend(cupy_module(), Namespace(), DEVICE, lt or CublasLt(), precision, capture)
