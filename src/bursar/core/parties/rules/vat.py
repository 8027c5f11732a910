"""Check digits of VAT numbers: what tells a number of a company from any other row of digits.

Source: the published algorithms of the national tax offices, as gathered by the VIES on-line help of the European Commission
and HMRC (VAT-NUMBERS), the Swiss UID register and Brønnøysund.
"""

import re
from collections.abc import Callable, Sequence

DIGITS_MIN = 6
"""No country's numbers hold fewer digits; without them any word behind the word VAT would be one."""


def _weighed(digits: str, weights: Sequence[int]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


def luhn(digits: str) -> bool:
    """Tell whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits))]
    return sum(d // 10 + d % 10 for d in doubled) % 10 == 0


def _at(n: str) -> bool:
    doubled = sum(int(d) * 2 // 10 + int(d) * 2 % 10 for d in n[2:8:2])
    return (96 - doubled - sum(int(d) for d in n[1:8:2])) % 10 == int(n[8])


def _de(n: str) -> bool:
    """ISO 7064, MOD 11,10."""
    product = 10
    for digit in n[:8]:
        product = 2 * ((int(digit) + product) % 10 or 10) % 11
    return (11 - product) % 10 == int(n[8])


def _fr(n: str) -> bool:
    return luhn(n[2:]) and int(n[:2]) == (12 + 3 * (int(n[2:]) % 97)) % 97


def _gb(n: str) -> bool:
    total = _weighed(n[:7], range(8, 1, -1)) + int(n[7:9])
    return total % 97 == 0 or (total + 55) % 97 == 0


def _nl(n: str) -> bool:
    """Those of companies check modulus 11; those of sole traders since 2020 as a whole modulus 97."""
    by_weights = (_weighed(n[:8], range(9, 1, -1)) - int(n[8])) % 11 == 0
    return by_weights or int("".join(str(int(c, 36)) for c in "NL" + n)) % 97 == 1


def _es(n: str) -> bool:
    """Persons end in a letter modulus 23; companies in a digit or letter over doubled digits."""
    if n[0] in "0123456789XYZ":
        whole = n[:8].translate(str.maketrans("XYZ", "012"))
        return whole.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(whole) % 23] == n[8]
    digits = n[1:8]
    doubled = [int(d) * (2 - m % 2) for m, d in enumerate(digits)]
    check = -sum(d // 10 + d % 10 for d in doubled) % 10
    return n[8] in {str(check), "JABCDEFGHI"[check]}


def _pt(n: str) -> bool:
    check = 11 - _weighed(n[:8], range(9, 1, -1)) % 11
    return (0 if check > 9 else check) == int(n[8])


def _eleven(*weights: int) -> Callable[[str], bool]:
    """Return the check of a sum of weighed digits, the check digit among them, that 11 divides."""
    return lambda n: _weighed(n, weights) % 11 == 0


_CHECKS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "AT": (r"U\d{8}", _at),
    "BE": (r"[01]\d{9}", lambda n: 97 - int(n[:-2]) % 97 == int(n[-2:])),
    "CHE": (r"\d{9}", _eleven(5, 4, 3, 2, 7, 6, 5, 4, 1)),
    "DE": (r"\d{9}", _de),
    "DK": (r"\d{8}", _eleven(2, 7, 6, 5, 4, 3, 2, 1)),
    "ES": (r"[A-Z0-9]\d{7}[A-Z0-9]", _es),
    "FI": (r"\d{8}", _eleven(7, 9, 10, 5, 8, 4, 2, 1)),
    "FR": (r"\d{11}", _fr),
    "GB": (r"\d{9}(?:\d{3})?", _gb),
    "IT": (r"\d{11}", luhn),
    "LU": (r"\d{8}", lambda n: int(n[:6]) % 89 == int(n[6:])),
    "NL": (r"\d{9}B\d{2}", _nl),
    "NO": (r"\d{9}", _eleven(3, 2, 7, 6, 5, 4, 3, 2, 1)),
    "PL": (r"\d{10}", lambda n: (_weighed(n[:9], (6, 5, 7, 2, 3, 4, 5, 6, 7)) - int(n[9])) % 11 == 0),
    "PT": (r"\d{9}", _pt),
    "SE": (r"\d{10}\d{2}", lambda n: luhn(n[:10])),
}
"""Country to the shape after its letters and its check."""


def canonical(compact: str) -> str:
    """Return a VAT number without what some write behind it (MWST, TVA, IVA, MVA), a Belgian one with its leading zero."""
    plain = re.sub(r"^(CHE\d{9})(?:MWST|TVA|IVA)$|^(NO\d{9})MVA$", r"\1\2", compact, flags=re.ASCII)
    return re.sub(r"^BE(\d{9})$", r"BE0\1", plain, flags=re.ASCII)


def is_vat(compact: str) -> bool:
    """Tell whether a VAT number (canonical) is one: by its check, or by its shape where we know no check for its country."""
    digits = len(re.findall(r"[0-9]", compact))
    return (
        digits >= DIGITS_MIN
        and checked(compact) is not False
        and bool(re.fullmatch(r"[A-Z]{2}[0-9A-Z]{4,12}", compact))
    )


def checked(compact: str) -> bool | None:
    """Tell whether the check digits of a VAT number (canonical) hold; None where we know no check for its country."""
    country = "CHE" if compact.startswith("CHE") else compact[:2]
    if country not in _CHECKS:
        return None
    shape, check = _CHECKS[country]
    number = compact[len(country) :]
    return bool(re.fullmatch(shape, number, re.ASCII)) and check(number)
