"""Writes the bank accounts: camt.053, MT940, OFX and the card's CSV. Opening plus entries is closing, every time."""

import csv
import io
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from xml.sax.saxutils import escape

from bursar.kernel.period import add_months
from bursar.reports.sample.bank import Banks, ordered
from bursar.reports.sample.company import COMPANY, DOLLAR, DOLLAR_BANK, MAIN, PROJECT
from bursar.reports.sample.model import Entry, Notebook, SampleFile

OPENING_MAIN = Decimal("184220.41")
OPENING_DOLLAR = Decimal("96410.77")
LEFT_AT_THE_END = Decimal("4012.15")
"""What is left on the Dutch branch's account on the last day; its opening balance follows from it."""

Body = tuple[list[str], list[int]]
"""Lines, and for every entry the index of the line on which it begins."""


@dataclass(frozen=True, slots=True)
class Part:
    """The entries of one statement: a month of an account."""

    number: int
    start: date
    end: date
    opening: Decimal
    entries: tuple[Entry, ...]

    @property
    def closing(self) -> Decimal:
        """The balance after the last entry."""
        return self.opening + sum((entry.amount for entry in self.entries), Decimal(0))


def months(banks: Banks, entries: list[Entry], opening: Decimal) -> list[Part]:
    """Cut the entries of an account into months, carrying the balance."""
    parts = []
    for number, start in enumerate(banks.span.all_months(), start=1):
        end = add_months(start, 1)
        mine = tuple(entry for entry in ordered(entries) if start <= entry.day < end)
        part = Part(number, start, end - timedelta(days=1), opening, mine)
        parts.append(part)
        opening = part.closing
    return parts


def write_banks(banks: Banks, folder: Path) -> None:
    """Write every account's files under ``folder``/bank."""
    _cents(banks)
    main = months(banks, banks.main, OPENING_MAIN)
    for first in range(0, len(main), 12):
        part = main[first : first + 12]
        name = f"bank/nordhafen-camt053-{part[0].start:%Y%m}-{part[-1].start:%Y%m}.xml"
        _write(banks.book, folder, name, "camt.053", part, camt(part), "EUR", "\n")
    opening = LEFT_AT_THE_END - sum((entry.amount for entry in banks.project), Decimal(0))
    branch = months(banks, banks.project, opening)
    _write(banks.book, folder, "bank/handelmaas-mt940.sta", "mt940", branch, mt940(branch), "EUR", "\r\n")
    dollar = months(banks, banks.dollar, OPENING_DOLLAR)
    _write(banks.book, folder, "bank/cascade-valley-usd.ofx", "ofx", dollar, ofx(dollar), "USD", "\n")
    card = months(banks, banks.card, Decimal(0))
    _write(banks.book, folder, "bank/n26-business-card.csv", "csv-n26", card, card_csv(card), "EUR", "\n")


def _cents(banks: Banks) -> None:
    for account in (banks.main, banks.project, banks.dollar, banks.card):
        for entry in account:
            assert entry.amount == entry.amount.quantize(Decimal("0.01")), f"{entry} has a part of a cent"


def _write(
    book: Notebook, folder: Path, name: str, kind: str, parts: list[Part], body: Body, currency: str, newline: str
) -> None:
    lines, starts = body
    entries = [entry for part in parts for entry in part.entries]
    for entry, start in zip(entries, starts, strict=True):
        book.seen(entry.truths, name, start + 1)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(newline.join(lines) + newline, encoding="utf-8", newline="")
    total = sum((entry.amount for entry in entries), Decimal(0))
    book.files.append(SampleFile(name, kind, len(entries), total, currency))


def _sign(amount: Decimal) -> str:
    return "DBIT" if amount < 0 else "CRDT"


CAMT_CODES = {
    "transfer": ("PMNT", "ICDT", "ESCT"),
    "income": ("PMNT", "RCDT", "ESCT"),
    "debit": ("PMNT", "RDDT", "ESDD"),
    "card": ("PMNT", "CCRD", "POSD"),
    "fee": ("ACMT", "MDOP", "CHRG"),
}
"""ISO 20022 bank transaction codes: domain, family, subfamily."""


