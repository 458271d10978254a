"""Embeddings of inputs: numbers and categories become several numbers each, before the first layer.

``Embedding`` says which inputs are what; ``embed`` makes a layer of it. Its output has the inputs
that stay as they are, then those of the embedded numbers, then those of the categories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

from xpmlp.errors import InvalidTypeError, InvalidValueError, short, unknown_name
from xpmlp.nn.functions import Array, one_hot
from xpmlp.nn.layers import Backward, Grads, Layer, Params, Pass
from xpmlp.nn.numeric import Part, normal, periodic, piecewise

NUMBERS = ("pbld", "piecewise", None)
"""Every embedding of numbers."""

FEW = 8
"""Most arrays that are joined at once."""


class Column(NamedTuple):
    """An input that holds a category: its place, and how many codes there are."""

    place: int
    codes: int


@dataclass(frozen=True, init=False)
class Embedding:
    """How a network takes its inputs: ``MLP(embedding=...)``.

    A number can become several, each a function of it alone that is learned:

    - ``"pbld"``, of RealMLP (Holzmüller et al. 2024): x itself, and V cos(2π w x + b) + c with
      ``frequencies`` w, drawn from a normal distribution of deviation ``sigma``. w, b, V and c are
      learned for each number.
    - ``"piecewise"`` (Gorishniy et al. 2022; the form of TabM, 2025): a x + b + V v, where v says
      which share of each bin lies below x. The bins have equally many rows of the first training
      data; V starts at 0.

    A category is a whole number, a code, and becomes a row of a table that is learned.

    Parameters
    ----------
    numbers : {"pbld", "piecewise", None}
        What numbers become. None leaves them as they are.
    columns : sequence of int, optional
        The inputs that are such numbers; by default all that are not categories. The others stay
        as they are.
    categories : mapping of int to int
        The inputs that are categories, and how many codes each has: ``{3: 12}`` for codes 0 to 11
        in the fourth column.
    size : int
        Outputs of each category.
    outputs : int
        Outputs of each number: with ``"pbld"``, x itself is one of them.
    frequencies : int
        Cosines of each number.
    sigma : float
        Standard deviation of the first w. 1/σ is about the distance on which a function can vary.
    bins : int
        Bins of each number, at most: equal ones are joined.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For arguments that cannot work, with the fix.

    Examples
    --------
    >>> embedding = xpmlp.Embedding("pbld", columns=[0, 1], categories={3: 12})
    >>> embedding.width(4)  # 2 numbers of 4 outputs, an input as it is, a category of 8
    17
    >>> mlp = xpmlp.MLP([4, 32, 2], embedding=embedding, backend="numpy")
    >>> mlp.parameters["category3.E"].shape
    (12, 8)
    """

    numbers: str | None
    columns: tuple[int, ...] | None
    categories: tuple[Column, ...]
    size: int
    outputs: int
    frequencies: int
    sigma: float
    bins: int

    def __init__(
        self,
        numbers: str | None = "pbld",
        *,
        columns: Sequence[int] | None = None,
        categories: Mapping[int, int] | Sequence[tuple[int, int]] = (),
        size: int = 8,
        outputs: int = 4,
        frequencies: int = 16,
        sigma: float = 0.1,
        bins: int = 48,
    ) -> None:
        if numbers not in NUMBERS:
            raise unknown_name("numbers", numbers, map(str, NUMBERS))
        pairs = categories.items() if isinstance(categories, Mapping) else categories
        least = {"size": 1, "outputs": 1 + (numbers == "pbld"), "frequencies": 1, "bins": 1}
        given = {"size": size, "outputs": outputs, "frequencies": frequencies, "bins": bins}
        values: dict[str, Any] = {n: _whole(n, value, least[n]) for n, value in given.items()}
        if not isinstance(sigma, int | float) or not 0 < sigma < 1e9:
            raise InvalidValueError(f"sigma: found {sigma!r}; expected a positive number")
        try:
            chosen = None if columns is None else sorted(_whole("columns", c) for c in columns)
            coded = sorted(
                Column(_whole("categories", c), _whole("categories", k, 1)) for c, k in pairs
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, InvalidValueError):
                raise
            raise InvalidTypeError(
                f"embedding: found columns={short(repr(columns))}, categories="
                f"{short(repr(categories))}; expected indices of inputs, and a dict of index to "
                "number of codes"
            ) from error
        places = [*(chosen or ()), *(column.place for column in coded)]
        if len(set(places)) < len(places):
            twice = next(c for c in places if places.count(c) > 1)
            raise InvalidValueError(f"embedding: input {twice} is there twice, as what it is once")
        values |= {"numbers": numbers, "sigma": float(sigma), "categories": tuple(coded)}
        values["columns"] = None if chosen is None else tuple(chosen)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def to_config(self) -> dict[str, Any]:
        """Return its arguments, as JSON, for model files.

        Examples
        --------
        >>> xpmlp.Embedding(None, categories={0: 5}).to_config()["categories"]
        [[0, 5]]
        """
        names = ("numbers", "size", "outputs", "frequencies", "sigma", "bins")
        config: dict[str, Any] = {name: getattr(self, name) for name in names}
        config["columns"] = None if self.columns is None else list(self.columns)
        config["categories"] = [list(column) for column in self.categories]
        return config

    def embedded(self, inputs: int) -> tuple[int, ...]:
        """Return which of so many inputs are numbers that are embedded.

        Examples
        --------
        >>> xpmlp.Embedding(categories={1: 5}).embedded(3)
        (0, 2)
        """
        last = max([*(self.columns or ()), *(c.place for c in self.categories)], default=0)
        if last >= inputs:
            raise InvalidValueError(
                f"embedding: found input {last}; the network has {inputs}, 0 to {inputs - 1}"
            )
        if self.numbers is None:
            return ()
        if self.columns is not None:
            return self.columns
        coded = {column.place for column in self.categories}
        return tuple(i for i in range(inputs) if i not in coded)

    def kept(self, inputs: int) -> tuple[int, ...]:
        """Return which of so many inputs are outputs, too.

        Examples
        --------
        >>> xpmlp.Embedding("piecewise", columns=[0], categories={1: 5}).kept(3)
        (2,)
        """
        gone = {column.place for column in self.categories}
        gone |= set(self.embedded(inputs)) if self.numbers == "piecewise" else set()
        return tuple(i for i in range(inputs) if i not in gone)

    def width(self, inputs: int) -> int:
        """Return how many numbers become of so many inputs.

        Examples
        --------
        >>> xpmlp.Embedding("pbld").width(3)
        12
        """
        return len(self.kept(inputs)) + self._made(inputs) + self.size * len(self.categories)

    def _made(self, inputs: int) -> int:
        """Return how many outputs the embedded numbers have besides themselves."""
        return len(self.embedded(inputs)) * (self.outputs - (self.numbers == "pbld"))


def _whole(name: str, value: Any, least: int = 0) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if isinstance(value, bool) or number != value or not least <= number < 2**31:
        raise InvalidValueError(
            f"embedding, {name}: found {short(repr(value))}; expected a whole number of {least} or "
            "more"
        )
    return number


def embed(spec: Embedding, inputs: int, networks: int | None = None) -> Layer:
    """Return the layer of an embedding, from (n, inputs) to (n, spec.width(inputs)).

    Inputs are taken as runs of neighbours, which are views. A category has the gradient 0.

    Parameters
    ----------
    spec : Embedding
    inputs : int
    networks : int, optional
        How many networks have an embedding of their own: arrays then have one more axis in front.
    """
    numbers, count = _runs(spec.embedded(inputs)), len(spec.embedded(inputs))
    k = networks or 1
    parts: list[tuple[tuple[slice, ...], Part]] = []
    if kept := _runs(spec.kept(inputs)):
        parts.append((kept, Part(_as_it_is, {}, {}, {})))
    if count and spec.numbers == "pbld":
        made = periodic(k * count, spec.frequencies, spec.outputs - 1, spec.sigma)
        parts.append((numbers, _of_networks(made, networks)))
    elif count:
        made = piecewise(k * count, spec.bins, spec.outputs)
        parts.append((numbers, _of_networks(made, networks)))
    for index, codes in spec.categories:
        parts.append(((slice(index, index + 1),), _category(index, codes, spec.size, networks)))

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        if networks is not None and x.ndim < 3:
            x = ops.xp.broadcast_to(x, (networks, *x.shape))
        made = [part.forward(ops, p, _taken(ops.xp, x, runs), run) for runs, part in parts]

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            grads: Grads = {}
            pieces: dict[int, Array] = {}
            start = 0
            for (runs, _), (y, back) in zip(parts, made, strict=True):
                stop = start + y.shape[-1]
                dx, new = back(dy[..., start:stop], need_dx)
                grads, start = grads | new, stop
                if need_dx:
                    _put(pieces, runs, dx)
            return _in_order(ops.xp, pieces) if need_dx else None, grads

        return _joined(ops.xp, [y for y, _ in made]), backward

    kinds = [spec.numbers] * bool(count) + ["category"] * bool(spec.categories)
    return Layer(
        "embedding",
        forward,
        {name: shape for _, part in parts for name, shape in part.shapes.items()},
        {name: shape for _, part in parts for name, shape in part.statistics.items()},
        f"y = embedded x: {', '.join(map(str, kinds)) or 'nothing'}",
        {name: draw for _, part in parts for name, draw in part.initial.items()},
        width=spec.width(inputs),
        kept=_kept(spec, count),
    )


def _kept(spec: Embedding, count: int) -> int:
    """Return how many numbers a row needs: of cosines or bins, and of a one-hot row of codes."""
    each = {"pbld": 4 * spec.frequencies, "piecewise": 2 * (spec.bins + 2)}
    largest = max([c.codes for c in spec.categories], default=0)
    return count * each.get(str(spec.numbers), 0) + largest


# Inputs in runs of neighbours


def _runs(columns: Sequence[int]) -> tuple[slice, ...]:
    """Return columns, in order, as slices of neighbours."""
    found = [[c for _, c in run] for _, run in groupby(enumerate(columns), lambda p: p[1] - p[0])]
    return tuple(slice(run[0], run[-1] + 1) for run in found)


def _taken(xp: Any, x: Array, runs: tuple[slice, ...]) -> Array:
    return _joined(xp, [x[..., run] for run in runs])


def _joined(xp: Any, arrays: list[Array]) -> Array:
    """Join columns; few arrays at a time, because CuPy copies a list of many from the host."""
    while len(arrays) > FEW:
        parts = [arrays[i : i + FEW] for i in range(0, len(arrays), FEW)]
        arrays = [_joined(xp, part) for part in parts]
    return arrays[0] if len(arrays) == 1 else xp.concat(arrays, axis=-1)


def _put(pieces: dict[int, Array], runs: tuple[slice, ...], dx: Array) -> None:
    """Add the gradient of the columns of some runs to what is there, by each run's parts."""
    start = 0
    for run in runs:
        for column in range(run.start, run.stop):
            at = dx[..., start : start + 1]
            pieces[column] = pieces[column] + at if column in pieces else at
            start += 1


