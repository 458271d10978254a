"""Files of numbers that are read in groups of rows: .npy, Parquet, Arrow and Zarr.

Files are untrusted: nothing is unpickled, sizes are compared with headers, and what a reader raises
is a DataError with the name of the file.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.arrays.stored import HASHED, Mapped, group_rows, group_sizes
from xpmlp.data.dataset import Array, opened
from xpmlp.errors import DataError, require, short

SLICE_BYTES = 2**25
"""Bytes of the columns that are decoded at a time."""

TILE = 4096
"""Rows that are transposed at a time."""

MAGIC = b"ARROW1"
"""At both ends of a file of Arrow's, but not of a stream."""

PAGES = 64
"""Pages of 4 KiB, evenly spaced, that tell a file from others, besides its ends."""


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if type(error) is MemoryError:  # Arrow's own may be of a size that a damaged file claims
            raise
        raise DataError(
            f"{path}: cannot be read: {short(error) or type(error).__name__}; the file is "
            "truncated or altered, get it again"
        ) from error


class Numbers(ABC):
    """Columns of numbers in one file, or in several that follow each other.

    Attributes
    ----------
    name : str
    names : tuple of str
        Names of the columns; numbers from 0 where they have none.
    types : tuple of numpy.dtype
        Of each column; of objects where it holds no numbers.
    groups : ndarray
        Rows of each group.
    """

    names: tuple[str, ...]
    types: tuple[np.dtype[Any], ...]
    groups: Array

    def __init__(self, path: Path, files: Sequence[Path]) -> None:
        self.path, self.name, self._files = path, str(path), list(files)
        self._stamps = [self._stamp(file) for file in self._files]

    @abstractmethod
    def block(self, group: int, columns: Sequence[int]) -> Array:
        """Return columns of the rows of a group."""

    def row(self, group: int, row: int) -> int:
        """Return the number of a group's row in the file."""
        return int(self.groups[:group].sum()) + row

    @staticmethod
    def _stamp(file: Path) -> tuple[int, int]:
        found = file.stat()
        return found.st_size, found.st_mtime_ns

    def unchanged(self, place: int = 0) -> Path:
        """Return a file that nobody has written to since it was opened.

        Raises
        ------
        DataError
        """
        file = self._files[place]
        with blaming(file):
            found = self._stamp(file)
        if found != self._stamps[place]:
            raise DataError(
                f"{file}: found {found[0]:,} bytes, written since it was opened, when it had "
                f"{self._stamps[place][0]:,}; leave the file as it is while it is read, and open "
                "it again"
            )
        return file

    def identity(self) -> str:
        """Return sizes, and a hash of both ends and of some pages of each file."""
        digest = sha256(f"{self.groups.tolist()}".encode())
        for place, (size, _) in enumerate(self._stamps):
            with opened(self.unchanged(place)) as file:
                digest.update(f"{size}".encode() + file.read(HASHED))
                for start in np.linspace(0, max(size - 4096, 0), PAGES).astype(np.int64).tolist():
                    file.seek(start)
                    digest.update(file.read(4096))
                file.seek(max(size - HASHED, 0))
                digest.update(file.read())
        return digest.hexdigest()


class Selected:
    """Some of the columns, as ``StoredMatrix`` reads them."""

    def __init__(self, numbers: Numbers, columns: Sequence[int]) -> None:
        for column in columns:
            if numbers.types[column].kind not in "buif" or numbers.types[column].itemsize > 8:
                raise DataError(
                    f"{numbers.name}: found column {numbers.names[column]!r} of "
                    f"{short(numbers.types[column])}; expected numbers of 8 bytes or fewer. Choose "
                    "others with columns=, or read the table with xpmlp.data.load, which makes "
                    "numbers of text and dates"
                )
        self._numbers, self._chosen = numbers, list(columns)
        self.name, self.columns, self.groups = numbers.name, len(columns), numbers.groups
        self.dtype = np.result_type(*(numbers.types[column] for column in columns))
        self.identity = numbers.identity

    def read(self, group: int) -> Array:
        """Return the rows of a group."""
        return self._numbers.block(group, self._chosen)


