"""``MLP.to_c``: a C99 header that predicts one row, without a library and without allocation."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.errors import InvalidValueError, short
from xpmlp.export import forward
from xpmlp.export.program import Copy, Dense, Element, Loop, Place, Program, Reduction, Step
from xpmlp.model.base import Model
from xpmlp.storage.atomic import write_atomically

TYPES = {
    "float32": "float", "float64": "double", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "bool": "int",
}  # fmt: skip

_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "less_equal": "<=",
    "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!=", "logical_and": "&&",
    "logical_or": "||",
}  # fmt: skip
_CALLED = {"abs": "fabs"}
_WRITTEN = {
    "negative": "-{0}",
    "sign": "({0} > 0) - ({0} < 0)",
    "where": "{0} ? {1} : {2}",
    # In this order NaN stays NaN, which fmax and fmin drop.
    "maximum": "{0} < {1} ? {1} : {0}",
    "minimum": "{0} > {1} ? {1} : {0}",
}
WIDE = 8
"""Numbers of a row of a constant."""


def write(model: Model, path: Any, name: str | None = None) -> None:
    """Write a model as a C header; ``MLP.to_c`` documents it."""
    path = Path(path)
    name = identifier(path.stem if name is None else name)
    if model.table is not None:
        raise InvalidValueError(
            "to_c: this model has a table, whose columns C cannot read; expected numbers. Export "
            "mlp.copy(table=None), and give it rows of mlp.table.transform(X)"
        )
    write_atomically(path, Header(model, name).text().encode())


def identifier(name: str) -> str:
    """Return a name as C and Python take it.

    Raises
    ------
    InvalidValueError
        If nothing of it can be used.
    """
    made = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    if not made or made[0].isdigit():
        raise InvalidValueError(
            f"name: found {short(repr(name))}; expected letters, digits and underscores, a letter "
            "first"
        )
    return made


class Header:
    """The text of a header.

    Parameters
    ----------
    model : Model
    name : str
        What its functions and constants begin with.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name, self.program = model, name, Program(model)
        self.real = TYPES[model.dtype]

    def text(self) -> str:
        """Return all of it."""
        guard = f"{self.name.upper()}_H"
        parts = [
            self._comment(),
            f"#ifndef {guard}\n#define {guard}\n\n#include <math.h>",
            f"enum {{ {self.name}_inputs = {self.program.inputs}, "
            f"{self.name}_outputs = {self.program.outputs} }};",
            *self._names(),
            *(self._constant(n, value) for n, value in self.program.constants.items()),
            *(self._function(*f) for f in self.program.functions),
            self._product(),
            self._predict(),
            *self._label(),
            "#endif",
        ]
        return "\n\n".join(parts) + "\n"

    def _comment(self) -> str:
        m, n = self.model, self.name
        sizes = "-".join(map(str, m.sizes))
        what = "values" if m.task.kind == "values" else "probabilities"
        pixels = ", 0 to 255" if m.scaling.pixels else ""
        x = TYPES[forward.inputs_dtype(m)]
        lines = [
            f"A multilayer perceptron, {sizes}, by xpmlp {forward.version()}. C99, link with -lm.",
            "",
            f"  {x} x[{n}_inputs];{' ' * 6}the inputs{pixels}",
            f"  {self.real} out[{n}_outputs];",
            f"  {n}_predict(x, out);{' ' * 6}{what}",
        ]
        if self._classes:
            lines.append(f"  int label = {n}_label(x);")
        return "/* " + "\n".join(f"   {line}".rstrip() for line in lines).lstrip() + " */"

    @property
    def _classes(self) -> bool:
        return self.model.task.kind in ("labels", "one_hot", "binary")

    def _names(self) -> Iterator[str]:
        if (names := forward.class_names(self.model)) is not None:
            quoted = ", ".join(f'"{_quoted(name)}"' for name in names)
            yield f"static const char *const {self.name}_classes[] = {{{quoted}}};"

    def _constant(self, name: str, value: np.ndarray) -> str:
        dtype = value.dtype.name
        numbers = [_number(v, dtype) for v in value.ravel()]
        rows = (", ".join(numbers[i : i + WIDE]) for i in range(0, len(numbers), WIDE))
        head = f"static const {TYPES[dtype]} {self.name}_{name}[{len(numbers)}]"
        return f"{head} = {{\n  " + ",\n  ".join(rows) + "};"

    def _function(self, name: str, loop: Loop, result: Element, dtype: str) -> str:
        made = self._called(name)
        lines = [f"static inline {TYPES[dtype]} {made}({TYPES[dtype]} z)", "{"]
        for step in loop.steps:
            lines.append(f"  const {TYPES[step.dtype]} {step.name} = {self._expression(step)};")
        return "\n".join([*lines, f"  return {self._element(result, dtype)};", "}"])

    def _called(self, function: str) -> str:
        return f"{self.name}_{function}"

    def _product(self) -> str:
        """Return the function that layers call: 8 inputs at a time are faster, and round less."""
        real, terms = self.real, [f"x[i + {k}] * w[j + {k} * outputs]" for k in range(8)]
        pairs = [f"({one} + {other})" for one, other in zip(terms[::2], terms[1::2], strict=True)]
        return f"""\
static inline void {self.name}_dense(const {real} *restrict x, const {real} *restrict W,
                       const {real} *restrict b, int inputs, int outputs, {real} *restrict z)
{{
  const int whole = inputs - inputs % 8;
  for (int j = 0; j < outputs; j++) z[j] = b ? b[j] : 0;
  for (int i = 0; i < whole; i += 8) {{
    const {real} *w = W + i * outputs;
    for (int j = 0; j < outputs; j++)
      z[j] += ({pairs[0]} + {pairs[1]})
            + ({pairs[2]} + {pairs[3]});
  }}
  for (int i = whole; i < inputs; i++)
    for (int j = 0; j < outputs; j++) z[j] += x[i] * W[i * outputs + j];
}}"""

    def _predict(self) -> str:
        x = TYPES[forward.inputs_dtype(self.model)]
        lines = [f"static inline void {self.name}_predict(const {x} *x, {self.real} *out)", "{"]
        for name, (size, dtype) in self.program.buffers.items():
            lines.append(f"  {TYPES[dtype]} {name}[{size}];")
        for statement in self.program.statements:
            lines += [f"  {line}" for line in self._statement(statement)]
        return "\n".join([*lines, "}"])

    def _label(self) -> Iterator[str]:
        if not self._classes:
            return
        x, n = TYPES[forward.inputs_dtype(self.model)], self.name
        yield f"""\
static inline int {n}_label(const {x} *x)
{{
  {self.real} p[{n}_outputs];
  int best = 0;
  {n}_predict(x, p);
  for (int i = 1; i < {n}_outputs; i++) if (p[i] > p[best]) best = i;
  return best;
}}"""

    # Statements

    def _statement(self, s: Any) -> Iterator[str]:
        if isinstance(s, Loop):
            yield from self._loop(s)
        elif isinstance(s, Dense):
            yield from self._dense(s)
        elif isinstance(s, Reduction):
            yield from self._reduction(s)
        elif isinstance(s, Copy):
            at = f" + {s.at}" if s.at else ""
            places = "i" if s.table is None else f"{self.name}_{s.table}[i]"
            source = self._at(s.x, places)
            yield f"for (int i = 0; i < {s.length}; i++) {s.name}[i{at}] = {source};"
        else:
            codes = self._at(s.codes, f"i / {s.width}")
            table = f"{self.name}_{s.table}[(int){codes} * {s.width} + i % {s.width}]"
            size = s.length * s.width
            yield f"for (int i = 0; i < {size}; i++) {s.name}[i] = {table};"

    def _loop(self, s: Loop) -> Iterator[str]:
        head = f"for (int i = 0; i < {s.size}; i++)"
        if len(s.steps) == 1:
            head, place = ("", "0") if s.size == 1 else (f"{head} ", "i")
            yield f"{head}{s.steps[0].name}[{place}] = {self._expression(s.steps[0])};"
            return
        yield f"{head} {{"
        for step in s.steps:
            yield f"  const {TYPES[step.dtype]} {step.name}_i = {self._expression(step)};"
        for step in s.steps:
            if step.stored:
                yield f"  {step.name}[i] = {step.name}_i;"
        yield "}"

    def _dense(self, s: Dense) -> Iterator[str]:
        W, b = f"{self.name}_{s.W}", "0" if s.b is None else f"{self.name}_{s.b}"
        x, z = self._address(s.x), s.name
        if s.networks == 1:
            yield f"{self.name}_dense({x}, {W}, {b}, {s.inputs}, {s.outputs}, {z});"
            return
        x = f"{x} + k * {s.inputs}" if s.own_x else x
        W = f"{W} + k * {s.inputs * s.outputs}" if s.own_w else W
        b = b if s.b is None else f"{b} + k * {s.outputs}"
        call = f"{self.name}_dense({x}, {W}, {b}, {s.inputs}, {s.outputs}, {z} + k * {s.outputs});"
        yield f"for (int k = 0; k < {s.networks}; k++)"
        yield f"  {call}"

    def _reduction(self, s: Reduction) -> Iterator[str]:
        place, start = f"{s.name}[o * {s.inner} + i]", f"o * {s.length * s.inner} + i"
        if s.outer == s.inner == 1:
            place, first, each = f"{s.name}[0]", self._at(s.x, "0"), self._at(s.x, "k")
        else:
            first = self._at(s.x, start)
            each = self._at(s.x, f"{start} + k * {s.inner}")
        how = {
            "sum": f"{place} += {each};",
            "max": f"if ({each} > {place}) {place} = {each};",
            "min": f"if ({each} < {place}) {place} = {each};",
        }[s.op]
        if s.outer == s.inner == 1:
            yield f"{place} = {first};"
            yield f"for (int k = 1; k < {s.length}; k++) {how}"
            return
        yield f"for (int o = 0; o < {s.outer}; o++) for (int i = 0; i < {s.inner}; i++) {{"
        yield f"  {place} = {first};"
        yield f"  for (int k = 1; k < {s.length}; k++) {how}"
        yield "}"

    # Expressions

    def _expression(self, step: Step) -> str:
        args = [self._element(a, step.dtype) for a in step.args]
        if step.op == "call":
            assert step.function is not None
            return f"{self._called(step.function.name)}({args[0]})"
        if step.op == "astype":
            return f"({TYPES[step.dtype]}){args[0]}"
        if step.op in _INFIX:
            return f"{args[0]} {_INFIX[step.op]} {args[1]}"
        if step.op in _WRITTEN:
            return _WRITTEN[step.op].format(*args)
        suffix = "f" if step.dtype == "float32" else ""
        return f"{_CALLED.get(step.op, step.op)}{suffix}({', '.join(args)})"

    def _element(self, e: Element, dtype: str) -> str:
        if e.value is not None:
            text = _number(e.value[()], e.value.dtype.name)
            return f"({text})" if text.startswith("-") else text
        if e.result:
            return e.result if e.result.startswith(("t", "z")) else f"{e.result}_i"
        return f"{self._named(e.buffer)}[{e.place('/')}]"

    def _at(self, place: Place, index: str) -> str:
        offset = f" + {place.offset}" if place.offset else ""
        return f"{self._named(place.buffer)}[{index}{offset}]"

    def _address(self, place: Place) -> str:
        name = self._named(place.buffer)
        return f"{name} + {place.offset}" if place.offset else name

    def _named(self, buffer: str) -> str:
        return f"{self.name}_{buffer}" if buffer in self.program.constants else buffer


def _number(value: Any, dtype: str) -> str:
    """Return a number so that C reads the same one."""
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return str(int(value))
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    text = f"{float(value):.{9 if dtype == 'float32' else 17}g}"
    text = text if set(text) & set(".e") else f"{text}.0"
    return f"{text}f" if dtype == "float32" else text


def _quoted(text: str) -> str:
    """Return a text as C takes it within quotes, in UTF-8."""
    return "".join(
        chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}"
        for b in text.encode(errors="replace")
    )
