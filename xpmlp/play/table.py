"""What a table that was sent has: its columns, and which is probably the label."""

from pathlib import Path
from typing import Any

from xpmlp.data import load
from xpmlp.data.table import Table
from xpmlp.data.tables import read_table
from xpmlp.errors import short

SUFFIXES = (".csv", ".tsv", ".txt", ".data", ".jsonl", ".ndjson")
"""Text only: what is packed may be of any size once it is unpacked."""

COLUMNS = 200
"""Most columns that the page lists."""


def about(path: Path) -> dict[str, Any]:
    """Return columns, label and number of rows of a table, for the page.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    data = load(path, test_fraction=0.0)
    frame = read_table(path)
    columns = []
    for name in frame.names[:COLUMNS]:
        others = [other for other in frame.names if other != name]
        (feature,) = Table().fit(frame.without(others)).features
        columns.append({"name": name, "kind": feature.kind, "example": short(feature.example, 40)})
    return {"columns": columns, "label": data.label[0], "rows": len(data.y)}