def camt(parts: list[Part]) -> Body:
    """Return one camt.053.001.02 document with a statement per month."""
    created = f"{parts[-1].end + timedelta(days=1)}T05:12:00+01:00"
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02">',
        " <BkToCstmrStmt>",
        f"  <GrpHdr><MsgId>NH{parts[0].start:%Y%m}{parts[-1].start:%Y%m}</MsgId><CreDtTm>{created}</CreDtTm></GrpHdr>",
    ]
    starts: list[int] = []
    for part in parts:
        lines += _camt_head(part)
        for number, entry in enumerate(part.entries, start=1):
            starts.append(len(lines))
            lines += _camt_entry(entry, f"NH{part.start:%y%m}{number:05d}")
        lines.append("  </Stmt>")
    return [*lines, " </BkToCstmrStmt>", "</Document>"], starts


def _camt_head(part: Part) -> list[str]:
    balances = [
        f'   <Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy="EUR">{abs(amount):.2f}</Amt>'
        f"<CdtDbtInd>{_sign(amount)}</CdtDbtInd><Dt><Dt>{day}</Dt></Dt></Bal>"
        for code, amount, day in (("OPBD", part.opening, part.start), ("CLBD", part.closing, part.end))
    ]
    return [
        "  <Stmt>",
        f"   <Id>{MAIN}-{part.start:%Y-%m}</Id><ElctrncSeqNb>{part.number}</ElctrncSeqNb>",
        f"   <CreDtTm>{part.end + timedelta(days=1)}T05:12:00+01:00</CreDtTm>",
        f"   <FrToDt><FrDtTm>{part.start}T00:00:00+01:00</FrDtTm><ToDtTm>{part.end}T23:59:59+01:00</ToDtTm></FrToDt>",
        f"   <Acct><Id><IBAN>{MAIN}</IBAN></Id><Ccy>EUR</Ccy><Ownr><Nm>{escape(COMPANY)}</Nm></Ownr>",
        "    <Svcr><FinInstnId><BIC>NOHADEHHXXX</BIC></FinInstnId></Svcr></Acct>",
        *balances,
    ]


def _camt_entry(entry: Entry, number: str) -> list[str]:
    domain, family, subfamily = CAMT_CODES[entry.code if entry.amount < 0 or entry.code != "transfer" else "income"]
    party, account = ("Cdtr", "CdtrAcct") if entry.amount < 0 else ("Dbtr", "DbtrAcct")
    iban = f"<{account}><Id><IBAN>{entry.account}</IBAN></Id></{account}>" if entry.account else ""
    reference = entry.reference or "NOTPROVIDED"
    return [
        "   <Ntry>",
        f'    <Amt Ccy="EUR">{abs(entry.amount):.2f}</Amt><CdtDbtInd>{_sign(entry.amount)}</CdtDbtInd><Sts>BOOK</Sts>',
        f"    <BookgDt><Dt>{entry.day}</Dt></BookgDt><ValDt><Dt>{entry.day}</Dt></ValDt>",
        f"    <AcctSvcrRef>{number}</AcctSvcrRef>",
        f"    <BkTxCd><Domn><Cd>{domain}</Cd><Fmly><Cd>{family}</Cd><SubFmlyCd>{subfamily}</SubFmlyCd></Fmly></Domn></BkTxCd>",
        f"    <NtryDtls><TxDtls><Refs><EndToEndId>{escape(reference)}</EndToEndId></Refs>",
        f"     <RltdPties><{party}><Nm>{escape(entry.name)}</Nm></{party}>{iban}</RltdPties>",
        f"     <RmtInf><Ustrd>{escape(entry.text)}</Ustrd></RmtInf></TxDtls></NtryDtls>",
        "   </Ntry>",
    ]


def _comma(amount: Decimal) -> str:
    return f"{abs(amount):.2f}".replace(".", ",")


