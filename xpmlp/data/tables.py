"""Tables of numbers from .npz and .csv files, checked so that no file can surprise.

Nothing is ever unpickled, sizes are checked before memory is taken, and whatever is wrong is a
`DataError` that names the file and the place.
"""

import csv
import itertools
import math
import sys
import warnings
import zipfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TextIO

import numpy as np

from xpmlp.data.dataset import Array, PathLike, Table, is_number, reading, require_finite, short
from xpmlp.errors import DataError

MAX_NPZ_BYTES = 4 * 2**30
"""The largest total of the arrays that an .npz file may claim: 4 GiB."""

MAX_LABEL = 256
"""The longest label text: a longer one is a column of prose, chosen by mistake."""

LABEL_NAMES = ("label", "target", "class", "y")
"""Names, in any case, by which a label column is recognised; the first that occurs wins."""

Choose = Callable[[tuple[str, ...] | None, int], tuple[list[int], int | None]]
"""Chooses, by column names (None without a header) and number of columns, the feature columns
and the label column (None for no label)."""

_NPZ_NAMES = {
    "X": ("X", "x_train"),
    "y": ("y", "y_train"),
    "X_test": ("X_test", "x_test"),
    "y_test": ("y_test",),
}


def read_npz(path: PathLike) -> Table:
    """Read an .npz file: X, y, X_test, y_test, or x_train, y_train, x_test, y_test.

    Parameters
    ----------
    path : str or path
        The file. Only X is needed; other arrays in it are not read.

    Returns
    -------
    Table
        X of shape (n, features) in the file's dtype; images of shape (n, height, width) are
        flattened. y of shape (n,), or (n, k) for k > 1 targets.

    Raises
    ------
    DataError
        If the file is broken or altered, an array would need unpickling, a header disagrees with
        the size of its data, the arrays are larger than `MAX_NPZ_BYTES` together, an array is
        missing or does not fit another, or an input is NaN or infinite.
    """
    path = Path(path)
    with reading(path), open(path, "rb") as file:
        arrays = _npz_arrays(file, str(path))
    if "X" not in arrays:
        raise DataError(f"{path}: found no array 'X' or 'x_train', expected one of them")
    if ("X_test" in arrays) != ("y_test" in arrays):
        raise DataError(f"{path}: found one of 'X_test' and 'y_test', expected both or neither")
    X, image_shape = _inputs(arrays["X"], f"{path}: array 'X'")
    y = _labels(arrays["y"], len(X), f"{path}: array 'y'") if "y" in arrays else None
    if "X_test" not in arrays:
        return Table(X, y, _row_of(path, "y"), image_shape=image_shape)
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
    return Table(
        X, y, _row_of(path, "y"), X_test, y_test, _row_of(path, "y_test"), image_shape=image_shape
    )


def _row_of(path: Path, name: str) -> Callable[[int], str]:
    return lambda index: f"{path}: array {name!r}, index {index}"


def _npz_arrays(file: IO[bytes], source: str) -> dict[str, Array]:
    """Read the arrays that we know, under our names."""
    try:
        with zipfile.ZipFile(file) as archive:
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
            f"{source}: not a sound .npz file: {short(error) or type(error).__name__}; write "
            "it again with numpy.savez"
        ) from error


