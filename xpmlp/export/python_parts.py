"""The parts of a file of ``MLP.to_python`` that are the same for all models."""

HEAD = '''\
"""A multilayer perceptron, {sizes}, written by xpmlp {version}.

It needs Python's standard library alone. {what};
``predict(rows)`` takes a list of rows. On the command line it predicts the rows of a CSV file:
python THIS_FILE < rows.csv
"""

import base64
import csv
import math
import sys
from array import array
from operator import mul


def _numbers(code, text):
    made = array(code, base64.b64decode(text))
    if sys.byteorder == "big":
        made.byteswap()
    return made.tolist()


def _rows(numbers, width):
    return [numbers[i : i + width] for i in range(0, len(numbers), width)]


def _exp(z):
    return math.exp(z) if z < 709.7 else math.inf


def _log(z):
    return math.log(z) if z > 0 else -math.inf if z == 0 else math.nan

'''

DENSE = '''
def dense(x, rows, b):
    """x W + b, with a row of numbers for each output."""
    z = [sum(map(mul, x, row)) for row in rows]
    return z if b is None else [s + t for s, t in zip(z, b)]
'''

NUMBERS = '''
def inputs(row):
    """Return a row as numbers."""
    x = [float(cell) for cell in row]
    if len(x) != INPUTS:
        raise ValueError(f"found a row of {len(x)} numbers; expected {INPUTS}")
    return x
'''

TABLE = '''
MISSING = frozenset({missing})


def cell_of(row, name):
    """Return a cell as text; None if there is nothing."""
    if name not in row:
        raise ValueError(f"found no column {{name!r}}")
    cell = row[name]
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        if math.isnan(cell):
            return None
        cell = int(cell) if float(cell).is_integer() and abs(cell) < 2**53 else cell
    text = "" if cell is None else str(cell).strip()
    return None if text in MISSING else text


def number(row, name, fill, shift, scale, indicator, tolerant, mark):
    """Return a number, standardized, and whether it is missing."""
    text, value = cell_of(row, name), None
    try:
        value = None if text is None else float(text.replace(mark, "."))
        if value is not None and not math.isfinite(value):
            raise ValueError
    except ValueError:
        value = None
        if not tolerant:
            raise ValueError(f"column {{name!r}}: found {{text!r}}, expected a number") from None
    flags = [float(value is None)] if indicator else []
    return [((fill if value is None else value) - shift) * scale, *flags]


def category(row, name, levels, other, indicator):
    """Return a flag for each level, for all others, and for nothing."""
    text = cell_of(row, name)
    flags = [float(text == level) for level in levels]
    flags += [float(text is not None and text not in levels)] if other else []
    return flags + ([float(text is None)] if indicator else [])


def code(row, name, levels):
    """Return the number of a level, from 1; 0 for others."""
    text = cell_of(row, name)
    return [float(levels.index(text) + 1) if text in levels else 0.0]


def clipped(x, shift, scale, share):
    x = (x - shift) * scale
    return x / math.sqrt(1 + share * x * x)


def inputs(row):
    """Return the cells of a row as the network takes them."""
    parts = [
        {features}
    ]
    x = [number for part in parts for number in part]
{after}    return x
'''

CLASSES = {
    "one": '''
def predict_proba(rows):
    """Return the probabilities of the classes for each row."""
    return [forward(inputs(row)) for row in rows]


def predict(rows):
    """Return the class of each row."""
    return [NAMES[p.index(max(p))] for p in predict_proba(rows)]


def line(row):
    p = forward(inputs(row))
    return [NAMES[p.index(max(p))], *p]
''',
    "several": '''
def predict_proba(rows):
    """Return the probability of each label for each row."""
    return [forward(inputs(row)) for row in rows]


def predict(rows):
    """Return 0 or 1 for each label of each row."""
    return [[int(p > 0.5) for p in row] for row in predict_proba(rows)]


def line(row):
    return forward(inputs(row))
''',
}

VALUES = '''
def predict(rows):
    """Return a value for each row; a list of values for several targets."""
    found = [forward(inputs(row)) for row in rows]
    return [row[0] for row in found] if OUTPUTS == 1 else found


def line(row):
    return forward(inputs(row))
'''

MAIN = '''
def main():
    """Predict the rows of a CSV file on standard input."""
    write = csv.writer(sys.stdout).writerow
    write({columns})
{loop}

if __name__ == "__main__":
    main()
'''

BY_NAME = """\
    for row in csv.DictReader(sys.stdin):
        write(line(row))
"""

BY_PLACE = """\
    for place, row in enumerate(csv.reader(sys.stdin)):
        if place > 0 or any(map(is_number, row)):  # the first row may have names
            write(line(row))


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True
"""