def _in_order(xp: Any, pieces: dict[int, Array]) -> Array:
    return _joined(xp, [pieces[column] for column in sorted(pieces)])


def _as_it_is(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
    return x, lambda dy, need_dx=True: (dy, {})


def _of_networks(part: Part, networks: int | None) -> Part:
    """Return the embedding of each network's numbers, from that of the numbers of all of them.

    Numbers do not know of each other, so those of k networks are k times as many numbers.
    """
    if networks is None:
        return part

    def split(shape: tuple[int, ...]) -> tuple[int, ...]:
        return networks, shape[0] // networks, *shape[1:]

    def joined(xp: Any, given: Mapping[str, Array], shapes: Mapping[str, Any]) -> dict[str, Array]:
        return {name: xp.reshape(given[name], shape) for name, shape in shapes.items()}

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp, constants = ops.xp, joined(ops.xp, run.statistics, part.statistics)
        own = joined(xp, p, part.shapes)
        y, inner = part.forward(
            ops, own, _side_by_side(xp, x), replace(run, statistics=constants, grad={})
        )

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dx, grads = inner(_side_by_side(xp, dy), need_dx)
            each = {name: xp.reshape(g, split(part.shapes[name])) for name, g in grads.items()}
            return None if dx is None else _apart(xp, dx, networks), each

        return _apart(xp, y, networks), backward

    shapes = {name: split(shape) for name, shape in part.shapes.items()}
    statistics = {name: split(shape) for name, shape in part.statistics.items()}
    return Part(forward, shapes, statistics, part.initial)


def _side_by_side(xp: Any, x: Array) -> Array:
    """(k, n, m) as (n, k · m)."""
    k, n, m = x.shape
    return xp.reshape(xp.permute_dims(x, (1, 0, 2)), (n, k * m))


def _apart(xp: Any, x: Array, k: int) -> Array:
    """(n, k · m) as (k, n, m)."""
    n, width = x.shape
    return xp.permute_dims(xp.reshape(x, (n, k, width // k)), (1, 0, 2))


# Categories


def _category(index: int, count: int, size: int, networks: int | None) -> Part:
    """y = E[code] with a table E (codes, size); dE has the sums of dy over the rows of each code.

    Codes beyond the table are its last or first. The tables of k networks are taken from as one.
    """
    name = f"category{index}.E"

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp = ops.xp
        codes = xp.astype(xp.minimum(xp.maximum(x[..., 0], 0.0), count - 1.0), xp.int32)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dE = ops.sum_by_code(dy, codes, count, run.grad.get(name))
            return xp.zeros_like(x) if need_dx else None, {name: dE}

        if networks is None:
            return xp.take(p[name], codes, axis=0), backward
        first = count * xp.arange(networks, dtype=xp.int32, device=ops.device)[:, None]
        table, places = xp.reshape(p[name], (-1, size)), xp.reshape(codes + first, (-1,))
        return xp.reshape(xp.take(table, places, axis=0), (*codes.shape, size)), backward

    shape = (count, size) if networks is None else (networks, count, size)
    return Part(forward, {name: shape}, {}, {name: normal})


def sum_by_code(
    xp: Any, device: Any, dy: Array, codes: Array, count: int, out: Array | None = None
) -> Array:
    """Sums of the rows of dy with each code; the reference of ``ops.sum_by_code``.

    As a product with one-hot rows: the order of the sums does not depend on the device's threads.

    Parameters
    ----------
    dy : Array, shape (n, size)
        Of k networks, all arrays have one more axis in front.
    codes : Array of int32, shape (n,)
        0 to ``count`` − 1.
    out : Array, shape (count, size), optional
        A buffer that a backend may write to.
    """
    return xp.matrix_transpose(one_hot(xp, device, codes, count, dy.dtype)) @ dy