class Npy(Numbers):
    """A matrix in a .npy file; what has more dimensions is flattened."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, [path])
        with opened(path) as file, blaming(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of altered headers, which are refused below
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0}
            read[2, 0] = np.lib.format.read_array_header_2_0
            if version not in read:
                raise DataError(f"{path}: found .npy version {version}, expected (1, 0) or (2, 0)")
            shape, by_columns, dtype = read[version](file)
            self._start = file.tell()
        claimed, found = prod(shape) * dtype.itemsize, self._stamps[0][0] - self._start
        if dtype.hasobject or dtype.names or len(shape) < 2 or not claimed:
            raise DataError(
                f"{path}: found an array of {short(dtype)} with shape {shape}; expected numbers, "
                "shape (n, columns)"
            )
        if by_columns and shape[1] > 1:
            raise DataError(
                f"{path}: found a matrix that lies column by column; expected rows. Write it "
                "again: np.save(path, np.ascontiguousarray(X))"
            )
        if claimed != found:
            what = "truncated" if found < claimed else "altered"
            raise DataError(
                f"{path}: found {found:,} bytes of numbers, expected {claimed:,} for shape {shape} "
                f"of {short(dtype)}; the file is {what}, get it again"
            )
        self._dtype, width = dtype, prod(shape[1:])
        self.names = tuple(map(str, range(width)))
        self.types = (dtype.newbyteorder("="),) * width
        self._each = group_rows(width * dtype.itemsize)
        self.groups = group_sizes(shape[0], self._each)

    def block(self, group: int, columns: Sequence[int]) -> Array:
        """Read some rows."""
        file, width = self.unchanged(), len(self.names)
        made = np.empty((int(self.groups[group]), width), self._dtype)
        with opened(file) as stream, blaming(file):
            stream.seek(self._start + group * self._each * width * self._dtype.itemsize)
            if stream.readinto(made.data.cast("B")) != made.nbytes:
                raise DataError(f"{file}: found fewer rows than before; the file is truncated")
        made = made.astype(self.types[0], copy=False)
        return made if len(columns) == width else made[:, columns]


class Parquet(Numbers):
    """A Parquet file, or all those in a folder, by their names."""

    def __init__(self, path: Path) -> None:
        pq = require("pyarrow.parquet", "large", f"reading {path}")
        files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        super().__init__(path, files)
        if not files:
            raise DataError(f"{path}: found no .parquet file in the folder; expected one at least")
        self._open, self._pq, self._now = pq.ParquetFile, pq, (-1, None)
        self._where: list[tuple[int, int]] = []
        sizes: list[int] = []
        schema: Any = None
        for place, file in enumerate(files):
            with blaming(file):
                found, about = self._of(place), self._of(place).metadata
            if schema is not None and not found.schema_arrow.equals(schema):
                raise DataError(
                    f"{file}: found other columns than in {files[0].name}; expected the same names "
                    "and types in each file"
                )
            schema = found.schema_arrow
            for group in range(about.num_row_groups):
                self._where.append((place, group))
                sizes.append(about.row_group(group).num_rows)
        self.groups = np.array(sizes, np.int64)
        self.names, self.types = named_types(path, schema)

    def _of(self, place: int) -> Any:
        """Return a file, open; the last one stays so."""
        if self._now[0] != place:
            self._now = place, self._open(self._files[place])
        return self._now[1]

    def block(self, group: int, columns: Sequence[int]) -> Array:
        """Decode some columns of a row group, some of them at a time."""
        place, number = self._where[group]
        rows, file = int(self.groups[group]), self.unchanged(place)
        width = max(SLICE_BYTES // max(8 * rows, 1), 1)
        names = [self.names[column] for column in columns]
        made = np.empty((rows, len(names)), np.result_type(*(self.types[c] for c in columns)))
        for start in range(0, len(names), width):
            with blaming(file):
                found = self._of(place).read_row_group(number, names[start : start + width])
            fill(made[:, start : start + width], found, self, group)
        return made


class Arrow(Numbers):
    """An Arrow stream, or a file of Arrow's (Feather): its record batches are the groups."""

    def __init__(self, path: Path) -> None:
        self._pa = require("pyarrow", "large", f"reading {path}")
        super().__init__(path, [path])
        with opened(path) as file:
            start = 8 if file.read(6) == MAGIC else 0  # a stream follows
            file.seek(max(self._stamps[0][0] - len(MAGIC), 0))
            if start and file.read() != MAGIC:
                raise DataError(f"{path}: found no end, the file is truncated; get it again")
        self._starts, sizes = list[int](), list[int]()
        with blaming(path), self._pa.memory_map(str(path)) as source:
            source.seek(start)
            self._schema = self._pa.ipc.read_schema(source)
            while (message := self._next(source)) is not None:
                self._starts.append(message[0])
                batch = self._pa.ipc.read_record_batch(message[1], self._schema)
                sizes.append(batch.num_rows)
        if not sum(sizes):
            raise DataError(f"{path}: found no rows, expected rows of numbers")
        self.groups = np.array(sizes, np.int64)
        self.names, self.types = named_types(path, self._schema)

    def _next(self, source: Any) -> tuple[int, Any] | None:
        """Return the next message and where it begins; None at the end of the stream."""
        at = source.tell()
        if source.read(8) in (b"", b"\xff\xff\xff\xff\0\0\0\0"):
            return None
        source.seek(at)
        return at, self._pa.ipc.read_message(source)

    def block(self, group: int, columns: Sequence[int]) -> Array:
        """Read some columns of a record batch."""
        file = self.unchanged()
        with blaming(file), self._pa.OSFile(str(file)) as source:
            source.seek(self._starts[group])
            message = self._pa.ipc.read_message(source)
            found = self._pa.ipc.read_record_batch(message, self._schema)
            found.validate()
        dtype = np.result_type(*(self.types[c] for c in columns))
        made = np.empty((found.num_rows, len(columns)), dtype)
        fill(made, found.select(list(columns)), self, group)
        return made


