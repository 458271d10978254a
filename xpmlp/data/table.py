"""``Table``: columns of numbers, categories and dates become the numbers that a network takes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from xpmlp.data.dataset import Array
from xpmlp.data.frame import Column, Frame, frame_of
from xpmlp.data.values import MISSING, dates, decimal_mark, numbers
from xpmlp.errors import DataError, InvalidTypeError, InvalidValueError, short, unknown_name

COMMON = 9
"""Categories of a column that get an input each; all others share one."""

READABLE = 0.9
"""A column of which so many cells are numbers is one of numbers; the others are mistakes."""

MANY_WORDS = 5
"""Words of a cell, on average, from which on a column is text."""

SCALINGS = ("standard", "robust", None)

PARTS = ("year", "month", "day of year", "weekday", "hour")
"""What a date becomes, as far as it varies."""


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

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs."""
        if self.kind == "left out":
            return ()
        own = [self.name] if self.kind == "number" else []
        own += [f"{self.name}: {level}" for level in self.levels]
        own += [f"{self.name}: other"] * self.other + [f"{self.name}: {p}" for p in self.parts]
        return (*own, *([f"{self.name} is missing"] * self.indicator))

    @property
    def measured(self) -> int:
        """How many of the inputs are numbers, which are centred and scaled."""
        return 1 if self.kind == "number" else len(self.parts)