def _npz_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: str) -> Array:
    """Read one array, after its header has been compared with its size."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile does not limit what one block of the other methods may expand to
        raise DataError(
            f"{source}: found compression method {member.compress_type}, expected stored or deflate"
        )
    with archive.open(member) as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about altered headers, which are refused below
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
    if min(shape, default=0) < 1 or claimed != actual:
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
    """Return text whose every character exists; Python fails on others in many places."""
    try:
        text = np.strings.decode(y, "utf-8") if y.dtype.kind == "S" else y
        # UTF-32 is how NumPy keeps text, without ever checking it
        np.ascontiguousarray(text).tobytes().decode(f"utf-32-{sys.byteorder[0]}e")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: found text that is not Unicode: {error.reason}") from error
    return text


def read_csv(path: PathLike, choose: Choose) -> Table:
    """Read numbers, and a column of labels, from a text file of comma-separated values.

    The file is UTF-8; cells are separated by comma, semicolon or tab (whichever occurs most in
    the first line) and may be quoted. The first row is a header if it has a name in a column
    whose second row is a number, a label column's name (not y), or no number at all. Blank lines
    are skipped.

    Parameters
    ----------
    path : str or path
        The file.
    choose : callable
        Chooses the columns; see `training_columns` and `evaluation_columns`.

    Returns
    -------
    Table
        X float64 of shape (n, features); y as text, or None.

    Raises
    ------
    DataError
        If the file cannot be read, is not UTF-8, has a NUL byte, no rows, a row of another length,
        an empty cell, an overlong cell, or a feature that is not a finite number. The message
        has the row (the line in the file, from 1) and the column (from 1).
    """
    path = Path(path)
    with reading(path), open(path, encoding="utf-8-sig", newline="") as file:
        try:
            return _parse_csv(file, path, choose)
        except UnicodeDecodeError:
            raise DataError(
                f"{path}: byte {_undecodable(path)} is not UTF-8; save the file as UTF-8"
            ) from None


def _undecodable(path: Path) -> int:
    """Find the first byte that is not UTF-8, from 0 (the decoder of the stream loses count)."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0  # the file was replaced meanwhile


def _parse_csv(file: TextIO, path: Path, choose: Choose) -> Table:
    records = _records(file, path)
    head = list(itertools.islice(records, 2))
    if not head:
        raise DataError(f"{path}: found no rows, expected rows of numbers")
    width = len(head[0][1])
    names = _header(head, path)
    columns, label = choose(names, width)
    values, labels, lines = array("d"), [], []
    for line, cells in itertools.chain(head[1:] if names else head, records):
        if len(cells) != width:
            raise DataError(
                f"{path}: row {line}: found {len(cells)} columns, expected {width} as in the "
                "first row; correct the row, and quote cells that contain the separator"
            )
        try:
            values.extend([float(cells[column]) for column in columns])
        except ValueError:
            column = next(c for c in columns if not is_number(cells[c]))
            raise _bad_cell(path, line, column, names, cells[column], "a number") from None
        if label is not None:
            text = cells[label].strip()
            if not 0 < len(text) <= MAX_LABEL:
                expected = f"a label of at most {MAX_LABEL} characters"
                raise _bad_cell(path, line, label, names, text, expected)
            labels.append(text)
        lines.append(line)
    if not lines:
        raise DataError(f"{path}: found a header and no rows after it, expected rows of numbers")
    X = np.frombuffer(values, dtype=np.float64).reshape(len(lines), len(columns))
    finite = np.isfinite(X)
    if not finite.all():
        row, k = divmod(int(np.argmin(finite)), len(columns))
        raise _bad_cell(path, lines[row], columns[k], names, str(X[row, k]), "a finite number")
    return Table(
        X,
        np.array(labels) if label is not None else None,
        lambda index: f"{path}: row {lines[index]}",
        features=tuple(names[column] for column in columns) if names else None,
    )


def _bad_cell(
    path: Path, line: int, column: int, names: tuple[str, ...] | None, text: str, expected: str
) -> DataError:
    name = f" ({short(names[column], 40)})" if names else ""
    found = repr(short(text, 40)) if text.strip() else "nothing"
    return DataError(
        f"{path}: row {line}, column {column + 1}{name}: found {found}, expected {expected}; "
        "correct the cell or remove the row"
    )


