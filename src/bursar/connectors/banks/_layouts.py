"""Bank exports whose columns alone would mislead: what is special about each, by the headers that give it away."""

from collections.abc import Sequence
from dataclasses import dataclass

from bursar.connectors.banks._table import key


@dataclass(frozen=True, slots=True)
class Layout:
    """One known export.

    Attributes:
        name: Id; also the account of rows that name none, so that monthly files of one source meet.
        headers: Header keys that together give it away.
        order: ``date_order`` it always uses; "" where the column decides.
        spent_is_positive: Amounts are spending, shown positive.
        minus: Roles whose amounts are taken off the amount (fees beside a gross amount, refunds).
        currency: What its amounts are in where the file names none.
        refuse: Why it cannot be a bank statement; "" where it is one.
    """

    name: str
    headers: frozenset[str]
    order: str = ""
    spent_is_positive: bool = False
    minus: tuple[str, ...] = ()
    currency: str = ""
    refuse: str = ""


def _layout(name: str, *headers: str, **special: object) -> Layout:
    return Layout(name, frozenset(headers), **special)  # type: ignore[arg-type]


LAYOUTS: tuple[Layout, ...] = (
    _layout("xero-journal", "journalnumber", "journaldate", "netamount", refuse="a journal of a bookkeeping program"),
    _layout("stripe", "seller message", "amount refunded", "converted amount", minus=("refunded",)),
    _layout("paypal", "gross", "net", "transaction id", "from email address"),
    _layout("wise", "transferwise id"),
    _layout("revolut", "started date", "completed date", "state", minus=("fee",)),
    _layout("mint", "original description", "transaction type", "account name", order="MDY", currency="USD"),
    _layout("payoneer", "credit amount", "debit amount", "transfer amount currency", order="MDY"),
    _layout("schwab", "withdrawal", "deposit", "runningbalance", order="MDY", currency="USD"),
    _layout(
        "pcmastercard",
        "card used for transaction",
        "merchant name",
        order="MDY",
        currency="CAD",
        spent_is_positive=True,
    ),
    _layout(
        "amazon", "order id", "shipping refund", "payments", spent_is_positive=True, minus=("refunded",), currency="USD"
    ),
    _layout("capitalone", "posted date", "card no", "debit", "credit", currency="USD"),
    _layout(
        "creditunion",
        "check number",
        "date",
        "description",
        "amount",
        "category",
        "comments",
        order="MDY",
        currency="USD",
    ),
    _layout("gls", "auftraggeber empfanger", "vwz1", "kontostand"),
    _layout("n26", "partner name", "partner iban", "payment reference"),
    _layout("outbank", "ultimate receiver name", "compensation amount", "posting key", order="MDY"),
    _layout("ing-es", "class", "subcategory", "desc", "balance"),
    _layout("ubs-ch", "produit", "monn", "n de transaction"),
)
"""The first layout whose headers are all present counts."""


def known(header: Sequence[str]) -> Layout | None:
    """Return the layout that ``header`` gives away, if any."""
    keys = {key(cell) for cell in header}
    return next((layout for layout in LAYOUTS if layout.headers <= keys), None)
