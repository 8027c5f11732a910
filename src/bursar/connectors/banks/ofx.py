"""OFX 1.x (SGML), OFX 2.x (XML) and QFX: bank, card and investment statements.

The text is cut at ``<STMTTRN>`` and every field is one regular expression over the whole column, so SGML without end
tags and XML are read by the same code. Only what lies on the cash side is taken: trades of an investment account are
counted and reported. Source: OFX Banking Specification 2.3, sections 11 (bank), 13 (investments).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from bursar.connectors.banks import _amounts, _frame, _text
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid, Problem
from bursar.kernel.lines import BANK_LINES, DocumentKind, Parsed, Statement

STATEMENTS_MAX = 10_000
"""Statements (accounts) in one document."""

_CUT = "<STMTTRN>"
_OPEN = re.compile(r"<(CC|INV)?STMTRS>")
_LOWER_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9.]*)(\s[^<>]*)?>")
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_XML_ENCODING = re.compile(rb"<\?xml[^>]{0,200}encoding=[\"']([A-Za-z0-9._-]{1,40})")
_SGML_ENCODING = re.compile(rb"(?:^|\s)(ENCODING|CHARSET):([A-Za-z0-9._-]{1,40})")
_TRADE = re.compile(
    r"<(BUY(?:DEBT|MF|OPT|OTHER|STOCK)|SELL(?:DEBT|MF|OPT|OTHER|STOCK)|INCOME|REINVEST|TRANSFER|MARGININTEREST"
    r"|INVEXPENSE|JRNLFUND|JRNLSEC|CLOSUREOPT|RETOFCAP|SPLIT)>"
)
_MONEY_MOVED_ELSEWHERE = re.compile(r"<(INTRARS|INTERRS|WIRERS|PMTRS)>")
_FIELDS = {
    "_day": "DTPOSTED",
    "_value_day": "DTAVAIL",
    "_amount": "TRNAMT",
    "bank_id": "FITID",
    "_name": "NAME",
    "_memo": "MEMO",
    "_check": "CHECKNUM",
    "_reference": "REFNUM",
    "transaction_code": "TRNTYPE",
    "category": "CATEGORY",
    "_value_day_other": "VALUEDATE",
}
"""Column from element."""


@dataclass(frozen=True, slots=True)
class _Section:
    """One statement: where its text begins and ends, and its rows' frame."""

    statement: Statement
    rows: pl.DataFrame
    problems: tuple[Problem, ...]


