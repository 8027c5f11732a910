"""Which column of a bank table means what: header names in the languages of the exports we know.

Each role lists its names, most telling first; names are compared by :func:`_table.key`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from bursar.connectors.banks import _table

BANK_ROLES: dict[str, tuple[str, ...]] = {
    "booking_date": (
        "booking date", "posted date", "posting date", "post date", "date posted", "completed date", "buchungstag",
        "buchungsdatum", "boekdatum", "boekingsdatum", "data ksiegowania", "date comptable", "fecha contable",
        "data contabile", "bokforingsdag", "bogforingsdato", "transaction date", "trans date", "transactiondate", "date",
        "date operation", "date d operation", "date de l operation", "date transaction", "fecha operacion", "fecha de operacion",
        "fecha", "datum", "data operacji", "data", "dato", "created utc", "created", "journaldate", "finished on",
        "date completed utc", "transaktionsdatum", "transactiedatum", "date of transaction", "day", "paid date", "started date",
    ),
    "value_date": (
        "value date", "valuta", "valutadatum", "wertstellung", "wertstellungsdatum", "valuta datum", "date de valeur",
        "date valeur", "fecha valor", "data waluty", "data valuta", "rentedatum", "interest date", "available on utc",
        "available on", "valutadato",
    ),
    "amount": (
        "net", "amount", "transaction amount", "betrag", "umsatz", "montant", "importe", "kwota", "kwota operacji", "importo",
        "bedrag", "transactiebedrag", "belopp", "belob", "valor", "netamount", "total", "source amount after fees", "gross",
        "amount in account currency", "payment amount", "value", "sum",
    ),
    "debit": (
        "debit", "debit amount", "debits", "withdrawal", "withdrawals", "withdrawal amount", "paid out", "money out", "soll",
        "belastung", "lastschrift", "ausgang", "debet", "debito", "cargo", "cargos", "uit", "obciazenia", "wydatki", "dare",
        "uscite", "dr", "dr amount", "amount debit", "payments out", "out",
    ),
    "credit": (
        "credit", "credit amount", "credits", "deposit", "deposits", "deposit amount", "paid in", "money in", "haben",
        "gutschrift", "eingang", "credito", "abono", "abonos", "in", "uznania", "wplywy", "avere", "entrate", "cr", "cr amount",
        "amount credit", "payments in",
    ),
    "side": (
        "debit credit", "credit debit", "dc", "d c", "cr dr", "dr cr", "af bij", "soll haben", "s h", "transaction type",
        "type", "credit debit indicator", "direction", "sens",
    ),
    "currency": (
        "currency", "ccy", "currency code", "wahrung", "waehrung", "monn", "devise", "moneda", "waluta", "munt", "divisa",
        "valuta", "account currency", "source currency", "currency name",
    ),
    "counterparty_name": (
        "partner name", "counterparty name", "counterparty", "counter party", "payee", "payee name", "merchant name", "merchant",
        "beguenstigter zahlungspflichtiger", "auftraggeber empfanger", "zahlungsempfanger", "empfanger", "name zahlungsbeteiligter",
        "tegenpartij naam", "naam tegenpartij", "naam tegenpartij of omschrijving", "beneficiary", "beneficiario", "nadawca odbiorca",
        "name", "target name", "payer name", "tiers", "contraparte", "card name", "to",
    ),
    "counterparty_account": (
        "partner iban", "counterparty iban", "counterparty account", "iban tegenrekening", "tegenrekening", "tegenrekening iban bban",
        "kontonummer iban", "iban zahlungsbeteiligter", "gegenkonto", "number", "payee account number", "to account",
        "rachunek nadawcy odbiorcy", "account number of counterparty",
    ),
    "counterparty_bank": ("bank", "bic", "bic swift code", "partner bic", "counterparty bic", "blz", "bic tegenpartij"),
    "reference": (
        "reference", "check number", "checknumber", "cheque number", "check", "num", "reference id", "kundenreferenz", "referenz",
        "sepa reference", "payment reference", "reference number", "check or slip", "slip",
    ),
    "end_to_end_id": ("end to end id", "end to end reference", "kundenreferenz end to end", "client reference", "e2e reference"),
    "bank_id": (
        "transaction id", "transferwise id", "fitid", "n de transaction", "transaction reference", "unique id", "volgnr", "id", "row",
        "order id", "entry reference", "numero operacion",
    ),
    "transaction_code": ("type", "transaction type", "buchungstext", "posting text", "posting key", "mutatiesoort", "code", "class"),
    "category": ("category", "kategorie", "categorie", "categoria", "kategoria", "class", "category name"),
    "department": ("department", "cost centre", "cost center", "kostenstelle", "organisational unit"),
    "balance_after": (
        "balance", "running balance", "runningbalance", "kontostand", "saldo", "solde", "saldo na transactie", "saldo po operacji",
        "balance after", "saldo nach buchung", "account balance", "balance amount", "saldo disponible", "new balance",
    ),
    "account": (
        "account", "account number", "kontonummer", "iban", "rekening", "rekeningnummer", "auftragskonto", "iban auftragskonto", "account name",
        "produit", "konto", "cuenta", "card no", "card number", "card used for transaction", "accountname", "compte", "iban bban",
        "bezeichnung auftragskonto", "rachunek",
    ),
    "status": ("status", "state", "estado", "statut"),
    "creditor": ("creditor id", "glaubiger id", "glaeubiger id", "creditor identifier", "sepa creditor id", "incassant id", "ics"),
    "vat": ("counterparty vat", "vat number", "vat id", "vat no", "merchant vat", "ust idnr", "ust id", "btw nummer", "partita iva"),
    "tax": ("tax id", "counterparty tax id", "tax number", "cnpj", "nif", "rfc"),
    "card_acceptor": ("card acceptor id", "merchant id", "merchant number", "mid", "acceptor id"),
    "domain": ("merchant website", "website", "merchant url", "domain"),
    "email": ("customer email", "from email address", "email", "payer email", "payee email", "counterparty email"),
    "email_to": ("to email address",),
    "fee": ("fee", "fees", "total fees", "gebuhr"),
    "refunded": ("amount refunded", "refund"),
}  # fmt: skip
"""Role to header names; ``fee`` and ``refunded`` are used by single layouts only."""

DESCRIPTIONS: tuple[str, ...] = (
    "description", "original description", "memo", "narrative", "details", "particulars", "transaction details", "verwendungszweck",
    "libelle", "libelle operation", "concepto", "opis", "opis operacji", "tytul", "omschrijving", "mededelingen", "reason", "desc",
    "text", "statement descriptor", "items", "subject", "title", "purpose", "notes", "note", "comments", "comment", "causale",
    "description 1", "description 2", "description 3", "omschrijving 1", "omschrijving 2", "omschrijving 3", "additional description",
    "descripcion", "descrizione", "payment details", "transaction description", "message", "buchungsdetails", "betreff",
)  # fmt: skip
"""Headers whose texts make up the description, in this order; ``vwz1`` … ``vwz14`` follow."""

CURRENCIES = frozenset(
    [
        *(
            "AED",
            "ARS",
            "AUD",
            "BGN",
            "BRL",
            "CAD",
            "CHF",
            "CLP",
            "CNY",
            "COP",
            "CZK",
            "DKK",
            "EUR",
            "GBP",
            "HKD",
            "HUF",
            "IDR",
            "ILS",
        ),
        *(
            "INR",
            "ISK",
            "JPY",
            "KES",
            "KRW",
            "MAD",
            "MXN",
            "MYR",
            "NGN",
            "NOK",
            "NZD",
            "PEN",
            "PHP",
            "PLN",
            "RON",
            "RSD",
            "SAR",
            "SEK",
        ),
        *("SGD", "THB", "TND", "TRY", "TWD", "UAH", "USD", "UYU", "VND", "ZAR"),
    ]
)
"""Codes recognised inside header cells, where any three letters could stand."""

_WITH_CURRENCY = re.compile(r"^(.*?) (?:in )?([a-z]{3})$")
_NUMBERED = re.compile(r"^(?:vwz|verwendungszweck|omschrijving|description|libelle) ?(\d{1,2})$")
OPTION_ROLES = frozenset({*BANK_ROLES, "description"})
"""Keys that a mapping option may use."""


@dataclass(slots=True)
class Roles:
    """Columns by role.

    Attributes:
        at: Column index of each role found.
        descriptions: Column indices that make up the description.
        currency: A currency named in a header (``Amount (EUR)``).
    """

    at: dict[str, int] = field(default_factory=dict)
    descriptions: list[int] = field(default_factory=list)
    currency: str = ""

    @property
    def usable(self) -> bool:
        """Whether there is a date and an amount."""
        dated = "booking_date" in self.at or "value_date" in self.at
        return dated and ("amount" in self.at or "debit" in self.at or "credit" in self.at)


def find(header: Sequence[str]) -> Roles:
    """Give each role its most telling column; no column serves two roles but ``type``-like ones."""
    keys = [_table.key(cell) for cell in header]
    roles = Roles()
    for i, text in enumerate(keys):
        found = _WITH_CURRENCY.match(text)
        if (
            found
            and found[2].upper() in CURRENCIES
            and found[1] in {*BANK_ROLES["amount"], *BANK_ROLES["debit"], *BANK_ROLES["credit"]}
        ):
            keys[i], roles.currency = found[1], found[2].upper()
    taken: set[int] = set()
    for role, names in BANK_ROLES.items():
        index = next((keys.index(name) for name in names if name in keys and keys.index(name) not in taken), None)
        if index is not None:
            roles.at[role] = index
            if role not in {"side", "transaction_code"}:
                taken.add(index)
    wanted = {name: place for place, name in enumerate(DESCRIPTIONS)}
    numbered = {
        i: 100 + int(found[1]) for i, text in enumerate(keys) if (found := _NUMBERED.match(text)) and i not in taken
    }
    named = {i: wanted[text] for i, text in enumerate(keys) if text in wanted and i not in taken}
    roles.descriptions = sorted({**numbered, **named}, key=lambda i: ({**numbered, **named}[i], i))
    return roles


def from_mapping(option: str, header: Sequence[str]) -> Roles:
    """Read a person's mapping of roles to columns; see :func:`_table.mapped`.

    Raises:
        Invalid: It is no such mapping, or lacks a date or an amount.
    """
    required = ({"booking_date", "value_date"}, {"amount", "debit", "credit"})
    at = _table.mapped(option, header, OPTION_ROLES, required=required, many="description")
    described = [index for role, index in at.items() if role.startswith("description")]
    return Roles({role: index for role, index in at.items() if not role.startswith("description")}, described)
