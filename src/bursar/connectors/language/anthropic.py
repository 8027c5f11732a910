"""Anthropic's Messages and Message Batches API, as far as a question with a JSON answer goes.

Source:
    docs.anthropic.com: Messages, Message Batches, Errors, Structured outputs (API version 2023-06-01).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from bursar.infra.http import Answered, Caps, Client, Host, NoAnswer, Reply
from bursar.infra.http_hosts import OWN_RANGES
from bursar.kernel.language import Batch, Ended, Question, Said, Usage

VERSION = "2023-06-01"
URL = "https://api.anthropic.com"
CAPS = Caps(read_s=180.0, total_s=240.0, body_bytes=4 * 1024**2, attempts=4)
RESULTS_CAPS = Caps(read_s=60.0, total_s=600.0, body_bytes=256 * 1024**2)
QUESTIONS_MAX = 1_000
"""Most questions of one batch; the vendor takes 100,000."""
PAGE_BATCHES = 100
PAGES_MAX = 50
"""Pages of the list of batches read to find those of a quarter of an hour."""
MODELS_MAX = 1_000
"""Most models a page of the list may hold, by the vendor's limit."""
UNDONE = frozenset({429, 500, 502, 503, 504, 529})
"""Rate limit, failure, overload: nothing was generated and nothing is charged."""

_ENDS = {
    "end_turn": Ended.ANSWERED,
    "stop_sequence": Ended.ANSWERED,
    "refusal": Ended.REFUSED,
    "max_tokens": Ended.CUT,
    "model_context_window_exceeded": Ended.CUT,
}


class Anthropic:
    """One key at one address; ``client`` may speak to no other host."""

    name = "anthropic"

    def __init__(self, client: Client, key: str, url: str = URL) -> None:
        self._client, self._url = client, url.rstrip("/")
        self._headers = {"x-api-key": key, "anthropic-version": VERSION, "content-type": "application/json"}

    async def ask(self, question: Question) -> Said:
        """Ask now; 429, 529 and 5xx are waited out up to four times, as long as the vendor says.

        Raises:
            Answered: It refused, or is overloaded for longer.
            NoAnswer: Nobody can know whether it was done (unless it was never sent).
        """
        return said_from(self._object(await self._send("/v1/messages", params_of(question))))

    async def submit(self, questions: Mapping[str, Question]) -> str:
        """Start a batch of up to 1,000 questions; return its name.

        Raises:
            Answered, NoAnswer: As :meth:`ask`.
        """
        requests = [{"custom_id": id_, "params": params_of(one)} for id_, one in questions.items()]
        made = self._object(await self._send("/v1/messages/batches", {"requests": requests[:QUESTIONS_MAX]}))
        return str(made["id"])

    async def collect(self, batch: str) -> Mapping[str, Said] | None:
        """Return what became of each question; None while the batch is in progress.

        Raises:
            Answered: There is no such batch (any more: results are kept 29 days).
            NoAnswer: It did not answer.
        """
        state = self._object(await self._get(f"/v1/messages/batches/{batch}", CAPS))
        if state.get("processing_status") != "ended":
            return None
        reply = await self._get(f"/v1/messages/batches/{batch}/results", RESULTS_CAPS)
        return dict(_results(reply))

    async def batches(self, since: datetime) -> list[Batch]:
        """Return the batches made since an instant, newest first; the list is read page by page until it is older.

        Raises:
            Answered, NoAnswer: As :meth:`collect`; the latter too where a batch has another shape than documented.
        """
        found: list[Batch] = []
        after = ""
        for _ in range(PAGES_MAX):
            page = self._object(await self._get(f"/v1/messages/batches?limit={PAGE_BATCHES}{after}", CAPS))
            listed = [_batch(one) for one in page.get("data", ())]
            found += [one for one in listed if one.made_at >= since]
            if not page.get("has_more") or len(listed) == 0 or listed[-1].made_at < since:
                return found
            after = f"&after_id={listed[-1].name}"
        raise NoAnswer(urlsplit(self._url).hostname or "", f"it lists more than {PAGES_MAX * PAGE_BATCHES} batches")

    async def models(self) -> frozenset[str]:
        """Return the models that the key may use."""
        listed = self._object(await self._get(f"/v1/models?limit={MODELS_MAX}", CAPS))
        return frozenset(str(one["id"]) for one in listed.get("data", ()))

    async def _send(self, path: str, body: Mapping[str, Any]) -> Reply:
        reply = await self._client.request(
            "POST",
            self._url + path,
            headers=self._headers,
            content=orjson.dumps(body),
            undone=UNDONE,
            caps=CAPS,
        )
        return reply.must()

    async def _get(self, path: str, caps: Caps) -> Reply:
        reply = await self._client.request("GET", self._url + path, headers=self._headers, undone=UNDONE, caps=caps)
        return reply.must()

    @staticmethod
    def _object(reply: Reply) -> dict[str, Any]:
        found = reply.json()
        if not isinstance(found, dict):
            raise NoAnswer(reply.host, "its answer has another shape than documented")
        return found


