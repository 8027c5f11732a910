"""Logs: one JSON object a line, and no secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from bursar.infra import log

CANARIES = {
    "an API key": "bsr_live_ab12cd34_9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "a JSON web token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlY2FuYXJ5",
    "a password in an address": "postgresql://bursar:canary-password@db.example/bursar",
    "a bearer header": "Authorization: Bearer canary0123456789",
    "a Stripe key": "sk_live_canary0123456789",
    "an Anthropic key": "sk-ant-canary0123456789",
    "an AWS key": "AKIACANARY0123456789",
    "a webhook secret": "whsec_canary0123456789",
    "a private key": "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----",
    "a session cookie": "__Host-bursar=canary0123456789; Path=/",
}
SECRET_PARTS = (
    "9f8e7d6c",
    "eyJzdWIi",
    "canary-password",
    "canary0123",
    "CANARY0123",
    "canary\n",
    "c2lnbmF0dXJl",
    "\\ncanary",
)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    log.configure(level="DEBUG", stream=stream)
    yield stream
    root.handlers[:], root.level = before
    structlog.reset_defaults()


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("secret", CANARIES.values(), ids=CANARIES.keys())
def test_a_secret_is_hidden_wherever_it_stands(lines: io.StringIO, secret: str) -> None:
    logger = log.logger("test")
    event = f"in the event {secret}"
    logger.info(event)
    logger.info("in a field", note=secret)
    logger.info("deep inside", facts={"list": [{"note": f"before {secret} after"}]})
    logging.getLogger("foreign").warning("from another library: %s", secret)
    logger.error("in an exception", exc_info=ValueError(secret))
    text = lines.getvalue()

    assert len(read(lines)) == 5
    assert log.HIDDEN in text
    assert not [part for part in SECRET_PARTS if part in text]


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "client_secret",
        "access_token",
        "Authorization",
        "Cookie",
        "api_key",
        "totp",
        "recovery_codes",
    ],
)
def test_a_field_named_like_a_secret_is_hidden(lines: io.StringIO, name: str) -> None:
    log.logger("test").info("event", **{name: "plain-canary"}, inner={name: ["plain-canary"]})

    assert "plain-canary" not in lines.getvalue()
    assert read(lines)[0][name] == log.HIDDEN


def test_what_is_no_secret_stays(lines: io.StringIO) -> None:
    log.logger("intake").info(
        "import finished", rows=10, file="bank.csv", org="o1", ratio=0.5, none=None, of=("a", "b")
    )
    line = read(lines)[0]

    assert line["event"] == "import finished"
    assert line["level"] == "info"
    assert line["logger"] == "intake"
    assert (line["rows"], line["file"], line["ratio"], line["none"], line["of"]) == (
        10,
        "bank.csv",
        0.5,
        None,
        ["a", "b"],
    )
    assert line["at"].endswith("Z")


def test_lines_of_a_request_carry_its_facts(lines: io.StringIO) -> None:
    token = log.request_facts.set({"request_id": "r1", "actor": "person:a"})
    log.logger("test").info("inside")
    logging.getLogger("foreign").info("inside too")
    log.request_facts.reset(token)
    log.logger("test").info("outside")
    inside, foreign, outside = read(lines)

    assert inside["request_id"] == foreign["request_id"] == "r1"
    assert inside["actor"] == "person:a"
    assert "request_id" not in outside


def test_lower_levels_are_left_out(lines: io.StringIO) -> None:
    log.configure(level="WARNING", stream=lines)
    log.logger("test").info("quiet")
    log.logger("test").warning("loud")

    assert [line["event"] for line in read(lines)] == ["loud"]


def test_odd_values_do_not_break_a_line(lines: io.StringIO) -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    log.logger("test").info(
        "odd", raw=b"\xff\xfe", deep=deep, thing=object(), many="x" * 100_000, keys={1: 2}, some={3}
    )
    broken = logging.LogRecord("foreign", logging.INFO, "", 0, "%d", ("not a number",), None)
    log.Foreign().emit(broken)
    line = read(lines)[0]

    assert line["raw"] == "<2 bytes>"
    assert len(line["many"]) == log.TEXT_MAX_CHARS
    assert log.HIDDEN in json.dumps(line["deep"])
    assert line["keys"] == {"1": 2}


def test_the_line_of_a_request_is_written_without_detours(lines: io.StringIO) -> None:
    log.fast_line("request", {"route": "/v1/things/{key}", "status": 200, "ms": 1.5})
    log.configure(level="WARNING", stream=lines)
    log.fast_line("request", {"route": "/v1/quiet"})
    line = read(lines)

    assert len(line) == 1
    assert (line[0]["event"], line[0]["level"], line[0]["status"]) == ("request", "info", 200)
    assert line[0]["at"].endswith("Z")


def test_nothing_is_shown_before_the_logs_are_configured(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    secret = CANARIES["an API key"]
    try:
        int(secret)
    except ValueError:
        log.logger("early").exception("failed")
    shown = capsys.readouterr()

    assert json.loads(shown.err)["event"] == "failed"
    assert "9f8e7d6c" not in shown.out + shown.err
