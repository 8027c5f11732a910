"""CAMT.052, .053 and .054 in every version: reports, statements and notifications of ISO 20022.

One pass of the expat parser along :data:`_camt_paths.TREE`; elements that we do not know are skipped whole. A batch
entry is split into its transactions when their amounts add up to it, else it stays one row: the rows of a statement
always add up to its entries.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.parsers import expat

import polars as pl

from bursar.connectors.banks import _amounts, _frame, _text
from bursar.connectors.banks._camt_paths import TREE, Node
from bursar.kernel.connector import Head
from bursar.kernel.errors import Invalid, Problem
from bursar.kernel.lines import BANK_LINES, DocumentKind, Parsed, Statement
from bursar.kernel.money import decimal_from

DEPTH_MAX = 100
"""Nesting of elements; ISO 20022 messages reach about 20."""

_SIGNATURE = re.compile(r"camt\.05[234]\.\d{3}\.\d{2}|<(?:\w+:)?BkToCstmr(?:Stmt|AcctRpt|DbtCdtNtfctn)\b")
_PENDING = frozenset({"PDNG", "FUTR"})
_OPENINGS = ("OPBD", "PRCD")
_CLOSINGS = ("CLBD",)
_LISTS = frozenset({"dbtr_ids", "cdtr_ids", "card"})
_SCHEMES = {
    "TXID": "tax",
    "VATN": "vat",
    "VAT": "vat",
    "COID": "company",
    "SREN": "company",
    "SRET": "company",
    "KBO-BCE": "company",
    "SEPA": "creditor",
}
"""Schemes of ISO 20022's external code lists, and names and issuers that banks write, to ours; any other number may be one
that only the bank knows."""
_ACCEPTORS = frozenset({"MERC", "ACCP"})
Record = dict[str, Any]


class Camt:
    """Bank-to-customer messages of ISO 20022."""

    name = "camt"
    title = "CAMT.052/053/054 statement"
    kind = DocumentKind.BANK

    def sniff(self, head: Head) -> float:
        """Recognise the message by its namespace or its root element."""
        return 1.0 if _SIGNATURE.search(head.text()[:20_000]) else 0.0

    def parse(self, document: Path, *, options: Mapping[str, str]) -> Parsed:
        """Read every statement of the message.

        Args:
            document: Local file.
            options: ``account`` fills in where the message names none.

        Raises:
            Invalid: It is not well-formed (with the line), or holds no statement.
            TooLarge: It is over the size limit.
        """
        data = _text.read_bytes(document)
        _text.refuse_doctype(data)
        reader = _Reader()
        reader.read(data)
        if not reader.statements:
            raise Invalid(
                "The message holds no statement, report or notification", "Ask the bank for the complete message"
            )
        used = {
            number: {row["currency"] for row in reader.rows if row["statement"] == number} for number in reader.bare
        }
        statements = [_statement(record, options, used.get(i, set())) for i, record in enumerate(reader.statements)]
        raw = _raw_frame(reader.rows, statements)
        notes = []
        if reader.kept_whole:
            notes.append(
                f"{reader.kept_whole} batch entries stay one row: the amounts of their parts do not add up to the entry"
            )
        if b"camt.054" in data[:4000]:
            notes.append(
                "A camt.054 notification announces entries that the statement (camt.053) repeats; import one of the two"
            )
        return Parsed(BANK_LINES, _frame.finish(raw, _refusals()), reader.problems, statements, notes)


class _Reader:
    """Walks the message; collects statement records, flat rows and problems."""

    def __init__(self) -> None:
        self.statements: list[Record] = []
        self.rows: list[Record] = []
        self.problems: list[Problem] = []
        self.kept_whole = 0
        self._nodes: list[Node | None] = [TREE]
        self._open: list[Record] = []
        self._text: list[str] = []
        self._locals: dict[str, str] = {}
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append

    def read(self, data: bytes) -> None:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise Invalid(
                f"The message is not well-formed XML at line {error.lineno}: {expat.errors.messages.get(error.code, 'unreadable')}",
                "The file is cut off or was edited; export it again from the bank",
            ) from error
        except (LookupError, ValueError) as error:  # an encoding label that Python does not know, or a wide one
            raise Invalid("The message declares an encoding that cannot be read", "Export it again as UTF-8") from error

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = self._locals.get(name)
        if local is None:
            local = self._locals[name] = name.rpartition(" ")[2]
        above = self._nodes[-1]
        node = above.children.get(local) if above is not None else None
        self._nodes.append(node)
        if len(self._nodes) > DEPTH_MAX:
            raise Invalid(f"The message nests elements deeper than {DEPTH_MAX}", "Export it again from the bank")
        if node is None:
            return
        if node.opens:
            self._open.append({"row": self._parser.CurrentLineNumber})
        elif node.field:
            if "Ccy" in attributes:
                self._open[-1].setdefault(node.field + "_ccy", attributes["Ccy"])
            self._text.clear()

    def _end(self, _name: str) -> None:
        node = self._nodes.pop()
        if node is None:
            return
        if node.opens:
            record = self._open.pop()
            if node.opens in _LISTS:
                self._open[-1].setdefault(node.opens, []).append(record)
            else:
                getattr(self, "_close_" + node.opens)(record)
        elif node.field:
            value = "".join(self._text).strip()
            self._text.clear()
            record = self._open[-1]
            if not value:
                return
            if node.field.endswith("*"):
                key = node.field[:-1]
                record[key] = f"{record[key]} {value}" if key in record else value
            else:
                record.setdefault(node.field, value)

    @property
    def bare(self) -> list[int]:
        """Statements that name no currency of their account."""
        return [i for i, record in enumerate(self.statements) if "currency" not in record and "balances" not in record]

    def _close_stmt(self, record: Record) -> None:
        self.statements.append(record)

    def _close_bal(self, record: Record) -> None:
        self._open[-1].setdefault("balances", []).append(record)

    def _close_tx(self, record: Record) -> None:
        self._open[-1].setdefault("parts", []).append(record)

    def _close_ntry(self, entry: Record) -> None:
        statement = len(self.statements)
        if entry.get("status") == "INFO":
            self.problems.append(
                Problem(
                    "the entry is for information only and moves no money; it was not taken",
                    row=entry["row"],
                    column="Sts",
                )
            )
            return
        parts: list[Record] = entry.pop("parts", [])
        amounts = _part_amounts(entry, parts) if len(parts) > 1 else None
        if amounts is None:
            self.kept_whole += len(parts) > 1
            self.rows.append(_row(entry, parts[0] if len(parts) == 1 else _common(parts), statement, _signed(entry), 0))
            return
        self.rows += [
            _row(entry, part, statement, amount, number)
            for number, (part, amount) in enumerate(zip(parts, amounts, strict=True), start=1)
        ]


def _common(parts: list[Record]) -> Record:
    """Return what all parts of an unsplit batch share, their texts joined."""
    if not parts:
        return {}
    shared = {key: value for key, value in parts[0].items() if all(part.get(key) == value for part in parts)}
    texts = dict.fromkeys(part["text"] for part in parts if "text" in part)
    return {**shared, "text": " | ".join(texts)} if texts else shared


def _signed(record: Record) -> str:
    """Return the amount as text with the sign of its credit/debit mark; "" without an amount or a mark."""
    amount, side = record.get("amount", ""), record.get("side", "")
    if not amount or side not in {"CRDT", "DBIT"}:
        return ""
    return f"-{amount}" if side == "DBIT" else str(amount)


def _part_amounts(entry: Record, parts: list[Record]) -> list[str] | None:
    """Return the signed amounts of the parts when they add up to the entry in its currency; else None."""
    signed: list[str] = []
    total = Decimal(0)
    for part in parts:
        key = "amount" if "amount" in part else "tx_amount"
        if part.get(key + "_ccy") != entry.get("amount_ccy") or key not in part:
            return None
        text = _signed({"amount": part[key], "side": part.get("side") or entry.get("side", "")})
        try:
            total += decimal_from(text)
        except ValueError:
            return None
        signed.append(text)
    try:
        return signed if total == decimal_from(_signed(entry)) else None
    except ValueError:
        return None


def _row(entry: Record, part: Record, statement: int, amount: str, number: int) -> Record:
    """Flatten one entry and one of its transactions; ``number`` is the part's place in a split batch, else 0."""
    incoming = not amount.startswith("-")
    if entry.get("reversal") in {"true", "1"}:
        incoming = not incoming
    who = "dbtr" if incoming else "cdtr"
    ref = part.get("tx_ref") or entry.get("ref") or ""
    if number and not part.get("tx_ref") and ref:
        ref = f"{ref}#{number}"
    end_to_end = part.get("end_to_end_id", "")
    return {
        "row": part.get("row", entry["row"]) if number else entry["row"],
        "statement": statement,
        "_amount": amount,
        "_side": entry.get("side", ""),
        "_booked": entry.get("booked") or entry.get("valued") or "",
        "_valued": entry.get("valued") or "",
        "currency": entry.get("amount_ccy") or "",
        "status": "pending" if entry.get("status") in _PENDING else "booked",
        "description": _description(entry, part),
        "counterparty_name": part.get(who + "_name") or part.get(who + "_ultimate") or _card(entry, part, "name"),
        "counterparty_account": part.get(who + "_account") or "",
        "counterparty_bank": part.get(who + "_bank") or "",
        "counterparty_ids": _identified(entry, part, who),
        "reference": part.get("structured") or part.get("document") or part.get("cheque") or entry.get("number") or "",
        "end_to_end_id": "" if end_to_end == "NOTPROVIDED" else end_to_end,
        "bank_id": ref,
        "transaction_code": _code(part) or _code(entry),
    }


