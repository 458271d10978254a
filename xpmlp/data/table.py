"""``Table``: columns of numbers, categories and dates become the numbers that a network takes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from xpmlp.data.dataset import Array
from xpmlp.data.features import (
    PARTS,
    READABLE,
    Feature,
    category,
    feature_of,
    lines_of,
    number,
    numbers_of,
    parts_of,
    problem_of,
    refuse,
    statistics,
    times_of,
    written,
)
from xpmlp.data.frame import Column, Frame, frame_of
from xpmlp.data.values import MISSING, dates, decimal_mark
from xpmlp.errors import DataError, InvalidTypeError, InvalidValueError, short, unknown_name

_SAID = {"categorical": "categorical", "numeric": "numeric", "drop": "dropped"}
NEW = "correct such cells, or leave them empty: then they are missing"
"""Advice about cells that are not what their column was in training."""
SCALINGS = ("standard", "robust", None)


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
    >>> X = {"age": [20.0, 30.0, None], "sex": ["f", "m", "f"]}
    >>> table = xpmlp.Table().fit(X)
    >>> table.inputs
    ('age', 'age is missing', 'sex: f', 'sex: m')
    >>> table.transform(X)
    array([[-1.,  0.,  1.,  0.],
           [ 1.,  0.,  0.,  1.],
           [ 0.,  1.,  1.,  0.]])
    >>> mlp = xpmlp.MLP([table.width, 8, 2], table=table, backend="numpy")
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
        """Names of the columns.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> table.names
        ('age', 'sex')
        """
        return tuple(feature.name for feature in self.features)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> table.inputs
        ('age', 'sex: f', 'sex: m')
        """
        return tuple(name for feature in self.features for name in feature.inputs)

    @property
    def width(self) -> int:
        """How many inputs there are.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> mlp = xpmlp.MLP([table.width, 16, 2], table=table, backend="numpy")
        """
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

        Returns
        -------
        Table
            The table itself.

        Raises
        ------
        DataError
            If cells of a column cannot be read; the message names all such columns.
        InvalidValueError
            If a column that was named is not there, or nothing can be learned from any.

        Examples
        --------
        >>> xpmlp.Table(categorical=["zone"]).fit({"zone": [1, 2, 1]}).inputs
        ('zone: 1', 'zone: 2')
        """
        frame = frame_of(X).sample()
        for name, columns in self.settings.items():
            for column in columns:
                if column not in frame.names:
                    raise unknown_name(f"column to be {_SAID[name]}", column, frame.names)
        found = [self._learned(frame, name) for name in frame.names]
        problems = [text for *_, problem in found for text in problem]
        self.features = tuple(feature for feature, *_ in found)
        refuse(problems)
        if not self.width:
            reasons = "; ".join(f"{f.name}: {f.note}" for f in self.features)
            raise InvalidValueError(f"found no column to learn from: {short(reasons, 300)}")
        made = [
            statistics(
                values[~np.isnan(values)] if np.isnan(values).any() else values, self.scaling
            )
            for _, measured, _ in found
            for values in measured.T
        ]
        self.fill, self.shift, self.scale = np.array(made).reshape(-1, 3).T.copy()
        return self

    def transform(self, X: Any, dtype: str = "float64") -> Array:
        """Return the inputs in ``dtype``, shape (n, width).

        Columns are found by name; others than those of ``fit`` are not looked at.

        Raises
        ------
        DataError
            If a column is missing, or a cell is not what its column was in training.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> table.transform({"sex": ["m"], "age": [25.0]})
        array([[0., 0., 1.]])
        """
        frame = frame_of(X)
        self.check(frame.names)
        made, start = frame.room(self.width, dtype), 0
        for block in frame.blocks():
            self._fill(made[start : start + len(block)], block)
            start += len(block)
        return made

    def check(self, names: Sequence[str], source: str = "X") -> None:
        """Refuse a table that lacks a column: DataError; ``source`` names it in the message.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> table.check(["age", "sex", "height"])
        """
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
            times, bad = times_of(column)
            refuse(problem_of(bad, column, frame, feature.name, "a date"), NEW)
            return parts_of(times, feature.parts)
        values, bad = numbers_of(column, feature.form)
        if feature.name not in self.settings["numeric"]:
            refuse(problem_of(bad, column, frame, feature.name, "a number"), NEW)
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
        first, there = int(missing.argmin()), n - int(missing.sum())
        example = short(column.text(first), 30) if there else ""
        facts: dict[str, Any] = {"missing": n - there, "example": example}
        if name in self.settings["drop"]:
            return Feature(name, "left out", "as you said", **facts), none, []
        if not there:
            return Feature(name, "left out", "it is empty", **facts), none, []
        facts["indicator"] = there < n
        if name in self.settings["categorical"]:
            return category(name, column.as_texts(), facts), none, []
        mark = decimal_mark(column.levels or ()) or frame.decimal
        values, bad = numbers_of(column, mark)
        share = 1 - bad.sum() / there
        numeric = name in self.settings["numeric"]
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
        return category(name, column.as_texts(), facts, whole=True), none, []

    def problems(self, X: Any) -> list[str]:
        """Return what is wrong with the cells of other rows: a line for each column.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> len(table.problems({"age": ["young", "31"], "sex": ["f", "m"]}))
        1
        """
        frame, found = frame_of(X), list[str]()
        for feature in self.features:
            if feature.measured and feature.name in frame.names:
                column = frame.sample().column(feature.name).without(MISSING)
                expected = "a date" if feature.kind == "date" else "a number"
                is_date = feature.kind == "date"
                _, bad = times_of(column) if is_date else numbers_of(column, feature.form)
                if is_date or feature.name not in self.settings["numeric"]:
                    found += problem_of(bad, column, frame, feature.name, expected)
        return found

    # Keeping

    def to_config(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what a model's file keeps: JSON, and arrays of float64.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> config, arrays = table.to_config()
        >>> config["scaling"], arrays["shift"]
        ('standard', array([25.]))
        """
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

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> xpmlp.Table.from_config(*table.to_config()) == table
        True
        """
        made = cls(**config["settings"], scaling=config["scaling"])
        made.features = tuple(feature_of(each) for each in config["features"])
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
        """Return what each column is, in lines of ``width`` characters.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"age": [20.0, 30.0], "sex": ["f", "m"]})
        >>> print(table.summary())
        column  kind      missing  example
        age     number             20
        sex     category           f        2 values
        """
        return "\n".join(lines_of(self.features, width))
