"""``Table``: columns of numbers, categories and dates become the numbers that a network takes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

import numpy as np

from xpmlp.arrays.checks import whole
from xpmlp.arrays.robust import robust, sampled, standardized
from xpmlp.data.dataset import Array
from xpmlp.data.encoding import encode
from xpmlp.data.features import (
    COMMON,
    Feature,
    Settings,
    feature_of,
    learned,
    lines_of,
    numbers_of,
    problem_of,
    refuse,
    statistics,
    times_of,
)
from xpmlp.data.frame import Frame, frame_of
from xpmlp.data.values import MISSING
from xpmlp.errors import DataError, InvalidTypeError, InvalidValueError, flag, short, unknown_name
from xpmlp.nn.tabular import BOUND

_SAID = {"categorical": "categorical", "numeric": "numeric", "drop": "dropped"}
SCALINGS = ("standard", "robust", "quartiles", None)


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
    scaling : {"standard", "robust", "quartiles", None}
        Of numbers: mean and standard deviation; median and interquartile range, which outliers
        move less; or none. ``"quartiles"`` is ``MLP(scaling="robust")``, of all inputs but codes.
    one_hot : int
        Most values of a category that have an input each.
    codes : bool
        Whether a category of more values is one input, a code for ``xpmlp.Embedding``: 1 and up
        for its values in their order, 0 for what is missing or new.

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
        one_hot: int = COMMON,
        codes: bool = False,
    ) -> None:
        if scaling not in SCALINGS:
            raise unknown_name("scaling", scaling, [str(name) for name in SCALINGS])
        said = {"categorical": categorical, "numeric": numeric, "drop": drop}
        for name, columns in said.items():
            if isinstance(columns, str) or not all(isinstance(c, str) for c in columns):
                raise InvalidTypeError(f"{name}: found {columns!r}; expected a list of names")
        self.settings = {name: list(columns) for name, columns in said.items()}
        self.scaling, self.one_hot, self.codes = scaling, whole("one_hot", one_hot), codes
        flag("codes", codes)
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
    def numbers(self) -> tuple[int, ...]:
        """Places of the inputs that are numbers, and parts of dates: what can be embedded.

        Examples
        --------
        >>> table = xpmlp.Table().fit({"sex": ["f", "m"], "age": [20.0, 30.0]})
        >>> table.inputs[2], table.numbers
        ('age', (2,))
        """
        return tuple(i for f, at in self._places() for i in range(at, at + f.measured))

    @property
    def categories(self) -> dict[int, int]:
        """Places of the inputs that are codes of categories, and how many codes each has.

        Examples
        --------
        >>> table = xpmlp.Table(one_hot=2, codes=True).fit({"town": ["Rome", "Oslo", "Bonn"] * 9})
        >>> table.categories
        {0: 4}
        >>> embedding = xpmlp.Embedding(columns=table.numbers, categories=table.categories)
        """
        return {at: len(f.levels) + 1 for f, at in self._places() if f.codes}

    def _places(self) -> list[tuple[Feature, int]]:
        """Return each feature with the place of its first input."""
        ends = np.cumsum([0, *(len(f.inputs) for f in self.features)]).tolist()
        return list(zip(self.features, ends, strict=False))

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
        settings = Settings(**self.settings, one_hot=self.one_hot, codes=self.codes)
        found = [learned(frame, name, settings) for name in frame.names]
        problems = [text for *_, problem in found for text in problem]
        self.features = tuple(feature for feature, *_ in found)
        refuse(problems)
        if not self.width:
            reasons = "; ".join(f"{f.name}: {f.note}" for f in self.features)
            raise InvalidValueError(f"found no column to learn from: {short(reasons, 300)}")
        made = [statistics(v, self.scaling) for _, measured, _ in found for v in measured.T]
        self.fill, self.shift, self.scale = np.array(made).reshape(-1, 3).T.copy()
        if self.scaling == "quartiles":
            self._scale_all(frame)
        return self

    def _scale_all(self, frame: Frame) -> None:
        """Learn the robust scaling of all inputs but codes from what they are unscaled."""
        plain = self._unscaled(frame)
        shift, scale = robust(plain[sampled(len(plain))], plain.min(axis=0), plain.max(axis=0))
        self.shift = np.where(self._coded, 0.0, shift)
        self.scale = np.where(self._coded, 1.0, scale)

    @property
    def _coded(self) -> Array:
        """Whether each input is a code."""
        return np.isin(np.arange(self.width), [*self.categories])

    def _unscaled(self, frame: Frame) -> Array:
        """Return the inputs of some rows as they are, float64."""
        made, none = np.empty((len(frame), self.width)), np.zeros(len(self.fill))
        numeric = self.settings["numeric"]
        encode(made, frame, self.features, (self.fill, none, none + 1.0), numeric)
        return made

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
            self._transformed(made[start : start + len(block)], block)
            start += len(block)
        return made

    def _transformed(self, made: Array, frame: Frame) -> None:
        """Write the inputs of some rows, scaled."""
        if self.scaling == "quartiles":
            clip = np.where(self._coded, 0.0, 1 / BOUND**2)
            made[...] = standardized(np, self._unscaled(frame), self.shift, self.scale, clip)
        else:
            by = self.fill, self.shift, self.scale
            encode(made, frame, self.features, by, self.settings["numeric"])

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

    @classmethod
    def of_numbers(cls, names: Sequence[str]) -> "Table":
        """Return a table of columns that are numbers already, to be left as they are."""
        made = cls(scaling=None)
        made.features = tuple(Feature(name, "number") for name in names)
        made.fill = np.full(len(names), np.nan)
        made.shift, made.scale = np.zeros(len(names)), np.ones(len(names))
        return made

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
        for each in config["features"]:  # as earlier versions wrote it, where nothing else is said
            if not each["codes"]:
                del each["codes"]
        if (self.one_hot, self.codes) != (COMMON, False):
            config |= {"one_hot": self.one_hot, "codes": self.codes}
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
        more = {name: config[name] for name in ("one_hot", "codes") if name in config}
        made = cls(**config["settings"], scaling=config["scaling"], **more)
        made.features = tuple(feature_of(each) for each in config["features"])
        count = sum(feature.measured for feature in made.features)
        for name in ("fill", "shift", "scale"):
            value = arrays[name]
            if made.scaling == "quartiles" and name == "shift":  # of all inputs, from here on
                count = made.width
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
