"""Identifiers: which schemes there are, which decides first, and the one form in which each is kept."""

import re
from collections.abc import Callable

from bursar.core.parties.rules import vat

SCHEMES = (
    "iban",
    "vat",
    "tax",
    "lei",
    "company",
    "supplier",
    "card_acceptor",
    "account",
    "domain",
    "email",
    "creditor",
)
"""Schemes, the most telling first; ``creditor`` is the identifier of a SEPA creditor."""

EVIDENCE = frozenset({"creditor"})
"""Schemes that collectors lend to others: they join counterparties only where the names are alike too."""

VALUE_CHARS_MAX = 100
_SHARED_DOMAINS = frozenset(
    ["gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "yahoo.com", "icloud.com", "me.com", "gmx.de", "gmx.net", "web.de",
     "aol.com", "proton.me", "protonmail.com", "mail.com", "btinternet.com", "msn.com", "t-online.de", "orange.fr", "free.fr", "wanadoo.fr",
     "libero.it", "mail.ru", "qq.com", "163.com", "ziggo.nl", "seznam.cz", "wp.pl", "o2.pl"]
)  # fmt: skip
"""Domains that say nothing about who somebody is."""
_COLLECTING_DOMAINS = (
    "paypal.com", "paypal.me", "stripe.com", "squareup.com", "square.site", "adyen.com", "mollie.com", "klarna.com", "sumup.com", "gocardless.com",
    "wise.com", "worldpay.com", "google.com", "g.co", "shopify.com", "paddle.com", "paddle.net", "fastspring.com", "2checkout.com", "bill.com",
)  # fmt: skip
"""Domains, with those below them, that collect for others."""
_COLLECTORS = frozenset(
    ["PAYPAL", "STRIPE", "ADYEN", "MOLLIE", "KLARNA", "SUMUP", "ZETTLE", "IZETTLE", "GOCARDLESS", "BUCKAROO", "MULTISAFEPAY", "WORLDPAY", "WORLDLINE",
     "SQUARE", "BRAINTREE", "PADDLE", "SOFORT", "TRUSTLY", "PAYONE", "NEXI", "PAYU", "PRZELEWY24", "UNZER", "RAZORPAY"]
)  # fmt: skip
"""Words of names that collect for others; an account named with one is the collector's, whoever else is named beside."""

_LABEL_CHARS_MIN = 3
_SECOND_LEVELS = frozenset({"co", "com", "org", "net", "ac", "gov"})


def normal(scheme: str, value: str) -> str:
    """Return the form in which an identifier is kept; "" when it is none (a number that fails its check, a mail host)."""
    text = value.strip()
    if scheme in {"domain", "email"}:
        return _network(scheme, text.lower())
    compact = re.sub(r"[\s.\-/]", "", text).upper()
    if not compact or len(compact) > VALUE_CHARS_MAX or not compact.isprintable():
        return ""
    return _CHECKED[scheme](compact) if scheme in _CHECKED else compact


def _network(scheme: str, text: str) -> str:
    if scheme == "email":
        return text if re.fullmatch(r"[^@\s]{1,64}@[a-z0-9.-]{1,253}\.[a-z]{2,}", text) else ""
    host = re.sub(r"^(?:https?://)?(?:www\.)?", "", text).split("/")[0].split("@")[-1]
    if not re.fullmatch(r"[a-z0-9.-]{1,253}\.[a-z]{2,}", host) or host in _SHARED_DOMAINS:
        return ""
    return "" if any(f".{host}".endswith(f".{one}") for one in _COLLECTING_DOMAINS) else host


def _mod_97(compact: str) -> int:
    return int("".join(str(int(c, 36)) for c in compact)) % 97


def is_iban(compact: str) -> bool:
    """Tell whether the check digits of an IBAN hold (ISO 13616, modulus 97)."""
    return bool(re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", compact)) and _mod_97(compact[4:] + compact[:4]) == 1


def _creditor(compact: str) -> str:
    """Return a SEPA creditor identifier without its business code, which creditors choose freely (EPC262-08)."""
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{3}[A-Z0-9]{1,28}", compact):
        return ""
    return f"{compact[:4]}ZZZ{compact[7:]}" if _mod_97(compact[7:] + compact[:4]) == 1 else ""


def collects(key: str) -> bool:
    """Tell whether a name's key names somebody who collects for others, so that its accounts identify nobody."""
    return not _COLLECTORS.isdisjoint(key.split())


def named_by(key: str, host: str) -> bool:
    """Tell whether a name begins with what a domain is called: SPOTIFY AB and spotify.com, never PAID AT SPOTIFY.COM."""
    labels = host.split(".")[:-1]
    if len(labels) > 1 and labels[-1] in _SECOND_LEVELS:
        labels.pop()
    label = re.sub(r"[^a-z0-9]", "", labels[-1])
    squashed = key.replace(" ", "").lower()
    return len(label) >= _LABEL_CHARS_MIN and squashed.startswith(label)


def _vat(compact: str) -> str:
    number = vat.canonical(compact)
    return number if vat.is_vat(number) else ""


def _lei(compact: str) -> str:
    """Check a legal entity identifier (ISO 17442)."""
    return compact if re.fullmatch(r"[A-Z0-9]{18}\d{2}", compact) and _mod_97(compact) == 1 else ""


_CHECKED: dict[str, Callable[[str], str]] = {
    "iban": lambda compact: compact if is_iban(compact) else "",
    "vat": _vat,
    "creditor": _creditor,
    "lei": _lei,
}
"""Schemes whose values carry check digits; ASCII only, so that each digit is one."""