class Table:
    """Turns a mixed table into numbers; fitted on training rows, and kept in a model's file.

    A number is standardized in float64; where it is missing it is the median, and another input
    says so if it was missing in training. A category becomes an input for each of up to 9 values;
    of more, the 9 most frequent have one each and the others share one. A missing category is a
    category if it was one in training. One that training has not seen counts as "other", which is
    0 in all inputs where there is none. A date becomes year, month, day of year, weekday and hour,
    as far as they vary. Columns of one value, of text of many words, and of identifiers, which
    differ in every row, are left out.

    Parameters
    ----------
    categorical, numeric, drop : sequence of str
        Names of columns to be taken as categories (however they are written), as numbers (cells
        that are none count as missing), or left out.
    scaling : {"standard", "robust", None}
        Mean and standard deviation; median and interquartile range, which outliers move less; or
        none.

    Attributes
    ----------
    features : tuple of Feature
        Each column, once it is fitted.

    Examples
    --------
    >>> import xpmlp
    >>> table = xpmlp.Table().fit({"age": [20.0, 30.0, None], "sex": ["f", "m", "f"]})
    >>> table.inputs
    ('age', 'age is missing', 'sex: f', 'sex: m')
    """

    def __init__(
        self,
        *,
        categorical: Sequence[str] = (),
        numeric: Sequence[str] = (),
        drop: Sequence[str] = (),
        scaling: str | None = "standard",
    ) -> None:
        if scaling not in SCALINGS:
            raise unknown_name("scaling", scaling, [str(name) for name in SCALINGS])
        said = {"categorical": categorical, "numeric": numeric, "drop": drop}
        for name, columns in said.items():
            if isinstance(columns, str) or not all(isinstance(c, str) for c in columns):
                raise InvalidTypeError(f"{name}: found {columns!r}; expected a list of names")
        self.settings = {name: list(columns) for name, columns in said.items()}
        self.scaling = scaling
        self.features: tuple[Feature, ...] = ()
        self.fill = self.shift = self.scale = np.zeros(0)

    def __repr__(self) -> str:
        width = f", {self.width} inputs" if self.features else ", not fitted"
        return f"Table({len(self.features)} columns{width})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(feature.name for feature in self.features)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        return tuple(name for feature in self.features for name in feature.inputs)

    @property
    def width(self) -> int:
        """How many inputs there are."""
        return len(self.inputs)

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns that a reader should leave as they are spelled."""
        kinds = ("category", "yes/no")
        return (*self.settings["categorical"], *(f.name for f in self.features if f.kind in kinds))

    def fit(self, X: Any) -> Self:
        """Learn what the columns are.

        Parameters
        ----------
        X : data frame of pandas, polars or Arrow, or dict of columns

        Raises
        ------
        DataError
            If cells of a column cannot be read; the message names all such columns.
        InvalidValueError
            If a column that was named is not there, or nothing can be learned from any.
        """
        frame = frame_of(X).sample()
        for name, columns in self.settings.items():
            for column in columns:
                if column not in frame.names:
                    raise unknown_name(f"{name}: column", column, frame.names)
        found = [self._learned(frame, name) for name in frame.names]
        problems = [text for *_, problem in found for text in problem]
        self.features = tuple(feature for feature, *_ in found)
        if problems:
            raise DataError("\n".join(problems))
        if not self.width:
            reasons = "; ".join(f"{f.name}: {f.note}" for f in self.features)
            raise InvalidValueError(f"found no column to learn from: {short(reasons, 300)}")
        made = [
            _statistics(values[~np.isnan(values)], self.scaling)
            for _, measured, _ in found
            for values in measured.T
        ]
        self.fill, self.shift, self.scale = np.array(made).reshape(-1, 3).T.copy()
        return self

    def transform(self, X: Any, dtype: str = "float64") -> Array:
        """Return the inputs, shape (n, width).

        Columns are found by name; others than those of ``fit`` are not looked at.

        Raises
        ------
        DataError
            If a column is missing, or a cell is not what its column was in training.
        """
        frame = frame_of(X)
        self.check(frame.names)
        made, start = frame.room(self.width, dtype), 0
        for block in frame.blocks():
            self._fill(made[start : start + len(block)], block)
            start += len(block)
        return made

    def check(self, names: Sequence[str], source: str = "X") -> None:
        """Refuse a table that lacks a column: DataError."""
        used = [f.name for f in self.features if f.kind != "left out"]
        if lacking := [name for name in used if name not in names]:
            raise DataError(
                f"{source}: found no column {short(', '.join(map(repr, lacking)))}; expected "
                f"{short(', '.join(used), 200)}"
            )

    def _fill(self, made: Array, frame: Frame) -> None:
        """Write the inputs of some rows."""
        at = place = 0
        for feature in self.features:
            if feature.kind == "left out":
                continue
            column = frame.column(feature.name).without(MISSING)
            if n := feature.measured:
                values = self._measured(feature, column, frame)
                missing = np.isnan(values[:, 0])
                values = np.where(np.isnan(values), self.fill[place : place + n], values)
                shift, scale = self.shift[place : place + n], self.scale[place : place + n]
                with np.errstate(over="ignore"):
                    made[:, at : at + n] = (values - shift) * scale
                at, place = at + n, place + n
            else:
                column = column.as_texts()
                missing = column.values < 0
                known = {level: k for k, level in enumerate(feature.levels)}
                k = len(known) + feature.other
                to = [
                    known.get(text, k - 1 if feature.other else -1) for text in column.levels or ()
                ]
                codes = np.array([*to, -1], np.int32)[column.values]
                made[:, at : at + k] = codes[:, None] == np.arange(k)
                at += k
            if feature.indicator:
                made[:, at] = missing
                at += 1

    def _measured(self, feature: Feature, column: Column, frame: Frame) -> Array:
        """Return numbers or parts of dates, NaN where there is nothing, shape (n, k)."""
        if feature.kind == "date":
            times, bad = _times(column)
            _refuse(bad, column, frame, feature.name, "a date")
            return _parts(times, feature.parts)
        values, bad = _numbers(column, feature.form)
        if feature.name not in self.settings["numeric"]:
            _refuse(bad, column, frame, feature.name, "a number")
        return values[:, None]

    @classmethod
    def of_numbers(cls, names: Sequence[str]) -> "Table":
        """Return a table of columns that are numbers already, to be left as they are."""
        made = cls(scaling=None)
        made.features = tuple(Feature(name, "number") for name in names)
        made.fill = np.full(len(names), np.nan)
        made.shift, made.scale = np.zeros(len(names)), np.ones(len(names))
        return made

    # What a column is

    def _learned(self, frame: Frame, name: str) -> tuple[Feature, Array, list[str]]:
        """Return what a column is, its measured values, and what is wrong with it."""
        n, none = len(frame), np.zeros((len(frame), 0))
        column = frame.column(name).without(MISSING)
        missing = column.missing
        there = np.flatnonzero(~missing)
        example = short(column.text(int(there[0])), 30) if len(there) else ""
        facts: dict[str, Any] = {"missing": int(missing.sum()), "example": example}
        if name in self.settings["drop"]:
            return Feature(name, "left out", "as you said", **facts), none, []
        if not len(there):
            return Feature(name, "left out", "it is empty", **facts), none, []
        facts["indicator"] = bool(missing.any())
        if name in self.settings["categorical"]:
            return _category(name, column.as_texts(), facts), none, []
        mark = decimal_mark(column.levels or ()) or frame.decimal
        values, bad = _numbers(column, mark)
        share = 1 - bad.sum() / len(there)
        numeric = name in self.settings["numeric"]
        if numeric and share == 0:
            raise InvalidValueError(f"numeric: column {name!r} has no numbers; leave it out")
        if numeric or share >= READABLE:
            facts |= {"missing": int(np.isnan(values).sum()), "form": mark}
            facts["indicator"] = facts["missing"] > 0
            note = _written(column, mark) + ("" if mark == "." else " with decimal commas")
            feature = _number(name, values, note.strip(), facts, n, len(frame.names))
            problem = [] if numeric else _problem(bad, column, frame, name, "a number")
            return feature, values[:, None] if feature.measured else none, problem
        times, bad = _times(column)
        if 1 - bad.sum() / len(there) >= READABLE:
            varying = tuple(
                p
                for p, v in zip(PARTS, _parts(times, PARTS).T, strict=False)
                if np.nanmin(v) < np.nanmax(v)
            )
            if not varying:
                return Feature(name, "left out", "all dates are the same", **facts), none, []
            form = dates(list(column.levels or ()))
            facts |= {"parts": varying, "note": form[1] if form else ""}
            problem = _problem(bad, column, frame, name, "a date")
            return Feature(name, "date", **facts), _parts(times, varying), problem
        return _category(name, column.as_texts(), facts, whole=True), none, []

    # Keeping

    def to_config(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what a model's file keeps: JSON, and arrays of float64."""
        config: dict[str, Any] = {"settings": self.settings, "scaling": self.scaling}
        config["features"] = [asdict(feature) for feature in self.features]
        return json.loads(json.dumps(config)), {
            name: np.asarray(getattr(self, name), np.float64) for name in ("fill", "shift", "scale")
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], arrays: Mapping[str, Array]) -> "Table":
        """Make the table that a file describes; the file is checked.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it does not make sense.
        """
        made = cls(**config["settings"], scaling=config["scaling"])
        made.features = tuple(_feature(each) for each in config["features"])
        count = sum(feature.measured for feature in made.features)
        for name in ("fill", "shift", "scale"):
            value = arrays[name]
            if value.dtype != np.float64 or value.shape != (count,) or not np.isfinite(value).all():
                raise ValueError(f"table.{name}: found {value.dtype} of shape {value.shape}")
            setattr(made, name, value)
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Table):
            return NotImplemented
        return repr(self.to_config()) == repr(other.to_config())

    __hash__ = object.__hash__

    def summary(self, width: int = 80) -> str:
        """Return what each column is, in lines of ``width`` characters."""
        rows = [("column", "kind", "missing", "example", "")]
        for f in self.features:
            missing = f"{f.missing:,}" if f.missing else ""
            rows.append((short(f.name, 20), f.kind, missing, short(f.example, 18), _said(f)))
        sizes = [max(len(row[k]) for row in rows) for k in range(4)]
        left = width - sum(sizes) - 8
        lines = []
        for row in rows:
            first = "  ".join(f"{text:<{size}}" for text, size in zip(row, sizes, strict=False))
            lines.append(f"{first}  {short(row[4], max(left, 12))}".rstrip())
        return "\n".join(lines)


