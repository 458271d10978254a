"""Which columns of a table are labels, and how the columns of a new file are found."""

from collections.abc import Sequence

from xpmlp.data.frame import Frame
from xpmlp.errors import DataError, InvalidValueError, short

LABEL_NAMES = ("label", "target", "class", "y")
"""Names, in any case, by which a label column is recognized; the first that occurs wins."""

Label = str | int | Sequence[str | int] | None


def label_columns(names: Sequence[str], label: Label, source: str) -> tuple[tuple[str, ...], str]:
    """Return the names of the label columns, and why they are.

    Parameters
    ----------
    names : sequence of str
        Of all columns.
    label : str, int, or a list of them, optional
        Name, or number from 0, or with -1 from the end (as text, too, unless a column has that
        name). By default the first of `LABEL_NAMES` that occurs, else the last column.

    Raises
    ------
    DataError
        If there is no such column, or no other.
    """
    if len(names) < 2:
        raise DataError(
            f"{source}: found one column, expected features and a label, separated by comma, "
            "semicolon, tab, | or spaces"
        )
    if label is None:
        lowered = [name.lower() for name in names]
        known = next((name for name in LABEL_NAMES if name in lowered), None)
        if known is not None:
            return (names[lowered.index(known)],), "because of its name"
        return (names[-1],), "the last column; --label names another"
    given = [label] if isinstance(label, str | int) else list(label)
    found = tuple(dict.fromkeys(_named(names, each, source) for each in given))
    if not 0 < len(found) < len(names):
        raise DataError(f"{source}: found {len(found)} label columns of {len(names)}")
    return found, "as you said"


def refuse_label(label: Label, what: str) -> None:
    """Refuse a label column for what has none: InvalidValueError."""
    if label is not None:
        said = label[0] if isinstance(label, list) and len(label) == 1 else label
        raise InvalidValueError(
            f"label: found {said!r} for {what}; only tables have a label column, leave it out"
        )


def _named(names: Sequence[str], label: str | int, source: str) -> str:
    if label in names:
        return str(label)
    try:
        return names[int(label)]
    except (ValueError, IndexError):
        raise DataError(
            f"{source}: found no label column {label!r}, expected a number from 0 to "
            f"{len(names) - 1} or one of the names {short(', '.join(names), 200)}"
        ) from None


def named_alike(frame: Frame, columns: Sequence[str], label: Sequence[str], source: str) -> Frame:
    """Return a new file's columns with the names that they had in training.

    A header names them. Without one, or if training had none, they are found by place: all the
    columns of training, or all but the label.

    Parameters
    ----------
    columns : sequence of str
        All columns of the training file, in order.
    label : sequence of str
        Those of them that were labels.

    Raises
    ------
    DataError
        If there are more or fewer columns, without names to tell them apart.
    """
    named = any(not name.startswith("column ") for name in columns if name not in label)
    if frame.named and named:
        return frame
    alike = [list(columns), [name for name in columns if name not in label]]
    names = next((names for names in alike if len(names) == len(frame.names)), None)
    if names is None:
        raise DataError(
            f"{source}: found {len(frame.names)} columns without names, expected {len(columns)} as "
            f"in training, or {len(columns) - len(label)} without the label"
        )
    return frame.renamed(names)
