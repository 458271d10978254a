"""What a column of a table is: numbers, categories, dates, or nothing to learn from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpmlp.data.dataset import Array
from xpmlp.data.frame import Column, Frame
from xpmlp.data.values import MISSING, YES, dates, decimal_mark, numbers
from xpmlp.errors import DataError, InvalidValueError, short

COMMON = 9
"""Categories of a column that get an input each; all others share one."""


READABLE = 0.9
"""A column of which so many cells are numbers is one of numbers; the others are mistakes."""


MANY_WORDS = 5
"""Words of a cell, on average, from which on a column is text."""


PARTS = ("year", "month", "day of year", "weekday", "hour")
"""What a date becomes, as far as it varies."""


@dataclass(frozen=True)
class Settings:
    """What a person says about the columns; see ``Table``."""

    categorical: Sequence[str]
    numeric: Sequence[str]
    drop: Sequence[str]
    one_hot: int
    codes: bool


@dataclass(frozen=True)
class Feature:
    """What a column is, and the inputs it becomes.

    Attributes
    ----------
    name : str
    kind : {"number", "category", "yes/no", "date", "left out"}
    note : str
        For people: how it is read, or why it is left out.
    missing : int
        Training rows without a value.
    example : str
    levels : tuple of str
        Categories with an input of their own.
    other : bool
        Whether further categories share an input.
    parts : tuple of str
        Of a date.
    indicator : bool
        Whether an input says that the value is missing.
    form : str
        The decimal mark of numbers written as text.
    codes : bool
        Whether a category is one input, the number of its level.
    """

    name: str
    kind: str
    note: str = ""
    missing: int = 0
    example: str = ""
    levels: tuple[str, ...] = ()
    other: bool = False
    parts: tuple[str, ...] = ()
    indicator: bool = False
    form: str = "."
    codes: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs."""
        if self.kind == "left out":
            return ()
        if self.codes:
            return (self.name,)
        own = [self.name] if self.kind == "number" else []
        own += [f"{self.name}: {level}" for level in self.levels]
        own += [f"{self.name}: other"] * self.other + [f"{self.name}: {p}" for p in self.parts]
        return (*own, *([f"{self.name} is missing"] * self.indicator))

    @property
    def measured(self) -> int:
        """How many of the inputs are numbers, which are centred and scaled."""
        return 1 if self.kind == "number" else len(self.parts)


def said(f: Feature) -> str:
    """Return how a column is read, or why it is left out."""
    if f.kind == "left out" or f.note:
        return f.note
    if f.codes:
        return f"{len(f.levels)} values, as codes"
    if f.kind in ("category", "yes/no"):
        return f"{len(f.levels)} most frequent, and other" if f.other else f"{len(f.levels)} values"
    return ", ".join(f.parts)


def numbers_of(column: Column, mark: str) -> tuple[Array, Array]:
    """Return a column as numbers, NaN where it has none; and which cells should have had one."""
    if column.levels is None:
        if column.values.dtype.kind == "M":
            return np.full(len(column.values), np.nan), ~column.missing
        if column.full:
            return column.values, column.missing
        infinite = np.isinf(column.values)
        return np.where(infinite, np.nan, column.values), infinite
    values = np.array([*numbers(column.levels, mark), np.nan])[column.values]
    return values, np.isnan(values) & ~column.missing


def times_of(column: Column) -> tuple[Array, Array]:
    """Return a column as times, NaT where it has none; and which cells should have had one."""
    none = np.full(len(column.values), np.datetime64("NaT"), "datetime64[us]")
    if column.levels is None:
        if column.values.dtype.kind == "M":
            return column.values, np.zeros(len(none), bool)
        return none, ~column.missing
    made = dates(column.levels)
    if made is None:
        return _times_of_most(column, none)
    none = np.append(made[0], none[:1])[column.values]
    return none, np.zeros(len(none), bool)


