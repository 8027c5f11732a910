"""Identifiers: which schemes there are, which decides first, and the one form in which each is kept."""

import re

SCHEMES = ("iban", "vat", "tax", "company", "supplier", "card_acceptor", "account", "domain", "email")
"""Schemes, the most telling first."""

VALUE_CHARS_MAX = 100
_SHARED_DOMAINS = frozenset(
    ["gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "yahoo.com", "icloud.com", "me.com", "gmx.de", "gmx.net", "web.de",
     "aol.com", "proton.me", "protonmail.com", "mail.com", "btinternet.com"]
)  # fmt: skip
"""Domains that say nothing about who somebody is."""


def normal(scheme: str, value: str) -> str:
    """Return the form in which an identifier is kept; "" when it is none (an IBAN that fails its check, a mail host)."""
    text = value.strip()
    if scheme in {"domain", "email"}:
        return _network(scheme, text.lower())
    compact = re.sub(r"[\s.\-/]", "", text).upper()
    if not compact or len(compact) > VALUE_CHARS_MAX or not compact.isprintable():
        return ""
    if scheme == "iban":
        return compact if is_iban(compact) else ""
    if scheme == "vat":
        return compact if re.fullmatch(r"[A-Z]{2}[0-9A-Z]{4,12}", compact) else ""
    return compact


def _network(scheme: str, text: str) -> str:
    if scheme == "email":
        return text if re.fullmatch(r"[^@\s]{1,64}@[a-z0-9.-]{1,253}\.[a-z]{2,}", text) else ""
    host = re.sub(r"^(?:https?://)?(?:www\.)?", "", text).split("/")[0].split("@")[-1]
    return host if re.fullmatch(r"[a-z0-9.-]{1,253}\.[a-z]{2,}", host) and host not in _SHARED_DOMAINS else ""


def is_iban(compact: str) -> bool:
    """Tell whether the check digits of an IBAN hold (ISO 13616, modulus 97)."""
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", compact):
        return False
    moved = compact[4:] + compact[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1
