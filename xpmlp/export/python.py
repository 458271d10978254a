"""``MLP.to_python``: one file that predicts, with Python's standard library alone."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.table import Table
from xpmlp.data.values import MISSING
from xpmlp.errors import InvalidValueError
from xpmlp.export import forward
from xpmlp.export.program import Copy, Dense, Element, Loop, Place, Program, Reduction, Step
from xpmlp.export.python_parts import (
    BY_NAME,
    BY_PLACE,
    CLASSES,
    DENSE,
    HEAD,
    MAIN,
    NUMBERS,
    TABLE,
    VALUES,
)
from xpmlp.model.base import Model
from xpmlp.nn.tabular import BOUND
from xpmlp.storage.atomic import write_atomically

_WRITTEN = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "divide": "{0} / {1}",
    "pow": "{0} ** {1}", "negative": "-{0}", "less": "{0} < {1}", "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}", "greater_equal": "{0} >= {1}", "equal": "{0} == {1}",
    "not_equal": "{0} != {1}", "logical_and": "{0} and {1}", "logical_or": "{0} or {1}",
    "abs": "abs({0})", "sign": "({0} > 0) - ({0} < 0)", "where": "{1} if {0} else {2}",
    # In this order NaN stays NaN.
    "maximum": "{1} if {0} < {1} else {0}", "minimum": "{1} if {0} > {1} else {0}",
    "exp": "_exp({0})", "log": "_log({0})",
}  # fmt: skip
FEW = 16
"""Numbers of a constant from which on it is written as bytes."""


def write(model: Model, path: Any) -> None:
    """Write a model as a Python file; ``MLP.to_python`` documents it."""
    write_atomically(Path(path), Module(model).text().encode())


class Module:
    """The text of a Python file."""

    def __init__(self, model: Model) -> None:
        self.model, self.program = model, Program(model)
        self.flat = {s.W: s.inputs for s in self.program.statements if isinstance(s, Dense)}

    def text(self) -> str:
        """Return all of it."""
        m, p = self.model, self.program
        classes = m.task.kind != "values"
        sizes = "-".join(map(str, m.sizes))
        parts = [
            HEAD.format(sizes=sizes, version=forward.version(), what=self._takes()),
            f"INPUTS, OUTPUTS = {p.inputs}, {p.outputs}",
            *self._names(),
            *(self._constant(name, value) for name, value in p.constants.items()),
            *(self._function(*f) for f in p.functions),
            DENSE,
            self._forward(),
            NUMBERS if m.table is None else self._table(m.table),
            self._classes() if classes else VALUES,
            MAIN.format(columns=self._columns(), loop=BY_PLACE if m.table is None else BY_NAME),
        ]
        return re.sub(r"\n{4,}", "\n\n\n", "\n\n".join(parts))

    def _takes(self) -> str:
        if self.model.table is not None:
            return "A row is a dict of cells by the name of their column"
        pixels = ", 0 to 255" if self.model.scaling.pixels else ""
        return f"A row is a list of {self.program.inputs} numbers{pixels}"

    def _names(self) -> Iterator[str]:
        if self.model.task.kind in ("labels", "one_hot", "binary"):
            numbered = [*range(self.program.outputs)]
            yield f"NAMES = {forward.class_names(self.model) or numbered!r}"

    def _classes(self) -> str:
        return CLASSES["one" if self.model.task.kind != "multilabel" else "several"]

    def _columns(self) -> str:
        kind = self.model.task.kind
        if kind == "values":
            return "[f'value {i + 1}' for i in range(OUTPUTS)] if OUTPUTS > 1 else ['value']"
        if kind == "multilabel":
            return "[f'label {i + 1}' for i in range(OUTPUTS)]"
        return "['label', *NAMES]"

    def _constant(self, name: str, value: np.ndarray) -> str:
        if name in self.flat:  # a row for each output
            inputs = self.flat[name]
            rows = np.ascontiguousarray(value.mT).reshape(-1, inputs)
            return f"{name} = _rows({self._numbers(rows)}, {inputs})"
        return f"{name} = {self._numbers(value)}"

    def _numbers(self, value: np.ndarray) -> str:
        if value.size < FEW or value.dtype.kind != "f":
            return f"[{', '.join(map(_number, value.ravel()))}]"
        code = "f" if value.dtype == np.float32 else "d"
        little = value.astype(value.dtype.newbyteorder("<"))
        return f'_numbers("{code}", "{base64.b64encode(little.tobytes()).decode()}")'

    def _function(self, name: str, loop: Loop, result: Element, dtype: str) -> str:
        lines = [f"def {name}(z):"]
        lines += [f"    {step.name} = {self._expression(step)}" for step in loop.steps]
        return "\n".join(["", *lines, f"    return {self._element(result)}"])

    def _forward(self) -> str:
        lines = ["", "def forward(x):", '    """Return the outputs for a list of inputs."""']
        for statement in self.program.statements:
            lines += [f"    {line}" for line in self._statement(statement)]
        return "\n".join([*lines, "    return out"])

    # The table

    def _table(self, table: Table) -> str:
        lines = []
        numbers = iter(zip(table.fill, *self._scales(table), strict=True))
        for f in table.features:
            if f.kind == "left out":
                continue
            if f.kind == "date":
                raise InvalidValueError(
                    f"to_python: column {f.name!r} has dates, which the file cannot read; make "
                    f"columns of numbers of it ({', '.join(f.parts)}), and train again with "
                    f"xpmlp.Table(drop=[{f.name!r}])"
                )
            if f.measured:
                fill, shift, scale = (float(v) for v in next(numbers))
                tolerant = f.name in table.settings["numeric"]
                lines.append(
                    f"    number(row, {f.name!r}, {fill!r}, {shift!r}, {scale!r}, "
                    f"{f.indicator}, {tolerant}, {f.form!r}),"
                )
            elif f.codes:
                lines.append(f"    code(row, {f.name!r}, {list(f.levels)!r}),")
            else:
                lines.append(
                    f"    category(row, {f.name!r}, {list(f.levels)!r}, {f.other}, {f.indicator}),"
                )
        after = ""
        if table.scaling == "quartiles":
            coded = np.isin(np.arange(table.width), [*table.categories])
            share = np.where(coded, 0.0, 1 / BOUND**2)
            lists = (a.tolist() for a in (table.shift, table.scale, share))
            after = "    x = list(map(clipped, x, {!r}, {!r}, {!r}))\n".format(*lists)
        missing = sorted(MISSING)
        features = "\n    ".join(lines).strip()
        return TABLE.format(features=features, after=after, missing=missing)

    @staticmethod
    def _scales(table: Table) -> tuple[np.ndarray, np.ndarray]:
        none = np.zeros(len(table.fill))
        return (none, none + 1) if table.scaling == "quartiles" else (table.shift, table.scale)

    # Statements

    def _statement(self, s: Any) -> Iterator[str]:
        if isinstance(s, Loop):
            yield from self._loop(s)
        elif isinstance(s, Dense):
            yield f"{s.name} = {self._dense(s)}"
        elif isinstance(s, Reduction):
            yield f"{s.name} = {self._reduction(s)}"
        elif isinstance(s, Copy):
            source = self._part(s.x, s.length)
            if s.table is not None:
                offset = f"{s.x.offset} + " if s.x.offset else ""
                source = f"[{s.x.buffer}[{offset}i] for i in {s.table}]"
            yield f"{s.name} {'+=' if s.at else '='} {source}"
        else:
            row = f"{s.table}[int(c) * {s.width} : (int(c) + 1) * {s.width}]"
            codes = self._part(s.codes, s.length)
            yield f"{s.name} = [v for c in {codes} for v in {row}]"

    def _loop(self, s: Loop) -> Iterator[str]:
        if len(s.steps) == 1:
            each = "" if s.size == 1 else f" for i in range({s.size})"
            yield f"{s.steps[0].name} = [{self._expression(s.steps[0])}{each}]"
            return
        stored = [step.name for step in s.steps if step.stored]
        yield f"{', '.join(stored)} = {', '.join('[]' for _ in stored)}"
        yield f"for i in range({s.size}):"
        for step in s.steps:
            yield f"    {step.name}_i = {self._expression(step)}"
        for name in stored:
            yield f"    {name}.append({name}_i)"

    def _dense(self, s: Dense) -> str:
        b = "None" if s.b is None else s.b
        if not s.own_x:  # the networks' outputs are those of one layer
            return f"dense({self._part(s.x, s.inputs)}, {s.W}, {b})"
        start = f"{s.x.offset} + k * {s.inputs}" if s.x.offset else f"k * {s.inputs}"
        rows = f"{s.W}[k * {s.outputs} : (k + 1) * {s.outputs}]" if s.own_w else s.W
        b = b if s.b is None else f"{s.b}[k * {s.outputs} : (k + 1) * {s.outputs}]"
        part = f"{s.x.buffer}[{start} : {start} + {s.inputs}]"
        return f"[z for k in range({s.networks}) for z in dense({part}, {rows}, {b})]"

    def _reduction(self, s: Reduction) -> str:
        if s.outer == s.inner == 1:
            return f"[{s.op}({self._part(s.x, s.length)})]"
        whole, offset = s.length * s.inner, f"{s.x.offset} + " if s.x.offset else ""
        part = f"{s.x.buffer}[{offset}o * {whole} + i : {offset}(o + 1) * {whole} : {s.inner}]"
        return f"[{s.op}({part}) for o in range({s.outer}) for i in range({s.inner})]"

    def _part(self, place: Place, count: int) -> str:
        size = self.program.inputs if place.buffer == "x" else 0
        size = self.program.buffers.get(place.buffer, (size, ""))[0]
        if place.offset == 0 and size == count:
            return place.buffer
        return f"{place.buffer}[{place.offset} : {place.offset + count}]"

    # Expressions

    def _expression(self, step: Step) -> str:
        args = [self._element(a) for a in step.args]
        if step.op == "call":
            assert step.function is not None
            return f"{step.function.name}({args[0]})"
        if step.op == "astype":
            return f"{'float' if step.dtype.startswith('float') else 'int'}({args[0]})"
        if step.op in _WRITTEN:
            return _WRITTEN[step.op].format(*args)
        return f"math.{step.op}({', '.join(args)})"

    @staticmethod
    def _element(e: Element) -> str:
        if e.value is not None:
            text = _number(e.value[()])
            return f"({text})" if text.startswith("-") else text
        if e.result:
            return e.result if e.result.startswith(("t", "z")) else f"{e.result}_i"
        return f"{e.buffer}[{e.place('//')}]"


def _number(value: Any) -> str:
    """Return a number as Python reads it."""
    text = repr(value.item())
    return f"math.{text}" if text in ("inf", "nan") else text.replace("-inf", "-math.inf")
