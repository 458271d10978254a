"""cuBLASLt imitated on the host: it takes addresses, descriptors and epilogues as the real one."""

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
from emulation import device

STORED = {0: np.float32, 1: np.float64, 14: np.uint16}


class Named(SimpleNamespace):
    def __getitem__(self, name: str) -> int:
        return getattr(self, name)


class CublasLtError(Exception):
    """nvmath's cuBLASLtError."""


class CublasLt:
    """``nvmath.bindings.cublasLt``: matrices lie column by column.

    As strict as the real one: an algorithm is for the alignment that was asked for, the last one
    that is listed splits k and so has no epilogue, a handle is for the device where it was made,
    and ReLU makes 0 of NaN.

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
    MatrixLayoutAttribute = Named(BATCH_COUNT=5, STRIDED_BATCH_OFFSET=6)
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
        return self._new(device.here.device)

    def get_version(self) -> int:
        return 130000

    def matmul_desc_create(self, compute: int, scale: int) -> int:
        assert (compute, scale) in ((68, 0), (77, 0), (70, 1))
        return self._new({"compute": compute})

    def matmul_desc_set_attribute(self, operation: int, name: int, buffer: int, size: int) -> None:
        assert size == {3: 4, 4: 4, 7: 4, 8: 8}[name]
        self.objects[operation][name] = int.from_bytes(ctypes.string_at(buffer, size), "little")

    def matrix_layout_create(self, kind: int, rows: int, columns: int, ld: int) -> int:
        return self._new([kind, rows, columns, ld, 1, 0])

    def matrix_layout_set_attribute(self, layout: int, name: int, buffer: int, size: int) -> None:
        assert size == {5: 4, 6: 8}[name]
        self.objects[layout][name - 1] = int.from_bytes(ctypes.string_at(buffer, size), "little")

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
        wishes = self.objects[preference]
        found["algo"]["data_"][:, 1:5] = [wishes[name] for name in (5, 6, 7, 8)]
        found["algo"]["data_"][-1, 5] = len(found) > 1  # splits k
        ctypes.memmove(results, found.ctypes.data, found.nbytes)
        ctypes.memmove(count, np.array([len(found)], np.int32).ctypes.data, 4)

    def matmul(
        self, handle: int, operation: int, alpha: int, a: int, a_layout: int, b: int,
        b_layout: int, beta: int, c: int, c_layout: int, d: int, d_layout: int, algorithm: int,
        workspace: int, size: int, stream: int,
    ) -> None:  # fmt: skip
        assert stream == device.current_stream().ptr
        assert workspace
        assert (c, c_layout) == (d, d_layout)
        described = dict(self.objects[operation])
        device.on_this_device("a handle", self.objects[handle])
        which, *alignments, splits = np.frombuffer(ctypes.string_at(algorithm, 48), "<u8").tolist()
        which -= 1
        if self.costs[which] == float("inf"):
            raise CublasLtError("CUBLAS_STATUS_INTERNAL_ERROR")
        if any(at % aligned for at, aligned in zip((a, b, c, d), alignments, strict=True)):
            raise CublasLtError("CUBLAS_STATUS_NOT_SUPPORTED: misaligned address")
        if splits and described[7] != 1:
            raise CublasLtError("CUBLAS_STATUS_NOT_SUPPORTED: an epilogue with split-K")
        (m, k), (depth, n) = (
            self._sides(layout, described[name]) for layout, name in ((a_layout, 3), (b_layout, 4))
        )
        batches = {self.objects[layout][4] for layout in (a_layout, b_layout, d_layout)}
        if len(batches) > 1 or (described[7] != 1 and batches != {1}):
            raise CublasLtError("CUBLAS_STATUS_NOT_SUPPORTED: batches")
        if k != depth or self._sides(d_layout, 0) != (m, n):
            raise CublasLtError("CUBLAS_STATUS_INVALID_VALUE: the sides do not fit")
        places = (a, a_layout, b, b_layout, d, d_layout)
        device.put("product", lambda: self._compute(described, which, *places))

    def _sides(self, layout: int, transposed: int) -> tuple[int, int]:
        """The rows and columns of a factor, or of the result."""
        _, rows, columns, ld, _, _ = self.objects[layout]
        if ld < rows:
            raise CublasLtError("CUBLAS_STATUS_INVALID_VALUE: a leading dimension below the rows")
        return (columns, rows) if transposed else (rows, columns)

    def _matrix(self, address: int, layout: int, number: int) -> Any:
        kind, rows, columns, ld, _, stride = self.objects[layout]
        dtype = np.dtype(STORED[kind])
        address += number * stride * dtype.itemsize
        raw = (ctypes.c_char * (ld * columns * dtype.itemsize)).from_address(address)
        return np.frombuffer(raw, dtype).reshape(columns, ld).T[:rows]

    @np.errstate(all="ignore")  # a GPU does not warn
    def _compute(
        self, described: Any, which: int, a: int, a_layout: int, b: int, b_layout: int, d: int,
        d_layout: int,
    ) -> None:  # fmt: skip
        self.calls.append(which)
        device.Clock.now += self.costs[which]
        for number in range(self.objects[d_layout][4]):
            self._one(described, number, a, a_layout, b, b_layout, d, d_layout)

    def _one(
        self, described: Any, number: int, a: int, a_layout: int, b: int, b_layout: int, d: int,
        d_layout: int,
    ) -> None:  # fmt: skip
        out = self._matrix(d, d_layout, number)
        factors = []
        for address, layout, transposed in (
            (a, a_layout, described[3]),
            (b, b_layout, described[4]),
        ):
            matrix = self._matrix(address, layout, number)
            matrix = self._factor(matrix, described["compute"])
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
                result = np.where(result > 0, result, 0) if epilogue == 6 else result
        out[...] = result

    @staticmethod
    def _factor(matrix: Any, compute: int) -> Any:
        if matrix.dtype == np.uint16:  # bfloat16: the upper half of a float32
            return (matrix.astype(np.uint32) << 16).view(np.float32)
        if compute == 77:  # TF32: ten bits of the mantissa
            bits = np.ascontiguousarray(matrix).view(np.uint32)
            return ((bits + 0xFFF + ((bits >> 13) & 1)) & 0xFFFFE000).view(np.float32)
        return matrix
