"""Which columns of a table are features, and which is the label."""

from collections.abc import Callable

from xpmlp.errors import DataError, short

LABEL_NAMES = ("label", "target", "class", "y")
"""Names, in any case, by which a label column is recognized; the first that occurs wins."""

Choose = Callable[[tuple[str, ...] | None, int], tuple[list[int], int | None]]
"""Chooses, by column names (None without a header) and number of columns, the feature columns
and the label column (None for no label)."""


def training_columns(
    names: tuple[str, ...] | None, width: int, *, label: str | int | None, source: str
) -> tuple[list[int], int]:
    """Choose the label column, and all other columns as features.

    `names` is None without a header; `source` is the file, for messages. `label` is the column's
    name or number (from 0, or from the end with -1; as text, too, unless a column has that name);
    None is the first of `LABEL_NAMES` that occurs, else the last. Raises a DataError if there is
    no such column, or only one column.
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
    """Choose the features of a trained model, in its order, and the label column or None.

    With a header the features are found by name; a file of `n_features` columns has no label.
    The other parameters are those of `training_columns`. Raises a DataError if a feature is
    missing, or it is not clear which other column is the label.
    """
    if names is not None and features is not None:
        place = {name: column for column, name in enumerate(names)}
        missing = [name for name in features if name not in place]
        if missing:
            raise DataError(
                f"{source}: found no column {short(', '.join(missing))}, expected the model's "
                f"features: {short(', '.join(features))}"
            )
        columns = [place[name] for name in features]
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
    others = sorted(set(range(width)) - set(columns))
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
