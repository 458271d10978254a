"""IDX, the format of the MNIST files, plain or gzip. Headers are checked before memory is taken.

A file is a magic number (two zero bytes, a type code, the number of dimensions), the dimensions
as big-endian 32-bit numbers, and the values. See http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from xpmlp.data.dataset import Array, PathLike, opened
from xpmlp.errors import DataError

MAX_BYTES = 4 * 2**30
"""The largest array that a header may claim: 4 GiB."""

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 8
_CHUNK = 2**20


def read_idx(path: PathLike) -> Array:
    """Read an IDX file, compressed with gzip or not (seen from its content, not its name).

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    ndarray
        The array with the dimensions of the header, in native byte order: uint8, int8, int16,
        int32, float32 or float64.

    Raises
    ------
    DataError
        If the file cannot be read, is not IDX, claims more than `MAX_BYTES`, is shorter or
        longer than its header says, or is broken gzip. Memory stays within twice the file's
        content, and within what its header claims.

    Examples
    --------
    >>> from pathlib import Path
    >>> size = Path("pixels").write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> xpmlp.data.read_idx("pixels")
    array([[7, 8, 9]], dtype=uint8)
    """
    with opened(path) as file, decompressed(file, str(path)) as stream:
        return parse_idx(stream, str(path))


def parse_idx(stream: BinaryIO, source: str) -> Array:
    """Read the one IDX array of a decompressed stream, as `read_idx`; `source` is its name."""
    dtype, shape = _read_header(stream, source)
    expected = math.prod(shape) * dtype.itemsize
    if expected > MAX_BYTES:
        raise DataError(
            f"{source}: the header claims {expected} bytes for shape {shape}, expected at most "
            f"{MAX_BYTES}"
        )
    # One byte more than expected shows that the file is longer.
    body = read_at_most(stream, expected + 1)
    if len(body) != expected:
        found = f"only {len(body)}" if len(body) < expected else "more"
        raise DataError(
            f"{source}: found {found} bytes of values, expected {expected} for shape {shape}; "
            "the file is truncated or altered, get it again"
        )
    values = np.frombuffer(body, dtype=dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: BinaryIO, source: str) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise DataError(
            f"{source}: not an IDX file: it begins with {magic.hex(' ') or 'nothing'}, expected "
            "00 00, a type code (08, 09, 0b to 0e) and the number of dimensions"
        )
    ndim = magic[3]
    if not 1 <= ndim <= _MAX_DIMENSIONS:
        raise DataError(f"{source}: found {ndim} dimensions, expected 1 to {_MAX_DIMENSIONS}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{source}: the file ends within its header of {4 + 4 * ndim} bytes")
    shape = struct.unpack(f">{ndim}I", sizes)
    if 0 in shape:
        raise DataError(f"{source}: found the empty shape {shape}, expected at least one value")
    return np.dtype(_TYPES[magic[2]]), shape


@contextmanager
def decompressed(file: BinaryIO, source: str) -> Iterator[BinaryIO]:
    """Yield `file`, or its decompressed content if it begins like gzip; errors as DataError."""
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not is_gzip:
        yield file
        return
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream  # type: ignore[misc]  # reads like a BinaryIO without being one
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{source}: broken gzip: {error}; the file is truncated or altered, get it again"
        ) from error


def read_at_most(stream: BinaryIO, limit: int) -> bytearray:
    """Read to the end or to `limit` bytes, in chunks: a false size costs no memory."""
    data = bytearray()
    while len(data) < limit:
        chunk = stream.read(min(_CHUNK, limit - len(data)))
        if not chunk:
            break
        data += chunk
    return data