def _card(entry: Record, part: Record, field: str) -> str:
    """Return a fact of the card acceptor; a terminal's own number says nothing about whose it is."""
    found = [*part.get("card", ()), *entry.get("card", ())]
    merchants = (one for one in found if field == "name" or one.get("type") in _ACCEPTORS)
    return next((one[field] for one in merchants if field in one), "")


def _identified(entry: Record, part: Record, who: str) -> str:
    numbers = part.get(who + "_ids", ())
    told = [
        (_SCHEMES.get((one.get("scheme") or one.get("issuer", "")).upper(), ""), one.get("value", ""))
        for one in numbers
    ]
    told += [(scheme, part.get(f"{who}_{scheme}", "")) for scheme in ("lei", "tax", "email")]
    return _frame.identified([*told, ("card_acceptor", _card(entry, part, "value"))])


def _code(record: Record) -> str:
    domain = "/".join(record[key] for key in ("domain", "family", "subfamily") if key in record)
    return domain or record.get("proprietary", "")


def _description(entry: Record, part: Record) -> str:
    said = part.get("text") or part.get("more") or part.get("structured") or entry.get("more") or ""
    extra = []
    instructed, currency = (
        part.get("instructed") or entry.get("instructed"),
        part.get("instructed_ccy") or entry.get("instructed_ccy"),
    )
    if instructed and currency and currency != entry.get("amount_ccy"):
        rate = part.get("rate") or entry.get("rate")
        extra.append(f"{instructed} {currency}" + (f" at {rate}" if rate else ""))
    charges = part.get("charges") or entry.get("charges")
    if charges and charges.strip("0.") != "":
        extra.append(f"charges {charges} {part.get('charges_ccy') or entry.get('charges_ccy') or ''}".rstrip())
    if part.get("return_reason"):
        extra.append(f"returned: {part['return_reason']}")
    return " · ".join([said, *extra] if said else extra)


