"""Open a bill, whatever it is written in, as one lazy frame of raw columns that expressions can be laid over.

CSV is read as text only, so that no reader guesses a number; Parquet and JSON keep their types and are turned into text
where a form has to be judged. Nothing here knows a provider.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid, Problem, TooLarge

HEADER_BYTES_MAX = 4 * 1024 * 1024
"""A header with 20,000 tag columns fits."""

COLUMNS_MAX = 50_000
"""More columns than this is not a bill."""

TRANSCODE_BYTES_MAX = 256 * 1024 * 1024
"""A file that is not UTF-8 is rewritten in memory, so it is bounded."""

JSON_LINE_BYTES_MAX = 16 * 1024**2
"""Longest line of NDJSON looked at to tell it from one object over many lines."""

JSON_ARRAY_BYTES_MAX = 128 * 1024 * 1024
"""A JSON array is read whole; newline-delimited JSON has no such limit."""

CHUNK_BYTES = 1024 * 1024

SAMPLE_ROWS = 20

EXTRA = "_beyond_the_header"
"""Catches the first value of a row that has more fields than the header."""

PARQUET_MAGIC = b"PAR1"

_IN_PARENTHESES = re.compile(r"\(([^()]+)\)\s*$")
_NOT_A_KEY = re.compile(r"[^a-z0-9]")


def key_of(name: str) -> str:
    """Return the name that header styles share: ``lineItem/UsageType`` and ``line_item_usage_type`` are one.

    A localised Azure header carries the English name in parentheses at its end; that one counts.
    """
    inside = _IN_PARENTHESES.search(name)
    return _NOT_A_KEY.sub("", (inside[1] if inside else name).lower())


@dataclass(frozen=True)
class Source:
    """An opened bill.

    Attributes:
        frame: The raw columns under their own names, plus ``_row`` (the line of the file, the header being 1).
        types: Raw column name to Polars type.
        names: :func:`key_of` a raw name to the raw name; the first of equal keys.
        separator: The CSV delimiter; empty for Parquet and JSON.
        notes: What was assumed while opening.
        problems: What is wrong with the file as a whole.
    """

    frame: pl.LazyFrame
    types: Mapping[str, pl.DataType]
    names: Mapping[str, str]
    separator: str = ""
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def find(self, *names: str) -> list[str]:
        """Return the raw columns that exist among ``names``, in the order asked."""
        found = (self.names.get(key_of(name)) for name in names)
        return list(dict.fromkeys(name for name in found if name is not None))

    def has(self, *names: str) -> bool:
        """Tell whether every one of ``names`` exists."""
        return all(key_of(name) in self.names for name in names)

    def form_of(self, column: str, forms: Iterable[str]) -> str:
        """Return the first of ``forms`` that reads the first value of a text column, or an empty text.

        Only CSV is looked at: there the first values are a few bytes away.
        """
        if not self.separator:
            return ""
        first = self.sample[column].drop_nulls().head(1)
        for form in forms:
            if len(first) and first.str.to_datetime(form, strict=False).null_count() == 0:
                return form
        return ""

    @cached_property
    def sample(self) -> pl.DataFrame:
        """The first rows."""
        return self.frame.head(SAMPLE_ROWS).collect()

    def plus(self, added: Mapping[str, pl.Expr]) -> "Source":
        """Return the source with further text columns computed from its own."""
        if not added:
            return self
        types = {**self.types, **dict.fromkeys(added, pl.String())}
        return replace(self, frame=self.frame.with_columns(**added), types=types, names=_named(types))


def header_of(head: Head) -> frozenset[str]:
    """Return the keys of the column names that the beginning of a document shows; empty when it shows none."""
    if head.columns:
        return frozenset(map(key_of, head.columns))
    if head.data.startswith(PARQUET_MAGIC):
        return _parquet_keys(head)
    text = head.text().lstrip("\ufeff \r\n\t")
    if text.startswith(("{", "[")):
        return frozenset(_NOT_A_KEY.sub("", name.lower()) for name in re.findall(r'"([^"\\]{1,80})"\s*:', text[:16384]))
    if not text or "\x00" in text[:1024]:
        return frozenset()
    try:
        names, _, _ = _csv_header(text)
    except csv.Error:
        return frozenset()
    return frozenset(map(key_of, names))


def _parquet_keys(head: Head) -> frozenset[str]:
    if head.size != len(head.data):
        return frozenset()
    try:
        return frozenset(map(key_of, pl.read_parquet_schema(io.BytesIO(head.data))))
    except (pl.exceptions.PolarsError, OSError):
        return frozenset()


def open_source(document: Path, *, nulls: Iterable[str] = ()) -> Source:
    """Open ``document`` lazily.

    Args:
        document: A decompressed local file: CSV, Parquet, NDJSON or a JSON array of objects.
        nulls: Texts that mean "no value" in this format, besides the empty one (CSV only).

    Raises:
        Invalid: The file is empty, has no header, repeats a column, or ends inside a row.
        TooLarge: Too many columns, or a file that must be rewritten in memory is too big for that.
    """
    with document.open("rb") as file:
        start = file.read(4096)
    if start.startswith(PARQUET_MAGIC):
        return _open_parquet(document)
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[")):
        return _open_json(document)
    return _open_csv(document, tuple(nulls))


def _named(columns: Iterable[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for name in columns:
        names.setdefault(key_of(name), name)
    return names


def _open_parquet(document: Path) -> Source:
    try:
        schema = pl.read_parquet_schema(document)
    except (pl.exceptions.PolarsError, OSError) as error:
        what = f"{document.name} begins like Parquet but cannot be read: {str(error)[:120]}"
        raise Invalid(what, "Fetch the file again; it was probably cut off.") from error
    frame = pl.scan_parquet(document, glob=False, row_index_name="_row", row_index_offset=1)
    return Source(_without_blanks(frame, schema), dict(schema), _named(schema))


def _without_blanks(frame: pl.LazyFrame, schema: Mapping[str, pl.DataType]) -> pl.LazyFrame:
    """Make empty texts null, as the CSV reader does."""
    texts = [name for name, kind in schema.items() if kind == pl.String()]
    return frame.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)) for name in texts)


def _open_json(document: Path) -> Source:
    """Open NDJSON lazily, a JSON array or one object over many lines whole; the types are those of the values found."""
    with document.open("rb") as file:
        first = file.readline(JSON_LINE_BYTES_MAX).lstrip(b"\xef\xbb\xbf \r\n\t")
    array = first.startswith(b"[")
    spread = not array and not first.rstrip().endswith(b"}")
    try:
        if array or spread:
            size = document.stat().st_size
            if size > JSON_ARRAY_BYTES_MAX:
                raise TooLarge("a JSON array (use one JSON object per line)", JSON_ARRAY_BYTES_MAX, "bytes")
            whole = document if array else io.BytesIO(b"[" + document.read_bytes().lstrip(b"\xef\xbb\xbf") + b"]")
            frame = pl.read_json(whole, infer_schema_length=None).lazy()
        else:
            frame = pl.scan_ndjson(document, infer_schema_length=None)
        schema = frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise Invalid(f"{document.name} is not readable JSON: {str(error)[:120]}", "Export it again.") from error
    return Source(_without_blanks(frame, schema).with_row_index("_row", offset=1), dict(schema), _named(schema))


def _open_csv(document: Path, nulls: tuple[str, ...]) -> Source:
    data, notes = _as_utf8(document)
    with io.BytesIO(data) if data is not None else document.open("rb") as file:
        beginning = file.read(HEADER_BYTES_MAX).decode("utf-8-sig", errors="ignore")
    names, separator, lines = _csv_header(beginning)
    _check_header(document, names, len(beginning))
    columns = [name or f"_unnamed_{index}" for index, name in enumerate(names)]
    schema: dict[str, pl.DataType] = dict.fromkeys([*columns, EXTRA], pl.String())
    _refuse_cut_file(document, data, separator, len(columns))
    frame = pl.scan_csv(
        data if data is not None else document,
        has_header=False,
        skip_lines=lines,
        schema=schema,
        separator=separator,
        null_values=["", *nulls],
        truncate_ragged_lines=True,
        missing_columns="insert",
        glob=False,
        row_index_name="_row",
        row_index_offset=lines + 1,
    )
    return Source(frame, schema, _named(columns), separator, notes)


def _csv_header(text: str) -> tuple[list[str], str, int]:
    """Return the column names, the delimiter and how many lines the header takes."""
    first = text.splitlines()[0] if text.strip() else ""
    separator = max(",;\t|", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    names = next(reader, [])
    return [name.strip() for name in names], separator, reader.line_num


def _check_header(document: Path, names: list[str], seen: int) -> None:
    if not any(names):
        raise Invalid(f"{document.name} is empty", "Export it again; the first line must name the columns.")
    if seen >= HEADER_BYTES_MAX and len(names) == 1:
        raise TooLarge("the header line", HEADER_BYTES_MAX, "bytes")
    if len(names) > COLUMNS_MAX:
        raise TooLarge("the number of columns", COLUMNS_MAX, "columns")
    named = [name for name in names if name]
    twice = sorted({name for name in named if named.count(name) > 1}) if len(set(named)) < len(named) else []
    if twice:
        what = f"{document.name} names the column {twice[0]} more than once"
        raise Invalid(what, "Rename or remove the repeated column; which of them is meant cannot be guessed.")


def _refuse_cut_file(document: Path, data: bytes | None, separator: str, columns: int) -> None:
    """Refuse a file whose last line was cut: without it the totals would be wrong and nobody would know."""
    with io.BytesIO(data) if data is not None else document.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - CHUNK_BYTES))
        tail = file.read().decode("utf-8", errors="replace")
    if tail.endswith(("\n", "\r")) or "\n" not in tail:
        return
    last = tail.rsplit("\n", 1)[1]
    fields = next(csv.reader([last], delimiter=separator), [])
    if last.strip() and ((len(fields) < columns and columns > 1) or last.count('"') % 2):
        what = f"{document.name} ends in the middle of its last row ({len(fields)} of {columns} values)"
        raise Invalid(what, "Fetch or export the file again; it was cut off, so its totals would be wrong.")


def _as_utf8(document: Path) -> tuple[bytes | None, tuple[str, ...]]:
    """Return None for a UTF-8 file, else its text in UTF-8: UTF-16 by its mark, stray bytes as Windows-1252."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with document.open("rb") as file:
        mark = file.read(2)
        if mark in {b"\xff\xfe", b"\xfe\xff"}:
            return _transcoded(document, "utf-16"), ("The file is in UTF-16; it was read as such.",)
        chunk = mark + file.read(CHUNK_BYTES)
        try:
            while chunk:
                if not chunk.isascii() or decoder.getstate()[0]:
                    decoder.decode(chunk)
                chunk = file.read(CHUNK_BYTES)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            note = "The file is not in UTF-8 throughout; the bytes that are not were read as Windows-1252."
            return _transcoded(document, "utf-8"), (note,)
    return None, ()


def _transcoded(document: Path, encoding: str) -> bytes:
    if document.stat().st_size > TRANSCODE_BYTES_MAX:
        raise TooLarge("a file that is not in UTF-8 (save it as UTF-8)", TRANSCODE_BYTES_MAX, "bytes")
    return document.read_bytes().decode(encoding, errors="bursar-cp1252").encode()


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", errors="replace"), error.end


codecs.register_error("bursar-cp1252", _windows_1252)
