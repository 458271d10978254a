"""Packed tables, and text that is not UTF-8."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from xpmlp.data.packed import encoding_of, kind_of
from xpmlp.data.tables import read_table
from xpmlp.errors import DataError

TEXT = "a,b\n1,x\n2,y\n3,x\n"


def zipped(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__dot__", "."), content)
    return made.getvalue()


def encrypted(archive: bytes) -> bytes:
    """Set the flag of an encrypted member in the directory at the end."""
    changed, place = bytearray(archive), archive.index(b"PK\x01\x02")
    changed[place + 8] |= 1
    return bytes(changed)


PACKED = {
    "t.csv.gz": gzip.compress(TEXT.encode()),
    "t.csv": gzip.compress(TEXT.encode()),  # seen from the content
    "t.csv.zip": zipped(table__dot__csv=TEXT),
    "t.zip.csv": TEXT.encode(),
    "16.csv": TEXT.encode("utf-16"),
    "le.csv": TEXT.encode("utf-16-le"),
    "be.csv": TEXT.encode("utf-16-be"),
}


@pytest.mark.parametrize("name", PACKED)
def test_it_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(PACKED[name])
    frame = read_table(path)
    assert frame.columns["a"].values.tolist() == [1.0, 2.0, 3.0]
    assert [frame.columns["b"].text(k) for k in range(3)] == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped(a=TEXT, b=TEXT), "found 2 files (a, b), expected one table"),
        (zipped(), "found 0 files"),
        (PACKED["t.csv.gz"][:-6], "cannot be unpacked"),
        (PACKED["t.csv.zip"][:60], "cannot be unpacked"),
        (encrypted(PACKED["t.csv.zip"]), "cannot be unpacked"),
    ],
    ids=["two", "none", "gzip cut off", "zip cut off", "encrypted"],  # archives have the time
)
def test_it_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.data.packed.MAX_BYTES", 10)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(PACKED["t.csv.gz"])
    with pytest.raises(DataError, match="unpacks to more than"):
        read_table(path)


def test_kinds() -> None:
    names = {"a.csv": ".csv", "a.CSV.GZ": ".csv", "a.parquet": ".parquet", "a.b.tsv": ".tsv"}
    names |= {"a": None, "a.gz": None, "a.xlsx": None, "csv": None}
    assert {name: kind_of(Path(name)) for name in names} == names
    assert encoding_of(b"") is None
