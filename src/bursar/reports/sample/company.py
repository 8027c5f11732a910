"""Names and numbers of the invented company and its counterparties; nothing here exists."""

from typing import Final

COMPANY: Final = "Halden & Marsh"

AWS_PAYER: Final = "410000000017"
AWS_ACCOUNTS: Final = {
    "prod": ("410000000025", "hm-production"),
    "staging": ("410000000033", "hm-staging"),
    "data": ("410000000041", "hm-data"),
    "sandbox": ("410000000058", "hm-sandbox"),
}
AZURE_BILLING: Final = "90210077"
GCP_BILLING: Final = "01F2A7-0C91D4-5B77E0"

_LETTERS: Final = {chr(ord("A") + index): str(10 + index) for index in range(26)}


def iban(country: str, bban: str) -> str:
    """Return the IBAN of ``bban`` with its two check digits (ISO 13616, ISO 7064 mod 97-10)."""
    text = "".join(_LETTERS.get(char, char) for char in bban + country + "00")
    return f"{country}{98 - int(text) % 97:02d}{bban}"


MAIN: Final = iban("DE", "999000010011223344")
"""Main euro account, exported as camt.053."""

PROJECT: Final = iban("NL", "HAMA0099887766")
"""Euro account of the Dutch branch, exported as MT940."""

DOLLAR: Final = "7700142290"
"""US dollar account, exported as OFX."""

DOLLAR_BANK: Final = "990011228"


def supplier_iban(name: str) -> str:
    """Return an invented German IBAN for a counterparty, the same for the same name."""
    number = sum(ord(char) * 131**place for place, char in enumerate(name)) % 10**10
    return iban("DE", f"99900002{number:010d}")
