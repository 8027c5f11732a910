"""Delimited text and worksheets to one table of text columns with the line number of every row.

Polars reads the text; when its row count does not explain every line of the file (stray quotes, ragged rows) the
standard library's reader takes over, which is slower and reports each odd row.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from bursar.connectors.banks import _text
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid, Problem

COLUMNS_MAX = 200
"""Columns of a table."""

LOOK_AHEAD = 40
"""Lines searched for the header, and used to find the delimiter."""

SHEET_ROWS_MAX = 1_048_576
"""Rows of a worksheet (the limit of the format)."""

_DELIMITERS = (",", ";", "\t", "|")
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        rows: Shape (rows, columns), named ``c0``, ``c1`` …; all text, null where a row is short.
        lines: Line of the file where each row begins, from 1.
        delimiter: What separated the columns; "" for a worksheet.
        problems: Rows that do not fit the table; they are not in ``rows``.
        notes: What a person should know.
    """

    rows: pl.DataFrame
    lines: pl.Series
    delimiter: str
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def head(self) -> list[list[str]]:
        """Return the first rows as lists of stripped text."""
        return [[(cell or "").strip() for cell in row] for row in self.rows.head(LOOK_AHEAD).iter_rows()]

    def after(self, row: int, *, repeated: Sequence[str] = ()) -> "Table":
        """Return the table without its first ``row`` rows, without blank rows and without repetitions of its header."""
        rows, lines = self.rows[row:], self.lines[row:]
        drop = rows.select(pl.all_horizontal(pl.all().fill_null("").str.strip_chars() == "")).to_series()
        if repeated:
            same = [pl.col(f"c{i}").fill_null("").str.strip_chars() == cell for i, cell in enumerate(repeated)]
            drop = drop | rows.select(pl.all_horizontal(same)).to_series()
        return replace(self, rows=rows.filter(~drop), lines=lines.filter(~drop))


def read(document: Path) -> Table:
    """Read a delimited text file or an XLSX worksheet.

    Raises:
        Invalid: There is no table in it.
        TooLarge: It is over the size limit.
    """
    data = _text.read_bytes(document)
    if data.startswith(_ZIP):
        return _sheet(document)
    decoded = _text.decode(data)
    return replace(read_text(decoded.value), notes=decoded.notes)


def read_text(text: str) -> Table:
    """Read delimited text; see :func:`read`."""
    text = _one_kind_of_line_end(text)
    delimiter, width = dialect(text)
    if width < 2:
        raise Invalid("The file holds no table with two or more columns", "Export it as CSV with a header row")
    if width > COLUMNS_MAX:
        raise Invalid(f"The table has {width} columns; at most {COLUMNS_MAX} are read", "Export fewer columns")
    return _fast(text, delimiter, width) or _careful(text, delimiter, width)


def _one_kind_of_line_end(text: str) -> str:
    if "\r" not in text:
        return text
    return text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")


def dialect(text: str) -> tuple[str, int]:
    """Return the delimiter and the number of columns: the widest shape that most of the first lines agree on."""
    lines = [line for line in text[: 1 << 18].split("\n")[:LOOK_AHEAD] if line.strip()]
    best, best_score = (",", 1), 0.0
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in _rows("\n".join(lines), delimiter)]
        width, agreeing = max(Counter(widths).items(), key=lambda item: (item[0] > 1, item[1], item[0]), default=(1, 0))
        score = agreeing / len(widths) * min(width, 8) if width > 1 else 0.0
        if score > best_score:
            header = max(widths[: widths.index(width) + 1])  # a header may name more columns than the rows fill
            best, best_score = (delimiter, max(width, header)), score
    return best


def _rows(text: str, delimiter: str) -> list[list[str]]:
    try:
        return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error:
        return []


def _fast(text: str, delimiter: str, width: int) -> Table | None:
    """Read with Polars; None unless every line of the text is explained by a row or a line break inside a field."""
    names = [f"c{i}" for i in range(width)]
    try:
        rows = pl.read_csv(
            io.BytesIO(text.encode("utf-8", errors="replace")),
            has_header=False,
            separator=delimiter,
            schema=dict.fromkeys(names, pl.String()),
            infer_schema=False,
        )
    except (pl.exceptions.PolarsError, ValueError):
        return None
    breaks = rows.select(
        pl.sum_horizontal(pl.all().str.count_matches("\n", literal=True).fill_null(0)).cast(pl.Int64)
    ).to_series()
    lines_total = text.count("\n") + (not text.endswith("\n"))
    if rows.height + int(breaks.sum() or 0) != lines_total:
        return None
    if rows.select(pl.any_horizontal(pl.all().str.contains(r'^[^"]*"[^"]*$')).any()).item():
        return None  # a lone quote: Polars and the RFC disagree on what it means
    lines = (pl.int_range(rows.height, eager=True) + 1 + breaks.cum_sum() - breaks).cast(pl.Int64)
    return Table(rows, lines, delimiter)