def _records(file: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line on which it begins, from 1."""
    first = next((line for line in _lines(file, path) if line.strip()), "")
    file.seek(0)
    separator = max(",;\t", key=lambda s: len(next(csv.reader([first], delimiter=s), [])))
    reader = csv.reader(_lines(file, path), delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}: row {line}: {error}; expected cells that are short, with matching quotes"
            ) from error
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield line, cells


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        if "\0" in line:
            raise DataError(
                f"{path}: row {number}: found a NUL character, expected text; is it a CSV file?"
            )
        yield line


def _header(head: list[tuple[int, list[str]]], path: Path) -> tuple[str, ...] | None:
    """Return the column names if the first row is a header, see `read_csv`."""
    line, first = head[0]
    second = head[1][1] if len(head) > 1 else []
    names = tuple(cell.strip() for cell in first)
    is_name = [not is_number(name) for name in names]
    over_number = any(a and is_number(b) for a, b in zip(is_name, second, strict=False))
    known = any(name.lower() in LABEL_NAMES[:-1] for name in names)  # "y" may well be a class
    if not (all(is_name) or over_number or known):
        return None
    for column, name in enumerate(names):
        if not name or name in names[:column]:
            found = f"the name {short(name, 40)!r} again" if name else "no name"
            raise DataError(
                f"{path}: row {line}, column {column + 1}: found {found}, expected names that "
                "differ (pandas writes its index as a column without a name unless index=False)"
            )
    return names


def training_columns(
    names: tuple[str, ...] | None, width: int, *, label: str | int | None, source: str
) -> tuple[list[int], int]:
    """Choose the label column, and all other columns as features.

    Parameters
    ----------
    names : tuple of str or None
        Column names, None without a header.
    width : int
        Number of columns.
    label : str, int or None
        The label column's name or number (from 0, or from the end with -1; as text, too, unless
        a column has that name). None: the first of `LABEL_NAMES` that occurs, else the last.
    source : str
        The file, for messages.

    Returns
    -------
    columns : list of int
        Feature columns, from 0.
    label : int
        Label column, from 0.

    Raises
    ------
    DataError
        If there is no such column, or only one column.
    """
    if width < 2:
        raise DataError(
            f"{source}: found one column, expected features and a label separated by comma, "
            "semicolon or tab"
        )
    column = _label_column(names, width, label, source)
    return [c for c in range(width) if c != column], column


def _label_column(
    names: tuple[str, ...] | None, width: int, label: str | int | None, source: str
) -> int:
    names = names or ()
    if label is None:
        lowered = [name.lower() for name in names]
        return next((lowered.index(n) for n in LABEL_NAMES if n in lowered), width - 1)
    if label in names:
        return names.index(str(label))
    try:
        number = int(label)
    except ValueError:
        number = width
    if not -width <= number < width:
        known = f" or one of the names {short(', '.join(names))}" if names else "; it has no header"
        raise DataError(
            f"{source}: found no label column {label!r}, expected a number from 0 to {width - 1}"
            f"{known}"
        )
    return number % width


def evaluation_columns(
    names: tuple[str, ...] | None,
    width: int,
    *,
    features: tuple[str, ...] | None,
    n_features: int | None,
    label: str | int | None,
    source: str,
) -> tuple[list[int], int | None]:
    """Choose the columns on which a model was trained, and the label column if there is one.

    Parameters
    ----------
    names, width, label, source
        As for `training_columns`.
    features : tuple of str or None
        The model's feature names: they are found by name, in any order, if the file has a header.
    n_features : int or None
        The model's number of features: a file of so many columns has no label.

    Returns
    -------
    columns : list of int
        Feature columns in the model's order.
    label : int or None
        Label column; None if the file has the features only.

    Raises
    ------
    DataError
        If a feature is missing, or it is not clear which of the other columns is the label.
    """
    if names is not None and features is not None:
        missing = [name for name in features if name not in names]
        if missing:
            raise DataError(
                f"{source}: found no column {short(', '.join(missing))}, expected the model's "
                f"features: {short(', '.join(features))}"
            )
        columns = [names.index(name) for name in features]
    else:
        expected = len(features) if features is not None else n_features
        if width == expected:
            return list(range(width)), None
        columns, column = training_columns(names, width, label=label, source=source)
        if expected is not None and width != expected + 1:
            raise DataError(
                f"{source}: found {width} columns, expected the model's {expected} features, or "
                f"{expected + 1} columns with a label"
            )
        return columns, column
    others = [column for column in range(width) if column not in columns]
    if not others:
        return columns, None
    if len(others) == 1 and label is None:
        return columns, others[0]
    column = _label_column(names, width, label, source)
    if column in columns:
        raise DataError(
            f"{source}: found the feature {names[column]} as label column, expected one of "
            f"{short(', '.join(names[other] for other in others))}: say which with --label"
        )
    return columns, column