def _times_of_most(column: Column, none: Array) -> tuple[Array, Array]:
    """Return the dates of a column in which some cells are none."""
    levels = column.levels or ()
    few = levels[:: -(-len(levels) // 8) or 1]
    if sum(dates([level]) is not None for level in few) < len(few) / 2:
        return none, ~column.missing
    good = [k for k, level in enumerate(levels) if dates([level])]
    made = dates([levels[k] for k in good])
    times = np.full(len(levels) + 1, np.datetime64("NaT"), "datetime64[us]")
    if made:
        times[good] = made[0]
    found = times[column.values]
    return found, np.isnat(found) & ~column.missing


def parts_of(times: Array, names: Sequence[str]) -> Array:
    """Return parts of dates as float64, shape (n, parts); NaN where there is no date."""
    days, years = times.astype("datetime64[D]"), times.astype("datetime64[Y]")
    numbered = days.astype(np.int64)
    made = {
        "year": years.astype(np.int64) + 1970,
        "month": times.astype("datetime64[M]").astype(np.int64) % 12 + 1,
        "day of year": numbered - years.astype("datetime64[D]").astype(np.int64) + 1,
        "weekday": (numbered + 3) % 7,  # Monday is 0: 1 January 1970 was a Thursday
        "hour": (times - days) / np.timedelta64(3_600_000_000, "us"),
    }
    parts = np.column_stack([made[name].astype(np.float64) for name in names])
    parts[np.isnat(times)] = np.nan
    return parts


ADVICE = (
    "correct them, or say what the column is: --numeric takes such cells for missing, "
    "--categorical makes categories of them, --drop leaves the column out"
)


def refuse(problems: Sequence[str], advice: str = ADVICE) -> None:
    """Raise a DataError with the problems of up to 20 columns, a line for each."""
    if not problems:
        return
    more = [f"{len(problems) - 20:,} more columns"] if len(problems) > 20 else []
    raise DataError(";\n".join([*problems[:20], *more, advice]))


def problem_of(bad: Array, column: Column, frame: Frame, name: str, expected: str) -> list[str]:
    """Return what is wrong with some cells, and the first place; nothing if all is right."""
    if not bad.any():
        return []
    first, count = int(bad.argmax()), int(bad.sum())
    others = f" (and {count - 1:,} more such cells)" if count > 1 else ""
    return [
        f"{frame.where(first)}, column {short(name, 40)}: found "
        f"{short(repr(column.text(first)), 40)}{others}, expected {expected}"
    ]


def number(
    name: str, values: Array, note: str, facts: dict[str, Any], rows: int, columns: int
) -> Feature:
    """Return a column of numbers; one that only numbers the rows is left out."""
    there = values[~np.isnan(values)] if facts["indicator"] else values
    if all((block == there[0]).all() for block in blocks(there)):
        if not facts["indicator"]:
            return Feature(name, "left out", "it has one value", **facts)
    elif len(there) == rows > 2 and columns > 1:
        low = name.lower()
        like_id = low in ("id", "index", "idx", "row") or low.endswith(("_id", " id", "-id"))
        like_id |= name.endswith(("Id", "ID"))
        nameless = low.startswith(("unnamed", "column ")) and np.ptp(there) < 2 * len(there)
        whole = (like_id or nameless) and bool((there == np.trunc(there)).all())
        if whole and len(np.unique(there)) == len(there):
            return Feature(name, "left out", "it numbers the rows", **facts)
    return Feature(name, "number", note, **facts)


def category(
    name: str, column: Column, facts: dict[str, Any], settings: Settings, whole: bool = False
) -> Feature:
    """Return a column of texts: its most frequent values; not what differs in every row."""
    most = settings.one_hot
    levels = column.levels or ()
    counts = np.bincount(column.values + 1, minlength=len(levels) + 1)[1:]
    there, distinct = int(counts.sum()), int((counts > 0).sum())
    if distinct == 1 and not facts["indicator"]:
        return Feature(name, "left out", "it has one value", **facts)
    if whole and distinct > COMMON:
        words = np.mean([len(level.split()) for level in levels[:1000]])
        if words >= MANY_WORDS:
            return Feature(name, "left out", "text of many words", **facts)
        if distinct >= 0.9 * there:
            return Feature(name, "left out", "it differs in every row", **facts)
    order = sorted(range(len(levels)), key=lambda k: (-counts[k], levels[k]))
    codes = settings.codes and distinct > most
    kept = sorted(levels[k] for k in order[: most if distinct > most and not codes else distinct])
    both = distinct == 2 and {YES.get(level.lower()) for level in kept} == {0, 1}
    kind = "yes/no" if both else "category"
    return Feature(name, kind, levels=tuple(kept), other=distinct > len(kept), codes=codes, **facts)


def written(column: Column, mark: str) -> str:
    """Return how numbers are written, if that is worth saying."""
    texts = " ".join((column.levels or ())[:1000])
    if "%" in texts:
        return "per cent"
    if any(sign in texts for sign in ("$", "€", "£", "USD", "EUR", "GBP", "CHF")):
        return "an amount of money"
    marks = {",", "'", "."} - {mark}
    return "in groups of thousands" if any(other in texts for other in marks) else ""


def blocks(values: Array) -> Iterator[Array]:
    """Yield values in parts that stay in a cache, and that a BLAS does not cut into threads."""
    yield from (values[start : start + 2**13] for start in range(0, len(values), 2**13))


def statistics(values: Array, scaling: str | None) -> tuple[float, float, float]:
    """Return the median of some numbers, their centre, and 1/their spread; NaN is none.

    Median and quartiles are those of up to 100,000 of them, evenly spaced.
    """
    least, most = values.min(), values.max()
    if np.isnan(least):
        return statistics(values[~np.isnan(values)], scaling)
    some = values[:: -(-len(values) // 100_000)]
    median = float(np.median(some))
    if scaling is None:
        return median, 0.0, 1.0
    # Of (x - middle)/half, so that no digits are lost to a large mean.
    middle, half = least / 2 + most / 2, most / 2 - least / 2
    unit = half if half > 0 else 1.0
    first = second = 0.0
    for block in blocks(values):
        small = (block - middle) / unit
        first, second = first + small.sum(), second + np.dot(small, small)
    first, second = first / len(values), second / len(values)
    center, spread = middle + unit * first, unit * np.sqrt(max(second - first**2, 0.0))
    if scaling == "robust":
        low, high = np.quantile(some, (0.25, 0.75))
        center, spread = median, (high - low) / 1.349 if high > low else spread
    if not spread > 16 * np.finfo(np.float64).eps * abs(center):
        spread = 1.0
    return median, float(center), float(1 / spread)


def learned(frame: Frame, name: str, settings: Settings) -> tuple[Feature, Array, list[str]]:
    """Return what a column is, its measured values, and what is wrong with it."""
    n, none = len(frame), np.zeros((len(frame), 0))
    column = frame.column(name).without(MISSING)
    missing = column.missing
    first, there = int(missing.argmin()), n - int(missing.sum())
    example = short(column.text(first), 30) if there else ""
    facts: dict[str, Any] = {"missing": n - there, "example": example}
    if name in settings.drop:
        return Feature(name, "left out", "as you said", **facts), none, []
    if not there:
        return Feature(name, "left out", "it is empty", **facts), none, []
    facts["indicator"] = there < n
    if name in settings.categorical:
        return category(name, column.as_texts(), facts, settings), none, []
    mark = decimal_mark(column.levels or ()) or frame.decimal
    values, bad = numbers_of(column, mark)
    share = 1 - bad.sum() / there
    numeric = name in settings.numeric
    if numeric and share == 0:
        raise InvalidValueError(f"numeric: column {name!r} has no numbers; leave it out")
    if numeric or share >= READABLE:
        facts |= {"form": mark, "missing": facts["missing"] + int(bad.sum())}
        facts["indicator"] = facts["missing"] > 0
        note = written(column, mark) + ("" if mark == "." else " with decimal commas")
        feature = number(name, values, note.strip(), facts, n, len(frame.names))
        problem = [] if numeric else problem_of(bad, column, frame, name, "a number")
        return feature, values[:, None] if feature.measured else none, problem
    times, bad = times_of(column)
    if 1 - bad.sum() / there >= READABLE:
        varying = tuple(
            p
            for p, v in zip(PARTS, parts_of(times, PARTS).T, strict=False)
            if np.nanmin(v) < np.nanmax(v)
        )
        if not varying:
            return Feature(name, "left out", "all dates are the same", **facts), none, []
        form = dates(list(column.levels or ()))
        facts |= {"parts": varying, "note": form[1] if form else ""}
        problem = problem_of(bad, column, frame, name, "a date")
        return Feature(name, "date", **facts), parts_of(times, varying), problem
    return category(name, column.as_texts(), facts, settings, whole=True), none, []


def feature_of(config: Mapping[str, Any]) -> Feature:
    """Make the feature that a file describes."""
    lists = {name: tuple(config[name]) for name in ("levels", "parts")}
    made = Feature(**{**config, **lists})
    texts = (made.name, made.kind, made.note, made.example, made.form, *made.levels, *made.parts)
    flags = (made.other, made.indicator, made.codes)
    if not all(isinstance(t, str) for t in texts) or not all(isinstance(f, bool) for f in flags):
        raise TypeError("table: a feature has an entry of the wrong type")
    kinds = ("number", "category", "yes/no", "date", "left out")
    if made.kind not in kinds or made.form not in (".", ",") or set(made.parts) - set(PARTS):
        raise ValueError(f"table: unknown kind {short(made.kind)}")
    return made


def lines_of(features: Sequence[Feature], width: int) -> list[str]:
    """Return a head and a line of ``width`` characters for each feature."""
    rows = [("column", "kind", "missing", "example", "")]
    for f in features:
        missing = f"{f.missing:,}" if f.missing else ""
        rows.append((short(f.name, 20), f.kind, missing, short(f.example, 18), said(f)))
    sizes = [max(len(row[k]) for row in rows) for k in range(4)]
    left = width - sum(sizes) - 8
    lines = []
    for row in rows:
        first = "  ".join(f"{text:<{size}}" for text, size in zip(row, sizes, strict=False))
        lines.append(f"{first}  {short(row[4], max(left, 12))}".rstrip())
    return lines