def _careful(text: str, delimiter: str, width: int) -> Table:
    """Read with the standard library; rows wider than the table become problems."""
    reader = csv.reader(io.StringIO(text.replace("\r", " "), newline=""), delimiter=delimiter)
    taken: list[list[str | None]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    begins = 1
    try:
        for row in reader:
            if len(row) <= width:
                taken.append([*row, *([None] * (width - len(row)))])
                lines.append(begins)
            elif any(cell.strip() for cell in row[width:]):
                problems.append(_too_wide(row, width, begins))
            else:
                taken.append([*row[:width]])
                lines.append(begins)
            begins = reader.line_num + 1
        if lines and text.count('"') % 2 and reader.line_num > lines[-1]:
            problems.append(_unclosed(lines.pop()))
            taken.pop()
    except csv.Error as error:
        raise Invalid(f"Line {begins} cannot be read as CSV: {error}", "Correct the quotes of that line") from error
    rows = pl.DataFrame(taken, schema=dict.fromkeys((f"c{i}" for i in range(width)), pl.String()), orient="row")
    return Table(rows, pl.Series(lines, dtype=pl.Int64), delimiter, tuple(problems))


def _unclosed(line: int) -> Problem:
    return Problem(
        "a quote opens in this row and never closes, so that all lines after it would be one field; none of them was taken",
        "Close the quote, or take it away",
        row=line,
    )


def _too_wide(row: Sequence[str], width: int, line: int) -> Problem:
    return Problem(
        f"the row has {len(row)} columns where the table has {width}",
        "Put quotes around the field that holds the delimiter",
        row=line,
    )


def first_rows(head: Head) -> list[list[str]]:
    """Return the first rows of a document as far as its head shows them; none where it is no table.

    A workbook can only be opened whole, so one that is longer than the head shows nothing.
    """
    try:
        if head.data.startswith(_ZIP):
            return _sheet(head.data).head() if len(head.data) == head.size else []
        text = head.text()
        return read_text(text.rpartition("\n")[0] or text).head()
    except Invalid:
        return []


def is_workbook(head: Head) -> bool:
    """Tell whether the document looks like an XLSX workbook."""
    return head.data.startswith(_ZIP) and (b"xl/" in head.data or head.name.lower().endswith(".xlsx"))


def _sheet(document: Path | bytes) -> Table:
    """Read the first worksheet that holds two or more columns; numbers come as Excel stored them."""
    import fastexcel

    try:
        book = fastexcel.read_excel(document)
        for name in book.sheet_names:
            sheet = book.load_sheet(name, header_row=None, dtypes="string", skip_whitespace_tail_rows=True)
            frame = sheet.to_polars()
            if frame.width >= 2 and frame.height:
                break
        else:
            raise Invalid("No worksheet holds a table with two or more columns", "Export the statement as a table")
    except fastexcel.FastExcelError as error:
        raise Invalid("The workbook cannot be read", "Open it in a spreadsheet and save it as XLSX or CSV") from error
    if frame.height > SHEET_ROWS_MAX or frame.width > COLUMNS_MAX:
        raise Invalid(f"The worksheet has {frame.height} rows and {frame.width} columns, too many to read", "Split it")
    rows = frame.rename({old: f"c{i}" for i, old in enumerate(frame.columns)}).cast(pl.String)
    rows = rows.with_columns(pl.all().str.replace(r"^(\d{4}-\d{2}-\d{2})[ T]00:00:00(\.0+)?$", "$1"))
    return Table(
        rows, pl.int_range(1, rows.height + 1, eager=True).cast(pl.Int64), "", notes=(f"Read from worksheet “{name}”",)
    )


def key(header: str) -> str:
    """Return a header cell in comparable form: lower case, no accents or punctuation, single blanks."""
    import unicodedata

    plain = unicodedata.normalize("NFKD", header).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", " ", plain.lower()).strip()


def one_of(options: Mapping[str, str], name: str, allowed: frozenset[str]) -> str:
    """Return the option ``name``, or "".

    Raises:
        Invalid: It is not one of ``allowed``.
    """
    value = options.get(name, "")
    if value and value not in allowed:
        raise Invalid(f"The option {name} is {value[:20]!r}", f"Use one of {', '.join(sorted(allowed))}")
    return value


def mapped(
    option: str, header: Sequence[str], roles: frozenset[str], *, required: Sequence[Collection[str]], many: str = ""
) -> dict[str, int]:
    """Read a person's mapping: JSON of role to header text or column number from 1.

    Args:
        option: The JSON text.
        header: Header cells.
        roles: Allowed keys.
        required: Of each group, one role must be mapped.
        many: The role that may take a list of columns; its columns come back as ``role``, ``role 2`` …

    Raises:
        Invalid: It is not such a JSON object, names an unknown role or column, or lacks a required role.
    """
    example = 'Write {"date role": "Date", "amount": "Amount"} with the roles ' + ", ".join(sorted(roles))
    try:
        mapping = json.loads(option)
    except (ValueError, RecursionError) as error:
        raise Invalid("The option mapping is not JSON", example) from error
    if not isinstance(mapping, dict):
        raise Invalid("The option mapping is not a JSON object", example)
    at: dict[str, int] = {}
    for role, column in mapping.items():
        if role not in roles:
            raise Invalid(
                f"The mapping names an unknown role {str(role)[:40]!r}", f"Use one of {', '.join(sorted(roles))}"
            )
        columns = column if isinstance(column, list) and role == many else [column]
        at |= {role if not n else f"{role} {n + 1}": _index(one, header) for n, one in enumerate(columns)}
    lacking = [group for group in required if not set(group) & at.keys()]
    if lacking:
        raise Invalid(f"The mapping lacks {' or '.join(sorted(lacking[0]))}", example)
    return at


def _index(column: object, header: Sequence[str]) -> int:
    if isinstance(column, int) and not isinstance(column, bool) and 1 <= column <= len(header):
        return column - 1
    keys = [key(cell) for cell in header]
    if isinstance(column, str) and key(column) in keys:
        return keys.index(key(column))
    raise Invalid(
        f"The mapping names a column {str(column)[:40]!r} that the file does not have", "Use a header of the file"
    )