class Ofx:
    """OFX and QFX files as banks hand them out."""

    name = "ofx"
    title = "OFX or QFX statement"
    kind = DocumentKind.BANK

    def sniff(self, head: Head) -> float:
        """Recognise the OFX header or the root element."""
        text = head.text()
        if re.search(r"OFXHEADER\s*[:=]", text) or re.search(r"<OFX>", text, re.IGNORECASE):
            return 1.0
        return 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read every statement of the document.

        Args:
            document: Local file.
            options: ``currency`` and ``account`` fill what the file leaves empty.

        Raises:
            Invalid: No statement is in it (the bank answered with an error, or it only lists accounts).
            TooLarge: It is over a named limit.
        """
        data = _text.read_bytes(document)
        _text.refuse_doctype(data)
        decoded = _text.decode(data, declared=_declared(data))
        text = _normalised(decoded.value)
        bounds = [match.start() for match in _OPEN.finditer(text)]
        if not bounds:
            raise _no_statement(text)
        if len(bounds) > STATEMENTS_MAX:
            raise Invalid(f"The document holds {len(bounds)} statements; at most {STATEMENTS_MAX} are read", "Split it")
        sections = [
            _section(text, start, end, number, options)
            for number, (start, end) in enumerate(zip(bounds, [*bounds[1:], len(text)], strict=True))
        ]
        rows = pl.concat([section.rows for section in sections], how="diagonal_relaxed")
        problems = [problem for section in sections for problem in section.problems]
        problems += _document_problems(text)
        return Parsed(
            BANK_LINES,
            _frame.finish(rows, _refusals()),
            problems,
            [section.statement for section in sections],
            (*decoded.notes, *_notes(rows, sections)),
        )


def _declared(data: bytes) -> str:
    head = data[:2000]
    if found := _XML_ENCODING.search(head):
        return str(found[1], "ascii")
    labels: dict[bytes, str] = {key: value.decode("ascii") for key, value in _SGML_ENCODING.findall(head)}
    return (
        labels.get(b"CHARSET", "") if labels.get(b"ENCODING", "").upper() == "USASCII" else labels.get(b"ENCODING", "")
    )


def _normalised(text: str) -> str:
    """Upper-case tags where a bank wrote them otherwise; unwrap CDATA and blank out comments, keeping line numbers."""
    if "<!--" in text:
        text = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    if "<![CDATA[" in text:
        text = _CDATA.sub(lambda match: _escaped(match[1]), text)
    odd = re.search(r"<(/?)(?:ofx|Ofx|stmttrn)\b|<STMTTRN\s", text)
    return _LOWER_TAG.sub(_upper_tag, text) if odd else text


def _upper_tag(match: re.Match[str]) -> str:
    return f"<{match[1]}{match[2].upper()}>"


def _escaped(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _no_statement(text: str) -> Invalid:
    said = re.search(
        r"<STATUS>\s*<CODE>\s*([1-9]\d*)[^<]*(?:</CODE>)?\s*(?:<SEVERITY>[^<]*(?:</SEVERITY>)?\s*)?(?:<MESSAGE>([^<]*))?",
        text,
    )
    if said:
        message = (said[2] or "").strip()[:200] or "no reason given"
        return Invalid(f"The bank answered with error {said[1]}: {message}", "Export the statement again from the bank")
    if _MONEY_MOVED_ELSEWHERE.search(text):
        return Invalid(
            "The document confirms payment orders; it holds no statement", "Export a statement (OFX download)"
        )
    if "<ACCTINFORS>" in text:
        return Invalid(
            "The document lists accounts; it holds no statement", "Export a statement of one of the accounts"
        )
    return Invalid("The document holds no statement", "Export the statement again from the bank")


def _value(text: str, tag: str) -> str:
    found = re.search(rf"<{re.escape(tag)}>([^<]*)", text)
    return _unescaped(found[1].strip()) if found else ""


def _within(text: str, tag: str) -> str:
    """Return the inside of the first aggregate ``tag``; to the end of ``text`` where it is not closed."""
    start = text.find(f"<{tag}>")
    if start < 0:
        return ""
    end = text.find(f"</{tag}>", start)
    return text[start : end if end >= 0 else len(text)]


_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&nbsp;": "\u00a0"}


def _unescaped(value: str) -> str:
    for entity, character in _ENTITIES.items():
        value = value.replace(entity, character)
    return value.replace("&amp;", "&")


def _section(text: str, start: int, end: int, number: int, options: Mapping[str, str]) -> _Section:
    """Read one statement, ``text[start:end]``."""
    body = text[start:end]
    first_row = body.find(_CUT)
    last_row = body.rfind("</STMTTRN>")
    around = body if first_row < 0 else body[:first_row] + body[max(last_row, first_row) :]
    statement = _statement(around, options)
    rows = _rows(body, text.count("\n", 0, start) + 1, first_row)
    currency = pl.col("_currency").fill_null(statement.currency)
    rows = rows.with_columns(
        pl.lit(number, dtype=pl.Int64).alias("statement"),
        pl.lit(statement.account).alias("account"),
        pl.when(currency != "").then(currency).alias("currency"),
        pl.lit("booked").alias("status"),
    )
    if not statement.currency and rows.height:
        used = rows.get_column("currency").drop_nulls()
        statement = _with_currency(statement, used.item(0) if used.n_unique() == 1 else "")
    return _Section(statement, rows, _section_problems(body, around, statement))


def _with_currency(statement: Statement, currency: str) -> Statement:
    return Statement(
        statement.account, currency, statement.opening, statement.closing, statement.opening_day, statement.closing_day,
        statement.reference,
    )  # fmt: skip


def _statement(around: str, options: Mapping[str, str]) -> Statement:
    owner = next(
        (_within(around, tag) for tag in ("BANKACCTFROM", "CCACCTFROM", "INVACCTFROM") if f"<{tag}>" in around), ""
    )
    ledger = _within(around, "LEDGERBAL")
    currency = _value(around, "CURDEF").upper()
    return Statement(
        account=_frame.first(_value(owner, "ACCTID"), options.get("account", "")),
        currency=_frame.first(currency, _frame.currency_option(options)),
        closing=_amounts.one_amount(_value(ledger, "BALAMT")),
        opening_day=_amounts.one_day(_value(around, "DTSTART")),
        closing_day=_amounts.one_day(_frame.first(_value(ledger, "DTASOF"), _value(around, "DTEND"))),
        reference=_frame.joined((_value(owner, "BANKID"), _value(owner, "BROKERID"), _value(owner, "ACCTTYPE"))),
    )


def _rows(body: str, first_line: int, first_row: int) -> pl.DataFrame:
    """Cut at each transaction and read its fields; ``row`` is the line of ``<STMTTRN>``."""
    pieces = pl.Series("piece", [body] if first_row >= 0 else [], dtype=pl.String).str.split(_CUT).explode()
    line = (pieces.str.count_matches("\n", literal=True).cum_sum() + first_line).cast(pl.Int64)
    frame = pl.DataFrame({"piece": pieces[1:], "row": line[: max(len(line) - 1, 0)]})
    inside = pl.col("piece").str.split_exact("</STMTTRN>", 1).struct.field("field_0")
    complete = pl.col("piece").str.contains("</STMTTRN>", literal=True)
    frame = frame.with_columns(inside.alias("_in"), complete.alias("_complete")).drop("piece")
    extracted = [
        pl.col("_in").str.extract(rf"<{tag}>([^<]*)").str.strip_chars().alias(name) for name, tag in _FIELDS.items()
    ]
    other = pl.col("_in").str.extract(r"(?s)<(?:BANK|CC)ACCTTO>(.*)")
    frame = frame.with_columns(
        *extracted,
        other.str.extract(r"<ACCTID>([^<]*)").str.strip_chars().alias("counterparty_account"),
        other.str.extract(r"<BANKID>([^<]*)").str.strip_chars().alias("counterparty_bank"),
        pl.col("_in")
        .str.extract(r"(?s)<CURRENCY>.{0,300}?<CURSYM>\s*([A-Za-z]{3})")
        .str.to_uppercase()
        .alias("_currency"),
    ).drop("_in")
    return _typed(_unescape_columns(frame))


def _unescape_columns(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [
        name
        for name in ("_name", "_memo", "bank_id", "_reference", "category", "counterparty_account")
        if name in frame
    ]
    escaped = [name for name in texts if frame.get_column(name).str.contains("&", literal=True).any()]
    steps = [*_ENTITIES.items(), ("&amp;", "&")]
    for find, replace in steps:
        frame = frame.with_columns(pl.col(name).str.replace_all(find, replace, literal=True) for name in escaped)
    return frame


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
    value_day = frame.get_column("_value_day").fill_null(frame.get_column("_value_day_other"))
    return frame.with_columns(
        _amounts.comma_or_point(frame.get_column("_amount")).alias("amount"),
        _amounts.compact_days(frame.get_column("_day")).alias("booking_date"),
        _amounts.compact_days(value_day).alias("value_date"),
        _frame.described("_name", "_memo").alias("description"),
        pl.col("_name").alias("counterparty_name"),
        pl.when(pl.col("_check").fill_null("") != "")
        .then(pl.col("_check"))
        .otherwise(pl.col("_reference"))
        .alias("reference"),
    )


def _refusals() -> list[pl.Expr]:
    cut_off = _frame.refusal(
        ~pl.col("_complete"), "", "the document is cut off inside this transaction", "Export it again"
    )
    return [cut_off, *_frame.common_refusals(amount="_amount", day="_day")]


def _section_problems(body: str, around: str, statement: Statement) -> tuple[Problem, ...]:
    problems = []
    trades = _TRADE.findall(body)
    if trades:
        kinds = ", ".join(f"{trades.count(kind)} {kind}" for kind in sorted(set(trades)))
        problems.append(
            Problem(
                f"{len(trades)} investment movements of account {statement.account} are not cash rows and were not taken: {kinds}",
                "Import the trades as holdings; only the cash movements are read here",
            )
        )
    if pending := body.count("<STMTTRNP>"):
        problems.append(
            Problem(
                f"{pending} pending transactions of account {statement.account} have no booking date yet and were not taken",
                "Import the next statement, where they are booked",
            )
        )
    stated = _value(_within(around, "LEDGERBAL"), "BALAMT")
    if "<LEDGERBAL>" in around and statement.closing is None:
        what = (
            f"the closing balance of account {statement.account} is “{stated[:40]}”"
            if stated
            else (f"the closing balance of account {statement.account} is empty")
        )
        problems.append(Problem(what, "The rows are taken; the balance cannot be checked", column="LEDGERBAL"))
    return tuple(problems)


def _document_problems(text: str) -> list[Problem]:
    problems = []
    if "</OFX>" not in text:
        problems.append(
            Problem(
                "the document is cut off: its end mark </OFX> is missing", "Export it again", row=text.count("\n") + 1
            )
        )
    failed = re.findall(r"<STATUS>\s*<CODE>\s*([1-9]\d*)[^<]*(?:</CODE>)?\s*<SEVERITY>\s*ERROR", text)
    problems += [
        Problem(f"the bank answered one request with error {code}", "Export that account again") for code in failed
    ]
    return problems


def _notes(rows: pl.DataFrame, sections: list[_Section]) -> list[str]:
    foreign = rows.filter(pl.col("_currency").is_not_null()).height if sections else 0
    stated = {section.statement.currency for section in sections}
    other = rows.filter(pl.col("currency").is_in(list(stated)).not_()).height if foreign else 0
    return [f"{other} rows are stated in a currency other than their account's and stay in it"] if other else []
