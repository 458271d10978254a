"""Tables in the forms that people post, each with what it says: values known before it is written.

A form is the content of a file, and its columns: `number`, `category`, `yes_no`, `date`, `label`,
`left_out`. Each of them says which inputs the column becomes, and their values in every row.
"""

import gzip
import json
import statistics
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

N = 24
ROWS = range(N)

SIZE = [round(1.5 * k - 7.25, 2) for k in ROWS]
COUNT = [7 * k % 10 + 1 for k in ROWS]
COLOUR = [("red", "green", "blue")[k % 3] for k in ROWS]
KIND = [("rose", "tulip")[k % 2] for k in ROWS]


@dataclass(frozen=True)
class Col:
    """A column: its kind in a `Table`, and its inputs with their values."""

    name: str
    kind: str
    inputs: Mapping[str, Sequence[float]] = field(default_factory=dict)
    values: Sequence[Any] = ()


def _missing(name: str, values: Sequence[Any]) -> dict[str, list[float]]:
    gone = [float(value is None) for value in values]
    return {f"{name} is missing": gone} if any(gone) else {}


def number(name: str, values: Sequence[float | None]) -> Col:
    """Where there is none, the median stands, and another input says so."""
    there = [float(value) for value in values if value is not None]
    fill = statistics.median(there)
    own = {name: [fill if value is None else float(value) for value in values]}
    return Col(name, "number", own | _missing(name, values))


def category(
    name: str, values: Sequence[str | None], kind: str = "category", other: Iterable[str] = ()
) -> Col:
    """An input for each value; `other` are those that share one."""
    rest = set(other)
    levels = sorted({value for value in values if value is not None} - rest)
    made = {f"{name}: {level}": [float(v == level) for v in values] for level in levels}
    if rest:
        made[f"{name}: other"] = [float(value in rest) for value in values]
    return Col(name, kind, made | _missing(name, values))


def yes_no(name: str, values: Sequence[str]) -> Col:
    return category(name, values, "yes/no")


def date(name: str, values: Sequence[datetime | None]) -> Col:
    """Year, month, day of year, weekday and hour, as far as they vary."""
    parts: dict[str, Callable[[datetime], float]] = {
        "year": lambda d: d.year,
        "month": lambda d: d.month,
        "day of year": lambda d: d.timetuple().tm_yday,
        "weekday": lambda d: d.weekday(),
        "hour": lambda d: d.hour + d.minute / 60 + d.second / 3600,
    }
    made = {part: [None if d is None else f(d) for d in values] for part, f in parts.items()}
    varying = {p: v for p, v in made.items() if len({x for x in v if x is not None}) > 1}
    own = {f"{name}: {p}": number("", v).inputs[""] for p, v in varying.items()}
    return Col(name, "date", own | _missing(name, values))


def left_out(name: str) -> Col:
    return Col(name, "left out")


def label(name: str, values: Sequence[Any]) -> Col:
    """Class names, or targets."""
    return Col(name, "label", values=values)


SIZE_, COUNT_, COLOUR_ = number("size", SIZE), number("count", COUNT), category("colour", COLOUR)
KIND_ = label("kind", KIND)
BASE = (SIZE_, COUNT_, COLOUR_, KIND_)


@dataclass(frozen=True)
class Form:
    """A file, or an object, and the columns that it has."""

    what: str
    content: Any
    columns: tuple[Col, ...] = BASE
    name: str = "table.csv"
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        return self.what

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        if callable(self.content):
            self.content(path)
        else:
            text = self.content
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def sheet(
    columns: Mapping[str, Sequence[Any]], sep: str = ",", end: str = "\n", header: bool = True
) -> str:
    """Cells as they are spelled, row by row."""
    rows = [list(columns)] * header + [list(row) for row in zip(*columns.values(), strict=True)]
    return "".join(sep.join(map(str, row)) + end for row in rows)


CELLS = {"size": SIZE, "count": COUNT, "colour": COLOUR, "kind": KIND}
TEXT = sheet(CELLS)
LINES = TEXT.splitlines()


