import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.core.parties.rules import identifiers, names
from bursar.core.parties.rules.names import CERTAIN, LIKELY, Index, Spelling, certainty, key_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A & A Electrical Distributors Ltd", "A AND A ELECTRICAL DISTRIBUTORS LIMITED"), ("Müller GmbH", "MULLER"), ("SQ *JOE'S CAFE", "Joes Cafe"),
        ("TESCO STORES 12/03/2024", "Tesco Stores"), ("The Co-operative", "CO OPERATIVE"), ("S.A.P. SE", "SAP"), ("PAYPAL *SPOTIFY", "Spotify AB"),
        ("AMAZON   EU\tSARL", "Amazon EU"), ("CARD PURCHASE SHELL", "SHELL"), ("Café Noir", "CAFE NOIR"),
    ],
)  # fmt: skip
def test_spellings_of_one_name_share_a_key(one: str, other: str) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    ("one", "other"), [("Shell", "Shelter"), ("Ltd", "GmbH"), ("School 5", "School 7"), ("LIMITED CO", "COMPANY")]
)
def test_different_names_keep_different_keys(one: str, other: str) -> None:
    assert key_of(one) != key_of(other)


@pytest.mark.parametrize("empty", ["", "   ", "***", "\u202e"])
def test_a_name_without_letters_has_no_key(empty: str) -> None:
    assert key_of(empty) == ""
    assert names.blocks_of("") == []


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ("ACME", "ACME", 1, 1), ("PAY PAL", "PAYPAL", CERTAIN, 0.97), ("JOHN SMITH", "SMITH JOHN", CERTAIN, 0.96),
        ("LEEDS BUILDING SUPPLIES", "LEEDS BUILDING SUPPLYS", LIKELY, 0.94), ("SCHOOL 5", "SCHOOL 7", 0, 0.5), ("SHELL", "TESCO", 0, 0.3),
        ("DEUTSCHE TELEKOM", "DEUTSCHE BANK", 0, LIKELY - 0.01),
    ],
)  # fmt: skip
def test_certainty_keeps_to_its_scale(one: str, other: str, low: float, high: float) -> None:
    assert low <= certainty(Spelling(one), Spelling(other)) <= high


@given(st.text(max_size=60), st.text(max_size=60))
def test_keys_are_stable_and_certainty_is_symmetric(one: str, other: str) -> None:
    left, right = key_of(one), key_of(other)

    assert key_of(left) == left or not left
    assert certainty(Spelling(left or "x"), Spelling(right or "y")) == certainty(
        Spelling(right or "y"), Spelling(left or "x")
    )
    assert 0 <= certainty(Spelling(left or "x"), Spelling(right or "y")) <= 1


def test_an_index_compares_within_blocks_only() -> None:
    index = Index()
    index.add("ACME TOOLS", names.blocks_of("ACME TOOLS"))

    assert index.best("ACME TOOL", names.blocks_of("ACME TOOL"))[0] == "ACME TOOLS"
    assert index.best("ZENITH", names.blocks_of("ZENITH")) == ("", 0.0)


def test_a_full_block_keeps_its_first() -> None:
    index = Index()
    for number in range(names.BLOCK_MAX + 1):
        index.add(f"ACME {number}", ["ACME"])

    assert index.best("ACME 0", ["ACME"]) == ("ACME 0", certainty(Spelling("ACME 0"), Spelling("ACME 0")))
    assert index.best(f"ACME {names.BLOCK_MAX}", ["ACME"])[0] != f"ACME {names.BLOCK_MAX}"


@pytest.mark.parametrize(
    ("scheme", "written", "kept"),
    [
        ("iban", "de89 3704 0044 0532 0130 00", "DE89370400440532013000"), ("iban", "DE89370400440532013001", ""), ("iban", "DE89", ""),
        ("vat", "DE 136.695.976", "DE136695976"), ("vat", "123", ""), ("domain", "https://www.Acme.com/about", "acme.com"), ("domain", "gmail.com", ""),
        ("domain", "not a domain", ""), ("email", "Ann@Acme.com", "ann@acme.com"), ("email", "ann", ""), ("account", " 12-34 56 ", "123456"),
        ("supplier", "", ""), ("account", "9" * 101, ""), ("account", "a\x00", ""),
    ],
)  # fmt: skip
def test_identifiers_are_kept_in_one_form(scheme: str, written: str, kept: str) -> None:
    assert identifiers.normal(scheme, written) == kept
