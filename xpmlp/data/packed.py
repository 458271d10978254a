"""Packed files unpacked, and the encoding of text, before a table is read."""

import gzip
import shutil
import tempfile
import weakref
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from xpmlp.errors import DataError, short

MAX_BYTES = 64 * 2**30
"""The most bytes that a packed file may have once it is unpacked."""


def unpack(file: BinaryIO, path: Path, plain: Path) -> None:
    """Write the content of a packed file; link to one that is not packed."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as stream:
            _copy(stream, plain, path)
    elif start in (b"PK\x03\x04", b"PK\x05\x06"):  # the second is empty
        try:
            _unzip(file, path, plain)
        except (DataError, OSError, zipfile.BadZipFile):
            raise
        except Exception as error:  # encrypted, another method, and what damaged ones raise
            raise DataError(f"{path}: cannot be unpacked: {short(error)}") from error
    else:
        # A link, because DuckDB would take *, ? and [ in the name of the file for a pattern.
        try:
            plain.symlink_to(path.resolve())
        except (OSError, NotImplementedError):  # Windows allows links to few
            with plain.open("wb") as out:
                shutil.copyfileobj(file, out, 2**20)


def _unzip(file: BinaryIO, path: Path, plain: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
        if len(members) != 1:
            names = short(", ".join(member.filename for member in members))
            raise DataError(f"{path}: found {len(members)} files ({names}), expected one table")
        with archive.open(members[0]) as stream:
            _copy(stream, plain, path)


def _copy(stream: Any, plain: Path, path: Path) -> None:
    count = 0
    with plain.open("wb") as out:
        while chunk := stream.read(2**20):
            count += out.write(chunk)
            if count > MAX_BYTES:
                raise DataError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB")


def encoding_of(start: bytes) -> str | None:
    """Return the encoding of UTF-16; None for other text."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    half = len(start) // 2
    zeros = start[::2].count(0), start[1::2].count(0)
    return next(
        (e for e, n in zip(("utf-16-be", "utf-16-le"), zeros, strict=False) if n > 0.4 * half > 1),
        None,
    )


TEXT = (".csv", ".tsv", ".txt", ".data")


SUFFIXES = (*TEXT, ".parquet", ".jsonl", ".ndjson")


PACKED = (".gz", ".zip")
"""A packed file has both: ``.csv.gz``."""


def kind_of(path: Path) -> str | None:
    """Return the suffix of a table file, without that of the packing; None for other files."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


class Folder:
    """A temporary folder, removed when nothing holds it any more."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="xpmlp-")
        weakref.finalize(self, shutil.rmtree, self.name, ignore_errors=True)