class Zarr(Numbers):
    """An array of Zarr's; its chunks of rows are the groups."""

    def __init__(self, path: Path, array: Any) -> None:
        super().__init__(path, [])
        if array.ndim != 2 or not prod(array.shape):
            raise DataError(f"{path}: found an array of shape {array.shape}; expected (n, columns)")
        least, width = group_rows(array.shape[1] * array.dtype.itemsize), array.shape[1]
        chunk = (array.shards or array.chunks)[0]
        self._mapped = Mapped(array, str(path), chunk * max(least // chunk, 1))
        self.groups, self.types = self._mapped.groups, (self._mapped.dtype,) * width
        self.names = tuple(map(str, range(width)))
        self.identity = self._mapped.identity  # type: ignore[method-assign]

    def block(self, group: int, columns: Sequence[int]) -> Array:
        """Read some rows."""
        with blaming(self.path):
            made = self._mapped.read(group)
        return made if len(columns) == made.shape[1] else made[:, columns]


def named_types(path: Path, schema: Any) -> tuple[tuple[str, ...], tuple[np.dtype[Any], ...]]:
    """Return names and NumPy's dtypes of Arrow's columns; that of objects for no numbers."""
    made = []
    with blaming(path):
        names = tuple(schema.names)
    for kind in schema.types:
        try:
            made.append(np.dtype(kind.to_pandas_dtype()))
        except (NotImplementedError, TypeError):
            made.append(np.dtype(object))
    return names, tuple(made)


def fill(made: Array, table: Any, numbers: Numbers, group: int) -> None:
    """Copy Arrow's columns into a matrix.

    Raises
    ------
    DataError
        For an empty cell.
    """
    arrays = []
    for name, column in zip(table.schema.names, table.columns, strict=True):
        if column.null_count:
            row = numbers.row(group, int(np.argmax(column.is_null().to_numpy(False))))
            raise DataError(
                f"{numbers.name}: found an empty cell in row {row}, column {name!r}; expected a "
                "number. Fill such cells, or read the table with xpmlp.data.load"
            )
        arrays.append(column.to_numpy(zero_copy_only=False))
    for start in range(0, len(made), TILE):  # five times faster than column by column
        tile = [array[start : start + TILE] for array in arrays]
        with np.errstate(invalid="ignore"):  # a NaN is found later
            made[start : start + TILE] = np.stack(tile).T
