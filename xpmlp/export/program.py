"""A recorded forward pass as a list of statements: what a language has to write down.

Neighbouring operations on elements become one loop, whose results are kept only where something
else needs them. A slice or a reshape is no statement: it is a place in another array.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpmlp.export import forward, trace
from xpmlp.export.trace import Function, Functions, Recorded
from xpmlp.model.base import Model
from xpmlp.nn.functions import Array, over_rows

MANY = 4
"""Runs of neighbours from which on a table of places is shorter than a loop for each."""


class Element(NamedTuple):
    """An operand within a loop over i: a number, the loop's own result, or ``buffer[index]``.

    The index is (i // each) % period + offset; ``wraps`` says whether i // each reaches the period.
    """

    value: Any = None
    result: str = ""
    buffer: str = ""
    each: int = 1
    period: int = 0
    offset: int = 0
    wraps: bool = False

    def place(self, over: str) -> str:
        """Return the index as text; ``over`` is how the language divides whole numbers."""
        if self.period == 1:
            return str(self.offset)
        made = "i" if self.each == 1 else f"i {over} {self.each}"
        made = f"{made} % {self.period}" if self.wraps else made
        return f"{made} + {self.offset}" if self.offset else made


class Step(NamedTuple):
    """A line of a loop: ``name = op(args)``; ``stored`` says whether others need all results."""

    name: str
    op: str
    args: tuple[Element, ...]
    dtype: str
    stored: bool
    function: Function | None


@dataclass
class Loop:
    """For each i below ``size``, some steps."""

    size: int
    steps: list[Step] = field(default_factory=list)


class Dense(NamedTuple):
    """``name = x W + b`` for some networks, which may have their own x and W, or one."""

    name: str
    x: "Place"
    W: str
    b: str | None
    networks: int
    inputs: int
    outputs: int
    own_x: bool
    own_w: bool
    dtype: str


class Reduction(NamedTuple):
    """``name[o, i] = op over k of x[o, k, i]``."""

    name: str
    op: str
    x: "Place"
    outer: int
    length: int
    inner: int
    dtype: str


class Copy(NamedTuple):
    """``name[at + i] = x[i]`` for i below ``length``; with a ``table``, ``x[table[i]]``."""

    name: str
    at: int
    x: "Place"
    length: int
    table: str | None
    dtype: str


class Lookup(NamedTuple):
    """``name[i] = table[codes[i]]``, rows of ``width`` numbers."""

    name: str
    table: str
    codes: "Place"
    length: int
    width: int
    dtype: str


class Place(NamedTuple):
    """Where an array begins."""

    buffer: str
    offset: int = 0


class Program:
    """Statements that make the predictions of a row.

    Parameters
    ----------
    model : Model

    Attributes
    ----------
    statements : list
        ``Loop``, ``Dense``, ``Reduction``, ``Copy`` and ``Lookup``.
    constants : dict of str to ndarray
    functions : list of (name, Loop, Element, dtype)
        Each activation: its steps for one number, ``z``, and what it returns.
    buffers : dict of str to (int, str)
        Size and dtype of each array that statements fill, without ``out``.
    inputs, outputs : int
    """

    def __init__(self, model: Model) -> None:
        calls = Functions()
        host = forward.Host(trace.NAMESPACE, trace.operations(calls), trace.constant)
        self.inputs = model.sizes[0]
        dtype = forward.inputs_dtype(model)
        x = Recorded("input", (), (1, self.inputs), dtype, name="x")
        layer, arrays = forward.network(model)
        values: dict[str, Array] = {n: trace.constant(a, name=n) for n, a in arrays.items()}
        fixed = forward.Fixed.of(model)
        out = forward.logits(fixed, host, layer, values, x)
        out = forward.read(fixed, host, out, forward.reading_of(model))
        self.outputs = out.size
        self.statements: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.buffers: dict[str, tuple[int, str]] = {}
        self._homes: dict[int, Place] = {}
        self._kept: list[Any] = []  # so that no id is used twice
        self._write(out)
        self._finish()
        self.functions = [self._function(f) for f in calls.found.values() if f.result is not f.z]

    def _write(self, out: Recorded) -> None:
        for node in _in_order(out):
            self._add(node, "out" if node is out else "")
        home = self._homes[id(out)]
        if home != Place("out"):
            self.statements.append(Copy("out", 0, home, out.size, None, out.dtype))
        self.buffers.pop("out", None)

    def _add(self, node: Recorded, name: str) -> None:
        """Append the statement that makes an array, if it needs one."""
        self._kept.append(node)
        if node.op == "input":
            self._homes[id(node)] = Place(node.name)
        elif node.op == "constant":
            if node.size > 1:
                self._homes[id(node)] = Place(self._constant(node.value, node.name))
        elif node.op == "gather":
            self._gather(node)
        elif node.op in ("dense", "sum", "max", "min", "take"):
            self._made(node, name)
        else:
            self._element(node, name)

    def _constant(self, value: np.ndarray, name: str) -> str:
        """Keep a constant, under a name of its own."""
        base = (name or f"c{len(self.constants) + 1}").replace(".", "_")
        name, again = base, 1
        while name in self.constants and not np.array_equal(self.constants[name], value):
            again += 1
            name = f"{base}_{again}"
        self.constants[name] = value
        return name

    def _buffer(self, node: Recorded, name: str = "") -> str:
        name = name or f"h{len(self.buffers) + 1}"
        self.buffers[name] = node.size, node.dtype
        self._homes[id(node)] = Place(name)
        return name

    def _place(self, node: Recorded) -> Place:
        """Return where an array is; a single number that is a constant becomes an array."""
        if id(node) not in self._homes:
            self._homes[id(node)] = Place(self._constant(np.ravel(node.value), node.name))
        return self._homes[id(node)]

    def _made(self, node: Recorded, name: str) -> None:
        """Add a product, a reduction or a lookup."""
        name, x, shape = self._buffer(node, name), node.args[0], node.args[0].shape
        if node.op == "dense":
            self.statements.append(self._dense(node, name))
        elif node.op == "take":
            table, codes = self._place(x).buffer, node.args[1]
            width = x.size // shape[0]
            place = self._place(codes)
            self.statements.append(Lookup(name, table, place, codes.size, width, node.dtype))
        else:
            outer, inner = prod(shape[: node.more]), prod(shape[node.more + 1 :])
            sizes = outer, shape[node.more], inner
            self.statements.append(Reduction(name, node.op, self._place(x), *sizes, node.dtype))

    def _dense(self, node: Recorded, name: str) -> Dense:
        x, W, *biases = node.args
        bias = None
        for b in biases:
            whole = np.broadcast_to(over_rows(b).value, node.shape)
            bias = self._constant(np.ravel(whole), b.name)
        inputs, outputs = W.shape[-2:]
        own = x.size > inputs, W.size > inputs * outputs
        weights = self._constant(W.value, W.name)
        sizes = prod(node.shape[:-2]), inputs, outputs
        return Dense(name, self._place(x), weights, bias, *sizes, *own, node.dtype)

    def _gather(self, node: Recorded) -> None:
        """Add what moves numbers; nothing for neighbours in one array."""
        starts = np.cumsum([0, *(a.size for a in node.args)])
        which = np.searchsorted(starts, node.more, side="right") - 1
        breaks = np.flatnonzero((np.diff(node.more) != 1) | (np.diff(which) != 0)) + 1
        runs = np.split(np.arange(node.size), breaks)
        sources = [(int(which[r[0]]), int(node.more[r[0]] - starts[which[r[0]]])) for r in runs]
        if len(runs) == 1:
            source, at = sources[0]
            home = self._place(node.args[source])
            self._homes[id(node)] = Place(home.buffer, home.offset + at)
            return
        name = self._buffer(node)
        if len(runs) > MANY and len(node.args) == 1:
            table = self._constant(node.more.astype(np.int32), "places")
            home = self._place(node.args[0])
            self.statements.append(Copy(name, 0, home, node.size, table, node.dtype))
            return
        for run, (source, at) in zip(runs, sources, strict=True):
            home = self._place(node.args[source])
            place = Place(home.buffer, home.offset + at)
            self.statements.append(Copy(name, int(run[0]), place, len(run), None, node.dtype))

    def _element(self, node: Recorded, name: str) -> None:
        """Add a step to the last loop, or to a new one if it looks at others of its results."""
        operands = [self._operand(a, node) for a in node.args]
        loop = self.statements[-1] if self.statements else None
        if not isinstance(loop, Loop) or loop.size != node.size:
            loop = self._new_loop(node.size)
        own = {step.name for step in loop.steps}
        straight = Element(each=1, period=node.size)
        if any(o.buffer in own and o._replace(buffer="") != straight for o in operands):
            loop, own = self._new_loop(node.size), set()
        args = [Element(result=o.buffer) if o.buffer in own else o for o in operands]
        name = self._buffer(node, name)
        loop.steps.append(Step(name, node.op, tuple(args), node.dtype, True, node.more))

    def _new_loop(self, size: int) -> Loop:
        self.statements.append(Loop(size))
        made: Loop = self.statements[-1]
        return made

    def _operand(self, a: Recorded, node: Recorded) -> Element:
        """Return an operand of a loop over the elements of ``node``."""
        if a.value is not None and a.size == 1:
            return Element(value=a.value.reshape(()))
        places = np.broadcast_to(np.arange(a.size).reshape(a.shape), node.shape).ravel()
        found = _pattern(places)
        if found is None:
            moved = Recorded("gather", (a,), node.shape, a.dtype, more=places)
            self._kept.append(moved)
            self._gather(moved)
            home = self._place(moved)
            return Element(buffer=home.buffer, period=node.size, offset=home.offset)
        (each, period), home = found, self._place(a)
        wraps = each * period < node.size
        return Element(None, "", home.buffer, each, period, home.offset, wraps)

    def _function(self, f: Function) -> tuple[str, Loop, Element, str]:
        """Return an activation's steps, for one number."""
        loop, names = Loop(1), {id(f.z): Element(result="z")}
        for node in _in_order(f.result):
            if node.op == "constant":
                names[id(node)] = Element(value=node.value.reshape(()))
            elif node.op != "input":
                args = tuple(names[id(a)] for a in node.args)
                name = f"t{len(loop.steps) + 1}"
                loop.steps.append(Step(name, node.op, args, node.dtype, False, node.more))
                names[id(node)] = Element(result=name)
        return f.name, loop, names[id(f.result)], f.z.dtype

    def _finish(self) -> None:
        """Mark the results that only their own loop needs."""
        used = set[str]()
        for s in self.statements:
            if isinstance(s, Loop):
                used |= {a.buffer for step in s.steps for a in step.args}
            elif isinstance(s, Lookup):
                used |= {s.codes.buffer}
            else:
                used |= {s.x.buffer}
        for s in self.statements:
            if isinstance(s, Loop):
                s.steps = [
                    step._replace(stored=step.name in used or step.name == "out")
                    for step in s.steps
                ]
                for step in s.steps:
                    if not step.stored:
                        del self.buffers[step.name]


def _in_order(out: Recorded) -> list[Recorded]:
    """Return all arrays that a result needs, each after those it needs itself."""
    found: dict[int, Recorded] = {}
    open_ = [(out, False)]
    while open_:
        node, ready = open_.pop()
        if ready:
            found.setdefault(id(node), node)
        elif id(node) not in found:
            open_.append((node, True))
            open_ += [(a, False) for a in node.args[::-1]]
    return list(found.values())


def _pattern(places: np.ndarray) -> tuple[int, int] | None:
    """Return (each, period) if the i-th place is (i // each) % period."""
    changes = np.flatnonzero(np.diff(places))
    each = int(changes[0]) + 1 if len(changes) else len(places)
    period = int(places.max()) + 1
    return (each, period) if (places == np.arange(len(places)) // each % period).all() else None