def _statement(record: Record, options: Mapping[str, str], used: set[str]) -> Statement:
    balances: list[Record] = record.get("balances", [])
    opening, closing = _balance(balances, _OPENINGS), _balance(balances, _CLOSINGS)
    currency = record.get("currency") or next((b["amount_ccy"] for b in balances if "amount_ccy" in b), "")
    currency = currency or (next(iter(used)) if len(used) == 1 else "")
    return Statement(
        account=_frame.first(record.get("account", ""), options.get("account", "")),
        currency=currency,
        opening=_amounts.one_amount(_signed(opening)) if opening else None,
        closing=_amounts.one_amount(_signed(closing)) if closing else None,
        opening_day=_day((opening or {}).get("day") or record.get("from", "")),
        closing_day=_day((closing or {}).get("day") or record.get("to", "")),
        reference=record.get("id", ""),
    )


def _balance(balances: list[Record], types: tuple[str, ...]) -> Record | None:
    for wanted in types:
        found = [balance for balance in balances if balance.get("type") == wanted]
        if found:
            return found[0] if wanted in _OPENINGS else found[-1]
    return None


def _day(text: str) -> Any:
    return _amounts.one_day(text[:10].replace("-", ""))


_ROW_SCHEMA = {
    name: pl.Int64() if name in {"row", "statement"} else pl.String()
    for name in _row({"row": 0}, {}, 0, "", 0)
}  # fmt: skip


def _raw_frame(rows: list[Record], statements: list[Statement]) -> pl.DataFrame:
    raw = pl.DataFrame(rows, schema=_ROW_SCHEMA, orient="row", infer_schema_length=None)
    accounts = pl.DataFrame(
        {"statement": range(len(statements)), "account": [s.account for s in statements]},
        schema={"statement": pl.Int64(), "account": pl.String()},
    )
    raw = raw.join(accounts, on="statement", how="left", maintain_order="left")
    days = {
        name: _days(raw.get_column(source)) for name, source in (("booking_date", "_booked"), ("value_date", "_valued"))
    }
    return raw.with_columns(_amounts.plain(raw.get_column("_amount")).alias("amount"), **days)


def _days(texts: pl.Series) -> pl.Series:
    return _amounts.compact_days(texts.str.slice(0, 10).str.replace_all("-", "", literal=True))


def _refusals() -> list[pl.Expr]:
    no_mark = ~pl.col("_side").is_in(["CRDT", "DBIT"])
    what = pl.concat_str(_frame.shown("_side"), pl.lit(" is neither CRDT nor DBIT"))
    return [
        _frame.refusal(no_mark, "CdtDbtInd", what, "Ask the bank for a valid message"),
        *_frame.common_refusals(amount="_amount", day="_booked"),
    ]