def cells(**more: Sequence[Any]) -> str:
    """The base table, with further columns before the label."""
    return sheet({"size": SIZE, "count": COUNT, "colour": COLOUR} | more | {"kind": KIND})


def numbered(columns: Sequence[Col]) -> tuple[Col, ...]:
    """The same columns without names."""
    return renamed(columns, [f"column {place + 1}" for place in range(len(columns))])


def renamed(columns: Sequence[Col], names: Sequence[str]) -> tuple[Col, ...]:
    made = []
    for name, c in zip(names, columns, strict=True):
        inputs = {name + key[len(c.name) :]: values for key, values in c.inputs.items()}
        made.append(replace(c, name=name, inputs=inputs))
    return tuple(made)


def with_column(c: Col) -> tuple[Col, ...]:
    return (SIZE_, COUNT_, COLOUR_, c, KIND_)


def aligned(columns: Mapping[str, Sequence[Any]]) -> str:
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    return "".join("  ".join(f"{cell!s:>8}" for cell in row) + "\n" for row in rows)


def quoted(text: str, mark: str = '"', escape: str = '"') -> str:
    return mark + text.replace(mark, escape + mark) + mark


def put(text: str, where: int, line: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:where], line + "\n", *lines[where:]])


SAID = [f'a "{c}" one' for c in COLOUR]
SLASHED = ["a \\" + f'"{c}\\" one' for c in COLOUR]
BROKEN = [f"{c},\nsaid" for c in COLOUR]
SEVERAL = [f"{c}, {c}; {c}" for c in COLOUR]
STREETS = [("Großstraße", "Ålborg", "café")[k % 3] for k in ROWS]
PRICED = [("5 € “new”", "10 € “old”")[k // 2 % 2] for k in ROWS]


def of_separators() -> list[Form]:
    return [
        Form("commas", TEXT),
        Form("semicolons", sheet(CELLS, ";")),
        Form("tabs", sheet(CELLS, "\t"), name="table.tsv"),
        Form("bars", sheet(CELLS, "|"), name="table.txt"),
        Form("spaces", sheet(CELLS, " "), name="table.txt"),
        Form("columns aligned with spaces", aligned(CELLS), name="table.data"),
        Form("aligned, only numbers, no header",
             aligned({"a": SIZE, "b": COUNT, "c": [k * 0.5 for k in ROWS]}).split("\n", 1)[1],
             (*numbered((SIZE_, COUNT_)), label("column 3", [k * 0.5 for k in ROWS])),
             name="table.txt"),
        Form("commas and spaces", sheet(CELLS, ", ")),
        Form("spaces around all cells",
             sheet({f" {n} ": [f" {v} " for v in c] for n, c in CELLS.items()})),
    ]  # fmt: skip


def of_quotes() -> list[Form]:
    def all_quoted(mark: str) -> str:
        return sheet({quoted(n, mark): [quoted(str(v), mark) for v in c] for n, c in CELLS.items()})

    return [
        Form("all quoted", all_quoted('"')),
        Form("all in single quotes", all_quoted("'")),
        Form("texts quoted",
             cells(said=[quoted(c) for c in COLOUR]), with_column(category("said", COLOUR))),
        Form("quotes doubled inside",
             cells(said=[quoted(s) for s in SAID]), with_column(category("said", SAID))),
        Form("quotes behind a backslash",
             cells(said=[quoted(s, escape="\\") for s in SAID]),
             with_column(category("said", SAID))),
        Form("separators in quotes",
             cells(said=[quoted(s) for s in SEVERAL]), with_column(category("said", SEVERAL))),
        Form("line breaks in cells",
             cells(said=[quoted(s) for s in BROKEN]), with_column(category("said", BROKEN))),
        Form("an apostrophe",
             cells(said=["it's " + c for c in COLOUR]),
             with_column(category("said", ["it's " + c for c in COLOUR]))),
    ]  # fmt: skip


def of_lines() -> list[Form]:
    streets = with_column(category("street", STREETS))
    priced = with_column(category("said", PRICED))
    return [
        Form("CRLF", TEXT.replace("\n", "\r\n")),
        Form("CR", TEXT.replace("\n", "\r")),
        Form("no end of the last line", TEXT.rstrip("\n")),
        Form("blank lines", put(put(TEXT, 9, ""), 3, "") + "\n\n"),
        Form("a separator after each row", sheet(CELLS, end=",\n"),
             (*BASE, left_out("column 5")), options={"label": "kind"}),
        Form("a byte order mark", "\ufeff" + TEXT),
        Form("UTF-16", TEXT.encode("utf-16"), note="UTF-16"),
        Form("UTF-16 little-endian without a mark", TEXT.encode("utf-16-le"), note="UTF-16"),
        Form("UTF-16 big-endian without a mark", TEXT.encode("utf-16-be"), note="UTF-16"),
        Form("Latin-1", cells(street=STREETS).encode("latin-1"), streets, note="not UTF-8"),
        Form("Windows-1252", cells(said=PRICED).encode("cp1252"), priced, note="Windows-1252"),
        Form("UTF-8", cells(street=STREETS), streets),
        Form("sep=;", "sep=;\n" + sheet(CELLS, ";")),
        Form("comments above", "# flowers\n# measured, and counted\n" + TEXT),
        Form("a comment between", put("# flowers\n" + TEXT, 9, "# measured again from here")),
        Form("a title above", "Flowers of the year\n" + TEXT, note="'Flowers of the year'"),
        Form("a title and a blank line above",
             "Flowers of the year\n\n" + TEXT, note="'Flowers of the year'"),
    ]  # fmt: skip


def of_headers() -> list[Form]:
    def named(names: Sequence[str]) -> str:
        return sheet(dict(zip(names, CELLS.values(), strict=True)))

    plain = {"size": SIZE, "count": COUNT, "width": [k * 0.25 for k in ROWS]}
    three = (SIZE_, COUNT_, number("width", plain["width"]))
    gone: list[Any] = ["NA", *SIZE[1:]]
    whole = sheet(dict(zip("abcd", [*plain.values(), KIND], strict=True)), header=False)
    integers = ["0", "1", "2", "species"]
    years = ["2019", "2020", "2021", "region"]
    return [
        Form("no header", sheet(CELLS, header=False), numbered(BASE)),
        Form("a header of integers",
             sheet(dict(zip(integers, [*plain.values(), KIND], strict=True))),
             renamed((*three, KIND_), integers)),
        Form("a header of years",
             sheet(dict(zip(years, [*plain.values(), KIND], strict=True))),
             renamed((*three, KIND_), years)),
        Form("a header of integers only, said to be one",
             sheet(dict(zip("0123", [*plain.values(), COUNT], strict=True))),
             renamed((*three, label("3", list(map(str, COUNT)))), "0123"),
             options={"header": True}),
        Form("no header, and only numbers",
             sheet(plain, header=False), (*numbered(three[:2]), label("column 3", plain["width"]))),
        Form("no header, and NA in the first row",
             sheet({"size": gone, "count": COUNT, "kind": KIND}, header=False),
             numbered((number("size", [None, *SIZE[1:]]), COUNT_, KIND_))),
        Form("no header, said to have none",
             whole, numbered((*three, KIND_)), options={"header": False}),
        Form("no header, the label first",
             sheet({"kind": KIND, "size": SIZE, "count": COUNT}, header=False),
             numbered((KIND_, SIZE_, COUNT_)), options={"label": 0}),
        Form("no header, a number as label first",
             sheet({"goal": SIZE, "count": COUNT, "width": plain["width"]}, header=False),
             numbered((label("goal", SIZE), *three[1:])), options={"label": "0"}),
        Form("an empty cell above the rows' numbers",
             sheet({"": list(ROWS)} | CELLS), (left_out("column 1"), *BASE)),
        Form("pandas' Unnamed: 0",
             sheet({"Unnamed: 0": list(ROWS)} | CELLS), (left_out("Unnamed: 0"), *BASE)),
        Form("the same name twice",
             TEXT.replace("size,count,colour", "a,a,b"),
             renamed(BASE, ["a", "a (2)", "b", "kind"])),
        Form("names with spaces, marks and other scripts",
             named(["size [cm]", "größe", "色", "the kind"]),
             renamed(BASE, ["size [cm]", "größe", "色", "the kind"])),
        Form("a header over texts alone",
             sheet({"colour": COLOUR, "kind": KIND}), (COLOUR_, KIND_)),
        *(Form(f"the label is called {name}",
               named([name, "count", "colour", "kind"]),
               (label(name, SIZE), COUNT_, COLOUR_, category("kind", KIND)))
          for name in ("LABEL", "Target", "Class", "Y")),
        Form("a label by its number from the end",
             TEXT, (SIZE_, COUNT_, label("colour", COLOUR), category("kind", KIND)),
             options={"label": -2}),
    ]  # fmt: skip


PRICE = [1234.5 + 250 * k for k in ROWS]
WHOLE = [12_000 + 1_250 * k for k in ROWS]
SIGNED = [1200.5 * (k - 10) for k in ROWS]


def german(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


AMOUNTS: dict[str, tuple[Sequence[float], Callable[[Any], str]]] = {
    "thousands with commas": (WHOLE, lambda v: quoted(f"{v:,}")),
    "thousands with commas and cents": (PRICE, lambda v: quoted(f"{v:,.2f}")),
    "thousands with points, decimal commas": (PRICE, lambda v: quoted(german(v))),
    "thousands with apostrophes": (PRICE, lambda v: f"{v:,.2f}".replace(",", "'")),
    "thousands with spaces": (PRICE, lambda v: f"{v:,.2f}".replace(",", " ")),
    "thousands with narrow spaces": (PRICE, lambda v: f"{v:,.2f}".replace(",", "\u202f")),
    "a currency before": (PRICE, lambda v: quoted(f"${v:,.2f}")),
    "a currency before, with a space": (PRICE, lambda v: quoted(f"EUR {v:,.2f}")),
    "a currency after": (PRICE, lambda v: quoted(f"{german(v)} €")),
    "per cent": ([k / 2 for k in ROWS], lambda v: f"{v}%"),
    "per cent with a space": ([k / 2 for k in ROWS], lambda v: f"{v} %"),
    "negative in brackets": (SIGNED, lambda v: quoted(f"{v:,.2f}" if v >= 0 else f"({-v:,.2f})")),
    "negative money": (SIGNED, lambda v: quoted(f"${v:,.2f}" if v >= 0 else f"-${-v:,.2f}")),
    "a long minus": (SIGNED, lambda v: str(v).replace("-", "\u2212")),
    "powers of ten": (SIGNED, lambda v: f"{v:.6e}"),
    "signs": (SIGNED, lambda v: f"{v:+}"),
    "no zero before the point": ([k / 32 for k in ROWS], lambda v: str(v).removeprefix("0")),
}  # fmt: skip


GERMAN = ("thousands with points, decimal commas", "a currency after")


def of_numbers() -> list[Form]:
    commas = {n: [str(v).replace(".", ",") for v in c] for n, c in CELLS.items()}
    goal = {"size": commas["size"], "count": COUNT, "goal": [german(v) for v in PRICE]}
    plain = {"size": SIZE, "count": COUNT, "colour": COLOUR}
    big = [1_700_000_000 + k * k for k in ROWS]
    return [
        Form("decimal commas", sheet(commas, ";"), note="decimal commas"),
        Form("decimal commas and tabs", sheet(commas, "\t"), name="t.tsv", note="decimal commas"),
        Form("decimal commas, said to be", sheet(commas, ";"), options={"decimal": ","}),
        Form("decimal commas in the target",
             sheet(goal, ";"), (SIZE_, COUNT_, label("goal", PRICE)), note="decimal commas"),
        *(Form(what,
               cells(price=[spell(v) for v in values]),
               with_column(number("price", values)),
               note="decimal commas" if what in GERMAN else "")
          for what, (values, spell) in AMOUNTS.items()),
        *(Form(f"{what}, as target",
               sheet(plain | {"price": [spell(v) for v in values]}),
               (*BASE[:3], label("price", values)),
               note="decimal commas" if what in GERMAN else "")
          for what, (values, spell) in AMOUNTS.items()),
        Form("seconds since 1970", cells(time=big), with_column(number("time", big))),
        Form("integers of more digits than fit in a float32",
             cells(time=[2**40 + k for k in COUNT]),
             with_column(number("time", [2**40 + k for k in COUNT]))),
    ]  # fmt: skip


def of_nothing() -> list[Form]:
    made = []
    for text in ("", "NA", "?", "nan", "NaN", "-", "NULL", "None", "#N/A", "<NA>", "."):
        numbers = [None if k in (3, 11) else v for k, v in enumerate(SIZE)]
        colours = [None if k in (5, 11, 17) else v for k, v in enumerate(COLOUR)]
        spelled = [[text if v is None else v for v in c] for c in (numbers, colours)]
        table = sheet({"count": COUNT, "size": spelled[0], "colour": spelled[1], "kind": KIND})
        columns = (COUNT_, number("size", numbers), category("colour", colours), KIND_)
        made.append(Form(f"missing: {text!r}", table, columns))
    return made


def spaced(days: int, seconds: int = 0) -> list[datetime]:
    start = datetime(2023, 11, 5, *((6, 30) if seconds else ()))
    return [start + k * timedelta(days, seconds) for k in ROWS]


DAYS, HOURS = spaced(17), spaced(3, 4567)
NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DATES: dict[str, tuple[Sequence[datetime], Callable[[datetime], str]]] = {
    "ISO": (DAYS, lambda d: d.date().isoformat()),
    "ISO with time": (HOURS, lambda d: d.isoformat(" ")),
    "ISO with T": (HOURS, lambda d: d.isoformat()),
    "ISO with Z": (HOURS, lambda d: d.isoformat() + "Z"),
    "German": (DAYS, lambda d: f"{d.day:02}.{d.month:02}.{d.year}"),
    "German with time": (HOURS, lambda d: f"{d.day:02}.{d.month:02}.{d.year} {d:%H:%M:%S}"),
    "US": (DAYS, lambda d: f"{d.month}/{d.day}/{d.year}"),
    "US with am and pm": (HOURS, lambda d: f"{d.month}/{d.day}/{d.year} {d:%I:%M:%S %p}"),
    "British": (DAYS, lambda d: f"{d.day}/{d.month}/{d.year}"),
    "slashes, the year first": (DAYS, lambda d: f"{d.year}/{d.month:02}/{d.day:02}"),
    "month names": (DAYS, lambda d: f"{d.day} {NAMES[d.month - 1]} {d.year}"),
    "month names in front": (DAYS, lambda d: quoted(f"{NAMES[d.month - 1]} {d.day}, {d.year}")),
    "month names and hyphens": (DAYS, lambda d: f"{d.day:02}-{NAMES[d.month - 1]}-{d.year}"),
}


def of_kinds() -> list[Form]:
    turns = [k // 3 % 2 for k in ROWS]
    words = [("no", "yes"), ("False", "True"), ("f", "t"), ("N", "Y"), ("FALSE", "TRUE")]
    prose = [f"the {c} one in row {k} of all of them" for k, c in enumerate(COLOUR)]
    codes = [f"A/{k:03}-x" for k in ROWS]
    towns = ["abcdefghi"[k % 9] if k < 18 else "pqrst"[k % 5] for k in ROWS]
    towns_ = category("town", towns, other=set("pqrst"))
    gone = [None if k % 8 == 7 else d for k, d in enumerate(DAYS)]
    return [
        *(Form(f"{no} and {yes}",
               cells(flag=[(no, yes)[k] for k in turns]),
               with_column(yes_no("flag", [(no, yes)[k] for k in turns])))
          for no, yes in words),
        Form("0 and 1", cells(flag=turns), with_column(number("flag", turns))),
        *(Form(f"dates: {what}",
               cells(day=[spell(d) for d in days]), with_column(date("day", days)))
          for what, (days, spell) in DATES.items()),
        Form("dates, some of them missing",
             cells(day=["" if d is None else d.date() for d in gone]),
             with_column(date("day", gone))),
        Form("numbers of the rows",
             sheet({"Id": [100 + k for k in ROWS]} | CELLS), (left_out("Id"), *BASE)),
        Form("a code for each row", cells(code=codes), with_column(left_out("code"))),
        Form("prose", cells(text=prose), with_column(left_out("text"))),
        Form("a constant", cells(unit=["cm"] * N), with_column(left_out("unit"))),
        Form("a constant number", cells(one=[1] * N), with_column(left_out("one"))),
        Form("an empty column", cells(nothing=[""] * N), with_column(left_out("nothing"))),
        Form("more categories than have an input of their own",
             cells(town=towns), with_column(towns_)),
        Form("codes with leading zeros",
             cells(zip=[f"{c:05}" for c in COUNT]),
             with_column(category("zip", [f"{c:05}" for c in COUNT], other=("00010",)))),
    ]  # fmt: skip


def of_labels() -> list[Form]:
    plain: dict[str, Sequence[Any]] = {"size": SIZE, "count": COUNT}

    def labelled(what: str, values: Sequence[tuple[str, str]]) -> Form:
        names, spelled = zip(*values, strict=True)
        table = sheet(plain | {"kind": spelled})
        return Form(f"labels: {what}", table, (SIZE_, COUNT_, label("kind", list(names))))

    def cycled(*texts: str) -> list[tuple[str, str]]:
        return [(texts[k % len(texts)], texts[k % len(texts)]) for k in ROWS]

    return [
        labelled("leading zeros", cycled("02134", "00501", "10001")),
        labelled("1.1 and 1.10 among texts", cycled("1.1", "1.10", "rc")),
        labelled("1E2 and 100 among texts", cycled("1E2", "100", "A1")),
        labelled("versions", cycled("1.1.0", "1.10.0", "2.0.0")),
        labelled("upper and lower case differ", cycled("A", "a", "B")),
        labelled("None is a class", cycled("None", "Mild", "Severe")),
        labelled("- is a class", cycled("-", "+")),
        labelled("yes and no", cycled("no", "yes")),
        labelled("True and False", cycled("False", "True")),
        labelled("integers", cycled("3", "10", "7")),
        labelled("integers written as 1.0", [(str(k % 3), f"{k % 3}.0") for k in ROWS]),
        labelled("with a space and a comma",
                 [(f"{c}, dark", quoted(f"{c}, dark")) for c in COLOUR]),
        labelled("signs", cycled("<=50K", ">50K")),
        labelled("dates are classes", cycled("2024-01-01", "2024-02-01")),
        Form("labels: numbers of two columns",
             sheet({"count": COUNT, "colour": COLOUR, "x": SIZE, "y": PRICE}),
             (COUNT_, COLOUR_, label("x", SIZE), label("y", PRICE)),
             options={"label": ["x", "y"]}),
    ]  # fmt: skip


def zipped(**members: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in members.items():
                archive.writestr(name, text)

    return write


OBJECTS: list[dict[str, Any]] = [
    {"size": s, "count": c, "colour": colour, "kind": kind}
    for s, c, colour, kind in zip(SIZE, COUNT, COLOUR, KIND, strict=True)
]


def json_lines(objects: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(each) + "\n" for each in objects)


TYPED = """
    SELECT size::DECIMAL(9, 2) AS size, nullif(count, 8)::INTEGER AS count,
        colour::ENUM ('red', 'green', 'blue') AS colour, (count > 5) AS flag,
        TIMESTAMP '2023-11-05 00:00:00' + INTERVAL (row) HOUR AS time,
        CASE WHEN row <> 5 THEN DATE '2023-11-05' + (row * 17)::INTEGER END AS day,
        TIMESTAMPTZ '2023-11-05 00:00:00+00' + INTERVAL (row * 17) DAY AS zoned,
        NULL::DOUBLE AS nothing, row AS Id, kind
    FROM rows ORDER BY row"""


def parquet(path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE rows (row BIGINT, size DOUBLE, count BIGINT, colour TEXT, kind TEXT)"
        )
        connection.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
            [[k, *each.values()] for k, each in enumerate(OBJECTS)],
        )
        connection.execute(f"COPY ({TYPED}) TO '{path}' (FORMAT parquet)")


GAPS = [None if c == 8 else c for c in COUNT]
FLAGS = [c > 5 for c in COUNT]


def of_files() -> list[Form]:
    holes = [{k: v for k, v in each.items() if k != "count" or v != 8} for each in OBJECTS]
    nulls = [each | {"count": None if each["count"] == 8 else each["count"]} for each in OBJECTS]
    gaps = (SIZE_, number("count", GAPS), COLOUR_, KIND_)
    flagged = [{"flag": f} | each for f, each in zip(FLAGS, OBJECTS, strict=True)]
    flag = yes_no("flag", [str(f).lower() for f in FLAGS])
    days = [{"day": d.date().isoformat()} | each for d, each in zip(DAYS, OBJECTS, strict=True)]
    times = [datetime(2023, 11, 5) + timedelta(hours=k) for k in ROWS]
    typed = (
        *(SIZE_, number("count", GAPS), COLOUR_, flag, date("time", times)),
        date("day", [None if k == 5 else d for k, d in enumerate(DAYS)]),
        *(date("zoned", DAYS), left_out("nothing"), left_out("Id"), KIND_),
    )
    packed = gzip.compress(TEXT.encode(), mtime=0)
    mac = {"folder/table.csv": TEXT, "__MACOSX/folder/._table.csv": "\0\5\x16\7"}
    return [
        Form("gzip", packed, name="table.csv.gz"),
        Form("gzip in two members",
             gzip.compress(TEXT[:100].encode()) + gzip.compress(TEXT[100:].encode()),
             name="table.csv.gz"),
        Form("zip", zipped(**{"table.csv": TEXT}), name="table.csv.zip"),
        Form("zip from a Mac", zipped(**mac), name="table.csv.zip"),
        Form("a pattern in the name", TEXT, name="a[b]c*d?{e}'f\" g.csv"),
        Form("an upper-case suffix", TEXT, name="TABLE.CSV"),
        Form("JSON lines", json_lines(OBJECTS), name="table.jsonl"),
        Form("JSON lines without some keys", json_lines(holes), gaps, name="table.ndjson"),
        Form("JSON lines with null", json_lines(nulls), gaps, name="table.jsonl"),
        Form("JSON lines with true and false", json_lines(flagged), (flag, *BASE), name="t.jsonl"),
        Form("JSON lines with dates", json_lines(days), (date("day", DAYS), *BASE), name="t.jsonl"),
        Form("JSON lines, packed",
             gzip.compress(json_lines(OBJECTS).encode()), name="table.jsonl.gz"),
        Form("Parquet", parquet, typed, name="table.parquet"),
    ]  # fmt: skip


def of_frames() -> list[Form]:
    """Data frames, without a label."""
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    flags = [str(f) for f in FLAGS]
    mixed: dict[str, Any] = {"size": SIZE, "count": GAPS, "colour": COLOUR, "flag": FLAGS}
    columns = (SIZE_, number("count", GAPS), COLOUR_, yes_no("flag", flags))
    some = {"colour": [None if k == 5 else c for k, c in enumerate(COLOUR)]}
    some_ = (category("colour", some["colour"]),)
    holes = {"day": [None if k == 5 else d for k, d in enumerate(DAYS)]}
    holes_ = (date("day", holes["day"]),)
    days = {"day": DAYS}
    hours = (date("day", DAYS),)
    amounts = [Decimal(str(v)) for v in SIZE]
    objects = ["1.5" if k % 2 else 2.5 for k in ROWS]
    made = [
        ("a dict", mixed, columns),
        ("pandas", pd.DataFrame(mixed), columns),
        ("pandas, nullable", pd.DataFrame(mixed).convert_dtypes(), columns),
        ("pandas, Int64 with NA",
         pd.DataFrame(mixed).astype({"count": "Int64", "size": "Float32"}), columns),
        ("pandas, categories", pd.DataFrame(mixed).astype({"colour": "category"}), columns),
        ("pandas on Arrow", pd.DataFrame(mixed).convert_dtypes(dtype_backend="pyarrow"), columns),
        ("pandas, times", pd.DataFrame(days), hours),
        ("pandas, times of a zone",
         pd.DataFrame({"day": pd.Series(DAYS).dt.tz_localize("Europe/Berlin")}), hours),
        ("pandas, date objects", pd.DataFrame({"day": [d.date() for d in DAYS]}), hours),
        ("pandas, objects of NumPy",
         pd.DataFrame({"size": pd.Series([*map(np.float32, WHOLE)], dtype=object)}),
         (number("size", WHOLE),)),
        ("pandas, Decimal", pd.DataFrame({"size": amounts}), (SIZE_,)),
        ("pandas, objects", pd.DataFrame({"size": pd.Series(SIZE, dtype=object)}), (SIZE_,)),
        ("pandas, numbers and texts of numbers",
         pd.DataFrame({"size": objects}), (number("size", [float(v) for v in objects]),)),
        ("pandas, names that are numbers",
         pd.DataFrame({0: SIZE, 1: COUNT}), renamed((SIZE_, COUNT_), "01")),
        ("a dict with None", some | holes, (*some_, *holes_)),
        ("pandas with None", pd.DataFrame(some | holes), (*some_, *holes_)),
        ("pandas with NA", pd.DataFrame(some).convert_dtypes(), some_),
        ("pandas, objects with NA", pd.DataFrame(some).fillna(pd.NA).astype(object), some_),
        ("pandas, categories with NA", pd.DataFrame(some).astype("category"), some_),
        ("pandas on Arrow with NA",
         pd.DataFrame(some | holes).convert_dtypes(dtype_backend="pyarrow"), (*some_, *holes_)),
        ("polars with None", pl.DataFrame(some | holes), (*some_, *holes_)),
        ("Arrow with None", pa.table(some | holes), (*some_, *holes_)),
        ("polars", pl.DataFrame(mixed), columns),
        ("polars, categories", pl.DataFrame(mixed).cast({"colour": pl.Categorical}), columns),
        ("polars, Enum",
         pl.DataFrame(mixed).cast({"colour": pl.Enum(["red", "green", "blue"])}), columns),
        ("polars, Decimal", pl.DataFrame({"size": amounts}), (SIZE_,)),
        ("polars, times", pl.DataFrame(days), hours),
        ("polars, days", pl.DataFrame(days).cast(pl.Date), hours),
        ("polars, times of a zone",
         pl.DataFrame(days).with_columns(pl.col("day").dt.replace_time_zone("Asia/Tokyo")), hours),
        ("Arrow", pa.table(mixed), columns),
        ("Arrow, dictionary",
         pa.table(mixed | {"colour": pa.array(COLOUR).dictionary_encode()}), columns),
        ("Arrow, Decimal", pa.table({"size": pa.array(amounts)}), (SIZE_,)),
        ("Arrow, times", pa.table({"day": pa.array(DAYS, pa.timestamp("ns", "UTC"))}), hours),
    ]  # fmt: skip
    return [Form(what, frame, own) for what, frame, own in made]


FILES = [
    *(of_separators() + of_quotes() + of_lines() + of_headers() + of_numbers() + of_nothing()),
    *(of_kinds() + of_labels() + of_files()),
]
FRAMES = of_frames()