def mt940(parts: list[Part]) -> Body:
    """Return MT940 statements, one a month, in the structured Dutch layout of field 86."""
    lines: list[str] = []
    starts: list[int] = []
    for part in parts:
        lines += [
            "{1:F01HAMANL2AXXXX0000000000}{2:I940HAMANL2AXXXXN}{4:",
            f":20:940{part.end:%y%m%d}",
            f":25:{PROJECT} EUR",
            f":28C:{part.number:05d}/001",
            f":60F:{'D' if part.opening < 0 else 'C'}{part.start - timedelta(days=1):%y%m%d}EUR{_comma(part.opening)}",
        ]
        for entry in part.entries:
            starts.append(len(lines))
            mark = "D" if entry.amount < 0 else "C"
            kind = "NDDT" if entry.code == "debit" else "NTRF"
            lines.append(
                f":61:{entry.day:%y%m%d}{entry.day:%m%d}{mark}{_comma(entry.amount)}{kind}{entry.reference[:16] or 'NONREF'}"
            )
            text = f"/IBAN/{entry.account}/NAME/{entry.name}/REMI/{entry.text}/EREF/{entry.reference or 'NOTPROVIDED'}"
            lines += _folded(f":86:{text}", 65)
        lines += [f":62F:{'D' if part.closing < 0 else 'C'}{part.end:%y%m%d}EUR{_comma(part.closing)}", "-}"]
    return lines, starts


def _folded(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


def ofx(parts: list[Part]) -> Body:
    """Return one OFX 1.0.2 (SGML) statement of the whole time."""
    first, last = parts[0], parts[-1]
    stamp = f"{last.end + timedelta(days=1):%Y%m%d}120000"
    lines = [
        *("OFXHEADER:100", "DATA:OFXSGML", "VERSION:102", "SECURITY:NONE", "ENCODING:USASCII", "CHARSET:1252"),
        *("COMPRESSION:NONE", "OLDFILEUID:NONE", "NEWFILEUID:NONE", "", "<OFX>"),
        f"<SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO</STATUS><DTSERVER>{stamp}<LANGUAGE>ENG</SONRS></SIGNONMSGSRSV1>",
        "<BANKMSGSRSV1><STMTTRNRS><TRNUID>1<STATUS><CODE>0<SEVERITY>INFO</STATUS><STMTRS><CURDEF>USD",
        f"<BANKACCTFROM><BANKID>{DOLLAR_BANK}<ACCTID>{DOLLAR}<ACCTTYPE>CHECKING</BANKACCTFROM>",
        f"<BANKTRANLIST><DTSTART>{first.start:%Y%m%d}<DTEND>{last.end:%Y%m%d}",
    ]
    starts: list[int] = []
    for part in parts:
        for number, entry in enumerate(part.entries, start=1):
            starts.append(len(lines))
            kind = "DIRECTDEBIT" if entry.code == "debit" else "CREDIT" if entry.amount > 0 else "XFER"
            lines += [
                "<STMTTRN>",
                f"<TRNTYPE>{kind}",
                f"<DTPOSTED>{entry.day:%Y%m%d}120000",
                f"<TRNAMT>{entry.amount:.2f}",
                f"<FITID>CV{part.start:%Y%m}{number:04d}",
                f"<NAME>{escape(entry.name)[:32]}",
                f"<MEMO>{escape(entry.text)}",
                "</STMTTRN>",
            ]
    balance = f"<LEDGERBAL><BALAMT>{last.closing:.2f}<DTASOF>{stamp}</LEDGERBAL>"
    return [*lines, "</BANKTRANLIST>", balance, "</STMTRS></STMTTRNRS></BANKMSGSRSV1>", "</OFX>"], starts


CARD_HEADER = (
    *("Booking Date", "Value Date", "Partner Name", "Partner Iban", "Type", "Payment Reference", "Account Name"),
    *("Amount (EUR)", "Original Amount", "Original Currency", "Exchange Rate"),
)
CARD_TYPES = {"card": "Presentment", "income": "Credit Transfer"}


def card_csv(parts: list[Part]) -> Body:
    """Return the card account in the layout of N26's CSV export."""
    lines = [_csv(CARD_HEADER)]
    starts: list[int] = []
    for part in parts:
        for entry in part.entries:
            starts.append(len(lines))
            kind = CARD_TYPES[entry.code]
            row = (str(entry.day), str(entry.day), entry.name, entry.account, kind, entry.text, "N26 Business")
            lines.append(_csv((*row, f"{entry.amount:.2f}", "", "", "")))
    return lines, starts


def _csv(row: tuple[str, ...]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(row)
    return text.getvalue()
