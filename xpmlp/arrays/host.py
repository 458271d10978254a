"""Examples in an array: of NumPy on the host, or of the backend on its device."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np

from xpmlp.arrays.checks import all_finite, dtype_name
from xpmlp.arrays.dlpack import is_numpy_array
from xpmlp.arrays.moments import BLOCK_ROWS, merged, of_block
from xpmlp.arrays.robust import robust, sampled, standardized
from xpmlp.errors import InvalidValueError
from xpmlp.nn.contract import Array, Backend

BLOCK = 2**24
"""Most numbers in a block."""


class HostRows:
    """Examples in a NumPy array.

    Parameters
    ----------
    backend : Backend
        Where the model computes.
    array : ndarray or SparseMatrix, shape (n, columns)
    scaled : bool
        Whether the numbers are as the first layer takes them, so that no step scales them.
    """

    on_host: ClassVar[bool] = True

    def __init__(self, backend: Backend, array: Any, scaled: bool = False) -> None:
        self.backend, self.array, self.scaled = backend, array, scaled

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return dtype_name(self.array)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take when they are dense."""
        return int(self.array.nbytes)

    def take(self, indices: np.ndarray) -> "Rows":
        """Return some rows, which lie where these do."""
        return HostRows(self.backend, self.array[indices], self.scaled)

    def part(self, start: int, stop: int, size: int = 0) -> Array:
        """Return rows ``start`` to ``stop`` as a dense array on the device, of ``size`` rows.

        Rows of zeros follow where there are fewer.
        """
        host = self.array[start:stop]
        if size > len(host):
            some, host = host, np.zeros((size, *host.shape[1:]), host.dtype)
            host[: len(some)] = some
        return self.backend.asarray(host)

    def to_device(self) -> "Rows":
        """Return the same rows on the device."""
        return DeviceRows(self.backend, self.part(0, self.count), self.scaled)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each column's mean and standard deviation, float64, shape (columns,) each."""
        _, _, mean, deviation = self.statistics()
        return mean, deviation

    def statistics(self) -> np.ndarray:
        """Return each column's smallest and largest number, mean and standard deviation."""
        return merged(*self.partial(range(-(-self.count // BLOCK_ROWS))))

    def partial(self, blocks: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of some blocks of ``BLOCK_ROWS``, and their statistics.

        Several workers may each do some; ``merged`` makes the same of all blocks in their order.
        """
        starts = [block * BLOCK_ROWS for block in blocks]
        counts = [min(BLOCK_ROWS, self.count - start) for start in starts]
        return np.array(counts), np.stack([self._of_block(start) for start in starts])

    def quartiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each column's median, and the factor of robust scaling; see ``robust``."""
        low, high, *_ = self.statistics()
        return robust(self.sample(range(self.array.shape[1])), low, high)

    def sample(self, columns: Sequence[int]) -> np.ndarray:
        """Return columns of the rows that quantiles are taken of."""
        return self.take(np.arange(self.count)[sampled(self.count)]).columns(columns)

    def columns(self, which: Sequence[int]) -> np.ndarray:
        """Return some columns on the host, shape (n, columns)."""
        return np.asarray(self.array[:, list(which)])

    def standardized(
        self, shift: Any, scale: Any, dtype: str, clip: np.ndarray | None = None
    ) -> "Rows":
        """Return (x − shift) · scale, computed in float64 and then rounded to ``dtype``.

        Parameters
        ----------
        shift, scale : ndarray of float64, shape (columns,) or (1,)
        clip : ndarray of float64, shape (columns,), optional
            What ``smooth_clip`` then takes.
        """
        made = np.empty(self.array.shape, dtype)
        for start in range(0, self.count, BLOCK_ROWS):
            x = self.array[start : start + BLOCK_ROWS].astype(np.float64)
            with np.errstate(over="ignore"):
                made[start : start + BLOCK_ROWS] = standardized(np, x, shift, scale, clip)
        return HostRows(self.backend, made, scaled=True)

    def _of_block(self, start: int) -> np.ndarray:
        return of_block(np, self.array[start : start + BLOCK_ROWS].astype(np.float64))

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all numbers, on the host, some rows at a time."""
        yield from blocks(self.backend, self.array)

    def refuse_nonfinite(self, name: str, dtype: str) -> None:
        """Refuse NaN and infinity.

        Raises
        ------
        InvalidValueError
            With the first place.
        """
        if not self._is_finite():
            place, value = self._first_nonfinite()
            at = ", ".join(map(str, place))
            raise InvalidValueError(
                f"{name}: found {value} at {name}[{at}]; expected finite numbers within the range "
                f"of {dtype}. Remove or fill such rows first"
            )

    def _is_finite(self) -> bool:
        return all_finite(np, self.array.reshape(-1))

    def _first_nonfinite(self) -> tuple[tuple[int, ...], Any]:
        host = self.array if self.on_host else self.backend.to_numpy(self.array)
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
        return place, host[place]


class DeviceRows(HostRows):
    """Examples in an array of the backend's own."""

    on_host: ClassVar[bool] = False

    def take(self, indices: np.ndarray) -> "Rows":
        """Return some rows, on the device."""
        at = self.backend.asarray(indices.astype(np.int32))
        return DeviceRows(self.backend, self.backend.xp.take(self.array, at, axis=0), self.scaled)

    def part(self, start: int, stop: int, size: int = 0) -> Array:
        """Return rows ``start`` to ``stop``: a view where the library has them."""
        n, xp = stop - start, self.backend.xp
        found = self.array if n == self.count else self.array[start:stop, ...]
        if size <= n:
            return found
        rest = (size - n, *found.shape[1:])
        return xp.concat([found, xp.zeros(rest, dtype=found.dtype, device=self.backend.device)])

    def columns(self, which: Sequence[int]) -> np.ndarray:
        """Return some columns on the host."""
        at = self.backend.asarray(np.array(which, np.int32))
        return np.asarray(self.backend.to_numpy(self.backend.xp.take(self.array, at, axis=1)))

    def standardized(
        self, shift: Any, scale: Any, dtype: str, clip: np.ndarray | None = None
    ) -> "Rows":
        """Return it on the device; computed on the host if the device has no float64."""
        backend, xp = self.backend, self.backend.xp
        if "float64" not in backend.capabilities:
            return self._copied().standardized(shift, scale, dtype, clip).to_device()
        by = [
            None if a is None else backend.asarray(np.asarray(a), "float64")
            for a in (shift, scale, clip)
        ]
        parts = [
            xp.astype(
                standardized(xp, xp.astype(self._block(start), xp.float64), *by), getattr(xp, dtype)
            )
            for start in range(0, self.count, BLOCK_ROWS)
        ]
        return DeviceRows(backend, parts[0] if len(parts) == 1 else xp.concat(parts), scaled=True)

    def _of_block(self, start: int) -> np.ndarray:
        backend, xp, block = self.backend, self.backend.xp, self._block(start)
        if "float64" not in backend.capabilities:
            return of_block(np, np.asarray(backend.to_numpy(block)).astype(np.float64))
        return np.asarray(backend.to_numpy(of_block(xp, xp.astype(block, xp.float64))))

    def _block(self, start: int) -> Array:
        return self.array[start : min(start + BLOCK_ROWS, self.count), ...]

    def _copied(self) -> HostRows:
        return HostRows(self.backend, np.asarray(self.backend.to_numpy(self.array)))

    def _is_finite(self) -> bool:
        xp = self.backend.xp
        return all_finite(xp, xp.reshape(self.array, (-1,)))


Rows = HostRows
"""Examples of any kind."""


def blocks(backend: Backend, array: Any) -> Iterator[np.ndarray]:
    """Yield an array's numbers on the host, some rows at a time."""
    size = max(BLOCK // max(prod(array.shape[1:]), 1), 1)
    for start in range(0, array.shape[0], size):
        block = array[start : min(start + size, array.shape[0]), ...]
        yield block if is_numpy_array(block) else backend.to_numpy(block)
