"""Arrays from .npz files. Files are untrusted: nothing is unpickled, everything is checked.

Sizes are checked before memory is taken.
"""

import io
import math
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpmlp.data.dataset import Array, Content, PathLike, opened, require_finite
from xpmlp.data.labels import MAX_LABEL
from xpmlp.errors import DataError, short

MAX_NPZ_BYTES = 4 * 2**30
"""The largest total of the arrays that an .npz file may claim: 4 GiB."""

MAX_PART = 2**20
"""The largest list of members, and the largest single label, that an .npz file may have: 1 MiB."""

_NPZ_NAMES = {
    "X": ("X", "x_train"),
    "y": ("y", "y_train"),
    "X_test": ("X_test", "x_test"),
    "y_test": ("y_test",),
}


def read_npz(path: PathLike) -> Content:
    """Read an .npz file: X, y, X_test, y_test, or x_train, y_train, x_test, y_test.

    Only X is needed; other arrays are not read. X becomes (n, features) in the file's dtype:
    images of shape (n, height, width) are flattened. y is (n,), or (n, k) for k > 1 targets.

    Raises
    ------
    DataError
        If the file is broken or altered, an array would need unpickling, a header disagrees with
        the size of its data, the arrays are larger than `MAX_NPZ_BYTES` together, an array is
        missing or does not fit another, or an input is NaN or infinite.
    """
    path = Path(path)
    with opened(path) as file:
        arrays = _npz_arrays(file, str(path))
    if "X" not in arrays:
        raise DataError(f"{path}: found no array 'X' or 'x_train', expected one of them")
    if ("X_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path}: found one of 'X_test' and 'y_test', expected both or neither")
    X, image_shape = _inputs(arrays["X"], f"{path}: array 'X'")
    y = _labels(arrays["y"], len(X), f"{path}: array 'y'") if "y" in arrays else None
    if "X_test" not in arrays:
        return Content(X, y, _row_of(path, "y"), image_shape=image_shape)
    X_test, test_image_shape = _inputs(arrays["X_test"], f"{path}: array 'X_test'")
    if (X_test.dtype, X_test.shape[1], test_image_shape) != (X.dtype, X.shape[1], image_shape):
        raise DataError(
            f"{path}: array 'X_test': found {X_test.dtype} with shape {arrays['X_test'].shape}, "
            f"expected rows like those of 'X': {X.dtype} with shape {arrays['X'].shape}"
        )
    y_test = _labels(arrays["y_test"], len(X_test), f"{path}: array 'y_test'")
    if y is not None and y.shape[1:] != y_test.shape[1:]:
        raise DataError(
            f"{path}: array 'y_test': found shape {y_test.shape}, expected rows like those of "
            f"'y' with shape {y.shape}"
        )
    return Content(
        X, y, _row_of(path, "y"), X_test, y_test, _row_of(path, "y_test"), image_shape=image_shape
    )


def _row_of(path: Path, name: str) -> Callable[[int], str]:
    return lambda index: f"{path}: array {name!r}, index {index}"


class _InParts(io.BufferedReader):
    """A file that returns at most `MAX_PART` bytes at once, which bounds the list of members."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as usual; refuse more."""
        limit = MAX_PART + 1
        part = super().read(limit if size is None or size < 0 else min(size, limit))
        if len(part) == limit:
            raise DataError(
                f"{self.name}: found a list of members or a value larger than {MAX_PART} bytes; "
                "expected a few arrays of numbers or short text"
            )
        return part


def _npz_arrays(file: io.BufferedReader, source: str) -> dict[str, Array]:
    """Read the known arrays, under our names."""
    try:
        with _InParts(file) as parts, zipfile.ZipFile(parts) as archive:
            names = set(archive.namelist())
            members = {
                ours: archive.getinfo(f"{theirs}.npy")
                for ours, choices in _NPZ_NAMES.items()
                for theirs in choices
                if f"{theirs}.npy" in names
            }
            total = sum(member.file_size for member in members.values())
            if total > MAX_NPZ_BYTES:
                raise DataError(
                    f"{source}: found arrays of {total} bytes, expected at most {MAX_NPZ_BYTES}"
                )
            return {
                ours: _npz_member(archive, member, f"{source}: array {member.filename[:-4]!r}")
                for ours, member in members.items()
            }
    except DataError:
        raise
    except Exception as error:
        # An altered file makes zipfile, zlib and NumPy raise almost any type.
        raise DataError(
            f"{source}: not a valid .npz file: {short(error) or type(error).__name__}; write "
            "it again with numpy.savez"
        ) from error


def _npz_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> Array:
    """Read one array, after comparing its header with its size."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile does not limit how much a block of the other methods expands
        raise DataError(
            f"{source}: found compression method {member.compress_type}, expected stored or deflate"
        )
    with archive.open(member) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of altered headers, which are refused below
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):  # the others are for headers above 64 KiB and named fields
            raise DataError(f"{source}: found .npy version {version}, expected (1, 0)")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise DataError(
            f"{source}: found Python objects (dtype {short(dtype)}), which would have to be "
            "unpickled; expected numbers or text: convert the array before saving it"
        )
    claimed, actual = math.prod(shape) * dtype.itemsize, member.file_size - header
    if min(shape, default=0) < 1 or dtype.itemsize < 1 or claimed != actual:
        raise DataError(
            f"{source}: found {actual} bytes, expected {claimed} for the shape {shape} and dtype "
            f"{short(dtype)} of its header, and at least one value"
        )
    with archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _inputs(X: Array, source: str) -> tuple[Array, tuple[int, int] | None]:
    if X.dtype.kind not in "uif" or X.dtype.itemsize > 8:
        raise DataError(
            f"{source}: found dtype {short(X.dtype)}, expected integers or floats of <= 8 bytes"
        )
    if X.ndim not in (2, 3):
        raise DataError(
            f"{source}: found shape {X.shape}, expected (n, features) or (n, height, width)"
        )
    image_shape = (X.shape[1], X.shape[2]) if X.ndim == 3 else None
    rows = np.ascontiguousarray(X.reshape(len(X), -1), dtype=X.dtype.newbyteorder("="))
    require_finite(rows, lambda index: f"{source}, index {index}")
    return rows, image_shape


def _labels(y: Array, n: int, source: str) -> Array:
    if y.dtype.kind not in "buifUS" or (y.dtype.kind == "f" and y.dtype.itemsize > 8):
        raise DataError(
            f"{source}: found dtype {short(y.dtype)}, expected numbers, booleans or text"
        )
    if y.ndim not in (1, 2) or len(y) != n:
        raise DataError(f"{source}: found shape {y.shape}, expected ({n},), one per row of inputs")
    y = y.astype(y.dtype.newbyteorder("="), copy=False)
    if y.dtype.kind in "US":
        y = _text(y, source)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _text(y: Array, source: str) -> Array:
    """Check that every character is valid Unicode: Python fails on others in many places."""
    try:
        text = np.strings.decode(y, "utf-8") if y.dtype.kind == "S" else y
        # NumPy keeps text as UTF-32, without checking it
        np.ascontiguousarray(text).tobytes().decode(f"utf-32-{sys.byteorder[0]}e")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: found text that is not Unicode: {error.reason}") from error
    if (longest := np.strings.str_len(text).max()) > MAX_LABEL:
        raise DataError(
            f"{source}: found a label of {longest} characters, expected at most {MAX_LABEL}"
        )
    return text