def host_of(url: str) -> Host:
    """Return the allow-list entry for the vendor's address; a gateway in one's own network may be private."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 443)
    own = () if url == URL else OWN_RANGES
    return Host(parts.hostname or "", frozenset({port}), frozenset({parts.scheme}), own)


def params_of(question: Question) -> dict[str, Any]:
    """Return the body of one message request: no thinking, because it would be charged and is not needed to sort."""
    standing = {"type": "text", "text": question.standing, "cache_control": {"type": "ephemeral"}}
    return {
        "model": question.model,
        "max_tokens": question.tokens_max,
        "thinking": {"type": "disabled"},
        "system": [standing],
        "messages": [{"role": "user", "content": question.data}],
        "output_config": {"format": {"type": "json_schema", "schema": dict(question.schema)}},
    }


def said_from(message: Mapping[str, Any]) -> Said:
    """Read a message; whatever is not a whole JSON answer says how it ended instead of raising."""
    usage = usage_from(message.get("usage"))
    stop = str(message.get("stop_reason"))
    ended = _ENDS.get(stop, Ended.MALFORMED)
    if ended is not Ended.ANSWERED:
        return Said(ended, None, usage, f"it stopped with {stop[:60]!r}")
    blocks = message.get("content")
    texts = [
        str(one.get("text", ""))
        for one in (blocks if isinstance(blocks, list) else ())
        if isinstance(one, dict) and one.get("type") == "text"
    ]
    try:
        return Said(Ended.ANSWERED, orjson.loads("".join(texts)), usage)
    except orjson.JSONDecodeError:
        return Said(Ended.MALFORMED, None, usage, "its answer is not JSON")


def usage_from(raw: object) -> Usage:
    """Read a usage object; what is missing counts as nothing."""
    facts: Mapping[str, Any] = raw if isinstance(raw, dict) else {}

    def tokens(name: str) -> int:
        value = facts.get(name)
        return value if isinstance(value, int) and value >= 0 else 0

    return Usage(
        tokens("input_tokens"),
        tokens("output_tokens"),
        tokens("cache_read_input_tokens"),
        tokens("cache_creation_input_tokens"),
    )


def _batch(raw: Mapping[str, Any]) -> Batch:
    try:
        counts = raw["request_counts"]
        made_at = datetime.fromisoformat(raw["created_at"])
        return Batch(str(raw["id"]), made_at, sum(counts.values()), raw["processing_status"] == "ended")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NoAnswer("", "a listed batch has another shape than documented") from error


def _results(reply: Reply) -> Iterator[tuple[str, Said]]:
    """Yield the results of a batch by id; JSON lines in any order."""
    for line in reply.body.splitlines():
        try:
            entry = orjson.loads(line)
            result = entry["result"]
            done = result["type"] == "succeeded"
            yield str(entry["custom_id"]), said_from(result["message"]) if done else _failed(result)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise NoAnswer(reply.host, "its results have another shape than documented") from error


def _failed(result: Mapping[str, Any]) -> Said:
    """Return the end of a question that was errored, canceled or expired; none of them is charged."""
    inner = result.get("error")
    kind = inner.get("error", inner).get("type", "") if isinstance(inner, dict) else ""
    return Said(Ended.FAILED, why=f"{result['type']} {kind}".strip()[:120])


__all__ = ["Answered", "Anthropic", "host_of", "params_of", "said_from", "usage_from"]
