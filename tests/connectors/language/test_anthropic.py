"""Anthropic's documented shapes and faults, over a local server."""

import pytest

from bursar.connectors.language.anthropic import URL, Anthropic, host_of, usage_from
from bursar.infra.http import Answered, Egress, Host, NoAnswer
from bursar.kernel.language import Ended, Question, Usage
from tests.connectors.language.vendor import Fault, Model, selling
from tests.connectors.prices.clients import no_wait

ASKED = Question("cheap", "Sort.", '[{"i":0}]', {"type": "object"}, 100)


async def test_an_answer_is_bound_to_the_schema_and_counted() -> None:
    model = Model(lambda _: {"c": 1})

    async with selling(model) as (server, vendor, _):
        said = await vendor.ask(ASKED)

    [body] = model.asked
    assert (said.ended, said.value) == (Ended.ANSWERED, {"c": 1})
    assert said.usage.read > 0 < said.usage.written
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert (body["max_tokens"], body["thinking"]) == (100, {"type": "disabled"})
    assert body["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert server.asked[0].headers["anthropic-version"] == "2023-06-01"


@pytest.mark.parametrize(
    ("fault", "ended"),
    [
        (Fault(stop="refusal"), Ended.REFUSED),
        (Fault(stop="max_tokens", text='{"c":'), Ended.CUT),
        (Fault(stop="model_context_window_exceeded"), Ended.CUT),
        (Fault(stop="pause_turn"), Ended.MALFORMED),
        (Fault(text="Sure! Here is"), Ended.MALFORMED),
    ],
)
async def test_what_is_no_answer_says_how_it_ended_and_what_it_cost(fault: Fault, ended: Ended) -> None:
    async with selling(Model(lambda _: fault)) as (_, vendor, _waits):
        said = await vendor.ask(ASKED)

    assert (said.ended, said.value) == (ended, None)
    assert said.why
    assert said.usage.read > 0


async def test_rate_limits_and_overload_are_waited_out_as_long_as_the_vendor_says() -> None:
    model = Model(lambda _: {"c": 1}, faults=[Fault(429, "rate_limit_error", wait_s=7), Fault(529, "overloaded_error")])

    async with selling(model) as (_, vendor, waits):
        said = await vendor.ask(ASKED)

    assert said.ended is Ended.ANSWERED
    assert waits[0] == 7
    assert len(waits) == 2


@pytest.mark.parametrize(("status", "times"), [(529, 4), (500, 4), (400, 1), (401, 1), (413, 1)])
async def test_a_refusal_of_the_vendor_is_one_of_ours(status: int, times: int) -> None:
    model = Model(lambda _: Fault(status))

    async with selling(model) as (_, vendor, _waits):
        with pytest.raises(Answered) as refused:
            await vendor.ask(ASKED)

    assert refused.value.answered == status
    assert len(model.asked) == times


async def test_a_broken_line_is_not_asked_again_because_it_may_be_charged() -> None:
    model = Model(lambda _: Fault(cut=True))

    async with selling(model) as (_, vendor, _waits):
        with pytest.raises(NoAnswer) as refused:
            await vendor.ask(ASKED)

    assert refused.value.sent
    assert len(model.asked) == 1


async def test_a_host_that_cannot_be_reached_was_never_asked() -> None:
    nobody = Host("127.0.0.1", frozenset({1}), frozenset({"http"}), ("127.0.0.0/8",))
    client = Egress(sleep=no_wait).client("language", allow=[nobody])

    with pytest.raises(NoAnswer) as refused:
        await Anthropic(client, "sk-test", "http://127.0.0.1:1").ask(ASKED)
    await client.close()

    assert not refused.value.sent


async def test_a_batch_gives_each_question_its_end_in_any_order() -> None:
    faults = [
        Fault(result="expired"), Fault(result="errored", kind="overloaded_error"), Fault(stop="refusal"),
    ]  # fmt: skip
    model = Model(lambda _: {"c": 2}, faults=faults)

    async with selling(model) as (_, vendor, _waits):
        name = await vendor.submit({str(n): ASKED for n in range(4)})
        early = await vendor.collect(name)
        done = await vendor.collect(name)

    assert early is None
    assert done
    assert {id_: said.ended for id_, said in done.items()} == {
        "0": Ended.ANSWERED, "1": Ended.REFUSED, "2": Ended.FAILED, "3": Ended.FAILED,
    }  # fmt: skip
    assert (done["2"].why, done["3"].usage) == ("errored overloaded_error", Usage())


async def test_a_batch_that_is_gone_and_a_wrong_key_are_refused() -> None:
    async with selling(Model(lambda _: None)) as (_, vendor, _waits):
        with pytest.raises(Answered):
            await vendor.collect("msgbatch_99")
        assert await vendor.models() == {"cheap", "dear"}
    async with selling(Model(lambda _: None), key="sk-wrong") as (_, vendor, _waits):
        with pytest.raises(Answered) as refused:
            await vendor.models()

    assert refused.value.answered == 401


def test_usage_that_is_missing_or_odd_counts_as_nothing() -> None:
    assert usage_from(None) == usage_from({"input_tokens": "many", "output_tokens": -1}) == Usage()
    assert usage_from({"input_tokens": 3, "cache_creation_input_tokens": 4}) == Usage(3, cache_written=4)


def test_only_another_address_than_the_vendors_may_be_private() -> None:
    assert host_of(URL).private == ()
    assert host_of("http://gateway.internal:8080").ports == {8080}
    assert host_of("http://gateway.internal:8080").private


async def test_batches_are_listed_page_by_page_since_an_instant() -> None:
    model = Model(lambda _: {"c": 1}, page_max=2)

    async with selling(model) as (_, vendor, _waits):
        names = [await vendor.submit({str(n): ASKED for n in range(size)}) for size in (1, 2, 3, 1, 1)]
        listed = await vendor.batches(model.made[names[1]])

    assert [(one.name, one.questions, one.ended) for one in listed] == [
        (names[4], 1, False), (names[3], 1, False), (names[2], 3, False), (names[1], 2, False),
    ]  # fmt: skip