def _said(f: Feature) -> str:
    if f.kind == "left out" or f.note:
        return f.note
    if f.kind in ("category", "yes/no"):
        return f"{len(f.levels)} most frequent, and other" if f.other else f"{len(f.levels)} values"
    return ", ".join(f.parts)


def _numbers(column: Column, mark: str) -> tuple[Array, Array]:
    """Return a column as numbers, NaN where it has none; and which cells should have had one."""
    if column.levels is None:
        if column.values.dtype.kind == "M":
            return np.full(len(column.values), np.nan), ~column.missing
        infinite = np.isinf(column.values)
        if not infinite.any():
            return column.values, infinite
        return np.where(infinite, np.nan, column.values), infinite
    values = np.array([*numbers(column.levels, mark), np.nan])[column.values]
    return values, np.isnan(values) & ~column.missing


def _times(column: Column) -> tuple[Array, Array]:
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
    few = levels[:: -(-len(levels) // 20) or 1]
    if sum(dates([level]) is not None for level in few) < READABLE * len(few):
        return none, ~column.missing
    good = [k for k, level in enumerate(levels) if dates([level])]
    made = dates([levels[k] for k in good])
    times = np.full(len(levels) + 1, np.datetime64("NaT"), "datetime64[us]")
    if made:
        times[good] = made[0]
    found = times[column.values]
    return found, np.isnat(found) & ~column.missing


def _parts(times: Array, names: Sequence[str]) -> Array:
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


def _refuse(bad: Array, column: Column, frame: Frame, name: str, expected: str) -> None:
    if problem := _problem(bad, column, frame, name, expected):
        raise DataError(problem[0])


def _problem(bad: Array, column: Column, frame: Frame, name: str, expected: str) -> list[str]:
    """Return what is wrong with some cells, the first place, and what would help."""
    if not bad.any():
        return []
    first, count = int(bad.argmax()), int(bad.sum())
    others = f" (and {count - 1:,} more such cells)" if count > 1 else ""
    return [
        f"{frame.where(first)}, column {short(name, 40)}: found "
        f"{short(repr(column.text(first)), 40)}{others}, expected {expected}; correct it, or say "
        f"what the column is: --numeric {short(name, 40)!r} takes such cells for missing, "
        f"--categorical for categories, and --drop leaves the column out"
    ]


def _number(
    name: str, values: Array, note: str, facts: dict[str, Any], rows: int, columns: int
) -> Feature:
    """Return a column of numbers; one that only numbers the rows is left out."""
    there = values[~np.isnan(values)]
    if there[0] == there.min() == there.max():
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


def _category(name: str, column: Column, facts: dict[str, Any], whole: bool = False) -> Feature:
    """Return a column of texts: its most frequent values; not what differs in every row."""
    levels = column.levels or ()
    counts = np.bincount(column.values[column.values >= 0], minlength=len(levels))
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
    kept = sorted(levels[k] for k in order[: COMMON if distinct > COMMON else distinct])
    kind = "yes/no" if distinct == 2 and {level.lower() for level in kept} in _YES else "category"
    return Feature(name, kind, levels=tuple(kept), other=distinct > COMMON, **facts)


_YES = ({"yes", "no"}, {"true", "false"}, {"t", "f"}, {"y", "n"}, {"ja", "nein"}, {"on", "off"})


def _written(column: Column, mark: str) -> str:
    """Return how numbers are written, if that is worth saying."""
    texts = " ".join((column.levels or ())[:1000])
    if "%" in texts:
        return "per cent"
    if any(sign in texts for sign in ("$", "€", "£", "USD", "EUR", "GBP", "CHF")):
        return "an amount of money"
    marks = {",", "'", "."} - {mark}
    return "in groups of thousands" if any(other in texts for other in marks) else ""


def _statistics(values: Array, scaling: str | None) -> tuple[float, float, float]:
    """Return the median of some numbers, their centre, and 1/their spread."""
    low, median, high = (
        np.quantile(values, (0.25, 0.5, 0.75))
        if scaling == "robust"
        else (0.0, np.median(values), 0.0)
    )
    if scaling is None:
        return float(median), 0.0, 1.0
    # Of (x - middle)/half, so that no digits are lost to a large mean.
    least, most = values.min(), values.max()
    middle, half = least / 2 + most / 2, most / 2 - least / 2
    unit = half if half > 0 else 1.0
    small = (values - middle) / unit
    center, spread = middle + unit * small.mean(), unit * small.std()
    if scaling == "robust":
        center, spread = median, (high - low) / 1.349 if high > low else spread
    if not spread > 16 * np.finfo(np.float64).eps * abs(center):
        spread = 1.0
    return float(median), float(center), float(1 / spread)


def _feature(config: Mapping[str, Any]) -> Feature:
    """Make the feature that a file describes."""
    lists = {name: tuple(config[name]) for name in ("levels", "parts")}
    made = Feature(**{**config, **lists})
    texts = (made.name, made.kind, made.note, made.example, made.form, *made.levels, *made.parts)
    flags = (made.other, made.indicator)
    if not all(isinstance(t, str) for t in texts) or not all(isinstance(f, bool) for f in flags):
        raise TypeError("table: a feature has an entry of the wrong type")
    kinds = ("number", "category", "yes/no", "date", "left out")
    if made.kind not in kinds or made.form not in (".", ",") or set(made.parts) - set(PARTS):
        raise ValueError(f"table: unknown kind {short(made.kind)}")
    return made
