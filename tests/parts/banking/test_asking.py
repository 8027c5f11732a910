"""What may leave the house about a group of rows, and what may come back."""

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar.parts.banking.understanding.opinions.rules.asking import (
    Category,
    Group,
    Opinion,
    disputed,
    opinions_from,
    question,
    taxonomy,
)
from bursar.parts.banking.understanding.opinions.rules.scrub import TEXT_CHARS_MAX, scrub
from bursar.parts.banking.understanding.rules.answers import Row

ROW = Row(
    UUID(int=1), "42", date(2026, 1, 1), Decimal("-310.00"), "EUR", 31_000, "Metro Cab 4711", (), "", None, "", "",
    UUID(int=2), 1,
)  # fmt: skip
NAMES = ["Office", "Travel"]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("MR JOHN SMITH RENT MAY", "[person] MAY"),
        ("Smith, John salary 05/26", "[person] 05/26"),
        ("transfer DE89 3704 0044 0532 0130 00 Erika Mustermann", "TRANSFER [account] [person]"),
        ("LU280019400644750000", "[account]"),
        ("card **** 1234 aldi sud", "CARD [card] ALDI SUD"),
        ("jane.doe@example.com invoice 2026-0042", "[mail] INVOICE 2026-0042"),
        ("call +49 (0) 171 2345678 now", "CALL [number] NOW"),
        ("AMAZON MKTP 026-1234567-1234567", "AMAZON MKTP [number]"),
        ("HERR DR. MÜLLER", "[person]"),
        ("François Dupont loyer", "[person]"),
        ("Marks & Spencer PLC", "MARKS & SPENCER PLC"),
        ("St Thomas Hospital", "ST THOMAS HOSPITAL"),
        ("Tesco Stores 3245", "TESCO STORES 3245"),
        ("a\u202eb\x00c", "A B C"),
        ("", ""),
    ],
)
def test_personal_data_stays_at_home(written: str, sent: str) -> None:
    assert scrub(written) == sent


@given(st.text(max_size=300))
def test_no_long_number_and_no_control_mark_ever_leaves(written: str) -> None:
    sent = scrub(written)

    assert len(sent) <= TEXT_CHARS_MAX
    assert sent.isprintable()
    assert not any(run.isdigit() and run.isascii() and len(run) >= 5 for run in sent.split())


def test_equal_content_has_one_hash_whatever_the_row_and_the_exact_amount() -> None:
    other = replace(ROW, id=UUID(int=9), size=30_500, label="METRO CAB 4711")

    assert Group.of(ROW).content == Group.of(other).content
    assert Group.of(ROW).content != Group.of(replace(ROW, amount=-ROW.amount)).content


def test_the_question_shows_texts_as_data_and_amounts_by_their_order() -> None:
    group = Group.of(replace(ROW, department="Sales", hint="Transport"))

    asked = question([group], [Category("Office"), Category("Travel", ("GREEN TAXI",))], model="m")

    assert json.loads(asked.data) == [
        {"i": 0, "payee": "METRO CAB 4711", "money": "out", "about": "320 EUR", "department": "SALES",
         "bank says": "TRANSPORT"}
    ]  # fmt: skip
    assert "METRO" not in asked.standing
    assert "1: Travel (such as GREEN TAXI)" in asked.standing
    assert taxonomy([Category("A", ("x",)), Category("B")]) == taxonomy([Category("B"), Category("A")])


def test_an_answer_is_read_as_far_as_the_schema_allows_it() -> None:
    entries = [
        {"i": 1, "c": 1, "alt": [0, 1, 7, "x", 0], "why": "cab\u202e"}, {"i": 1, "c": 0, "alt": [], "why": "twice"},
        {"i": 0, "c": None}, {"i": 2, "c": 9, "alt": []}, {"i": True, "c": 0}, {"i": -1, "c": 0}, "x", {"c": 1},
    ]  # fmt: skip

    found = opinions_from({"groups": entries}, groups=3, categories=NAMES)

    assert found == [Opinion(None), Opinion("Travel", ("Office",), "cab"), None]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["i", "c", "alt", "why", "x"]), inner),
    max_leaves=20,
)


@given(json_values, st.lists(json_values, max_size=5))
def test_whatever_comes_back_is_one_of_the_categories_or_none(value: object, entries: list[object]) -> None:
    for said in (value, {"groups": entries}, {"groups": value}):
        for one in opinions_from(said, groups=3, categories=NAMES):
            assert one is None or one.category in {None, *NAMES}
            assert one is None or set(one.alternatives) <= set(NAMES)


def test_the_second_model_is_asked_about_nothing_found_and_about_what_the_local_model_does_not_see() -> None:
    assert disputed(Opinion(None), [])
    assert disputed(Opinion("Travel"), ["Office"])
    assert not disputed(Opinion("Travel"), ["Office", "Travel"])
    assert not disputed(Opinion("Travel"), [])
