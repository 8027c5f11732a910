"""Check digits, one form for each identifier, and what of a mention decides."""

import pytest

from bursar.core.parties.rules import vat
from bursar.core.parties.rules.mentions import Mention, Read


@pytest.mark.parametrize("number", [
    "ATU13585627", "BE0428759497", "CHE107787577", "DE136695976", "DK13585628", "ESB58378431", "ES54362315K", "FI20774740", "FR40303265045",
    "GB980780684", "GB434031494", "IT00743110157", "LU15027442", "NL004495445B01", "NO995525828", "PL8567346215", "PT501964843", "SE556188840401",
])  # fmt: skip
def test_the_check_digits_of_vat_numbers_hold_and_another_digit_breaks_them(number: str) -> None:
    at = max(place for place, c in enumerate(number[:10]) if c.isdigit())
    others = [number[:at] + d + number[at + 1 :] for d in "0123456789" if d != number[at]]

    assert vat.checked(number)
    assert not any(vat.checked(other) for other in others)


@pytest.mark.parametrize(("written", "kept"), [
    ("CHE107787577MWST", "CHE107787577"), ("NO995525828MVA", "NO995525828"), ("BE428759497", "BE0428759497"), ("DE136695976", "DE136695976"),
])  # fmt: skip
def test_vat_numbers_are_kept_in_one_form(written: str, kept: str) -> None:
    assert vat.canonical(written) == kept


def test_vat_numbers_of_other_countries_are_taken_by_their_shape() -> None:
    assert vat.is_vat("IE6388047V")
    assert vat.checked("IE6388047V") is None
    assert not vat.is_vat("IE1")
    assert not vat.is_vat("SOMETHING")
    assert not vat.is_vat("DE136695977")


ACME = (("vat", "DE136695976"),)


@pytest.mark.parametrize(
    ("mention", "usable", "hints"),
    [
        (Mention("Spotify AB by Adyen", told=(("domain", "spotify.com"),)), (), ()),
        (Mention("SPOTIFY AB", told=(("domain", "www.spotify.com"),)), (("domain", "spotify.com"),), ()),
        (Mention("Sainsbury's", told=(("domain", "sainsburys.co.uk"),)), (("domain", "sainsburys.co.uk"),), ()),
        (Mention("Hosting at hetzner.com", told=(("domain", "hetzner.com"),)), (), ()),
        (Mention("PayPal Europe", (("iban", "DE89370400440532013000"),)), (), ()),
        (Mention("Ann", (("domain", "gmail.com"), ("domain", "eu.paypal.com"), ("email", "Ann@gmail.com"))), (("email", "ann@gmail.com"),), ()),
        (Mention("Acme", (("creditor", "DE98ABC09999999999"),), ACME), (), (*ACME, ("creditor", "DE98ZZZ09999999999"))),
        (Mention("Acme", (("creditor", "DE97ZZZ09999999999"), ("lei", "529900T8BM49AURSDO56"))), (), ()),
        (Mention("Acme", (("lei", "529900T8BM49AURSDO55"), *ACME), ACME), (*ACME, ("lei", "529900T8BM49AURSDO55")), ()),
    ],
)  # fmt: skip
def test_what_decides_and_what_is_evidence_beside_a_name(mention: Mention, usable: object, hints: object) -> None:
    read = Read.of(mention)

    assert (read.usable, read.hints) == (usable, hints)
