"""A local server with the documented shapes and faults of Anthropic's API, and a client that may reach nothing else."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bursar.connectors.language.anthropic import Anthropic
from bursar.infra.clock import utc_now
from bursar.infra.http import Caps, Egress, Host
from tests.infra.servers import Asked, Server, answer, serving

Answers = Callable[[Mapping[str, Any]], Any]
"""What a model says to a request body: JSON, or a :class:`Fault`."""


@dataclass(frozen=True)
class Fault:
    """An answer that is none: a status with its error type, a stop reason, a text that is no JSON, or the line cut."""

    status: int = 200
    kind: str = "api_error"
    stop: str = "end_turn"
    text: str = ""
    wait_s: int = 0
    cut: bool = False
    result: str = ""


def message(value: Any, body: Mapping[str, Any], *, stop: str = "end_turn", text: str | None = None) -> dict[str, Any]:
    """A message as documented; tokens are about a quarter of the characters."""
    said = json.dumps(value) if text is None else text
    return {
        "id": "msg_01", "type": "message", "role": "assistant", "model": body["model"],
        "content": [{"type": "text", "text": said}], "stop_reason": stop, "stop_sequence": None,
        "usage": {
            "input_tokens": len(json.dumps(body)) // 4, "output_tokens": max(1, len(said) // 4),
            "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "service_tier": "standard",
        },
    }  # fmt: skip


@dataclass
class Model:
    """The vendor: answers, batches in progress, and everything that it was asked."""

    answers: Answers
    pending: int = 1
    faults: list[Fault] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    batches: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    polls: int = 0
    page_max: int = 100
    made: dict[str, datetime] = field(default_factory=dict)
    """When each batch was made."""

    def reply(self, asked: Asked) -> bytes | None:
        """Answer one request; None breaks the line."""
        path = asked.target.partition("?")[0]
        if asked.headers.get("x-api-key") != "sk-test" or asked.headers.get("anthropic-version") != "2023-06-01":
            return self.error(401, "authentication_error")
        if path == "/v1/models":
            return as_json({"data": [{"type": "model", "id": "cheap"}, {"type": "model", "id": "dear"}]})
        if path == "/v1/messages":
            return self.messages(json.loads(asked.body))
        if path == "/v1/messages/batches":
            return as_json(self.listed(asked.target)) if asked.method == "GET" else self.begun(json.loads(asked.body))
        return self.of_batch(path)

    def begun(self, body: dict[str, Any]) -> bytes | None:
        if self.faults and self.faults[0].status != 200:
            return self.fault(self.faults.pop(0), {"model": ""})
        id_ = f"msgbatch_{len(self.batches) + 1:02d}"
        self.made[id_] = utc_now()
        self.batches[id_] = body["requests"]
        return as_json(self.batch(id_, "in_progress"))

    def listed(self, target: str) -> dict[str, Any]:
        """One page of the list, newest first."""
        facts = {name: value for name, _, value in (one.partition("=") for one in target.partition("?")[2].split("&"))}
        names = list(reversed(self.batches))
        names = names[names.index(facts["after_id"]) + 1 :] if "after_id" in facts else names
        most = min(int(facts.get("limit", 20)), self.page_max)
        done = "ended" if self.polls >= self.pending else "in_progress"
        return {"data": [self.batch(name, done) for name in names[:most]], "has_more": len(names) > most}

    def messages(self, body: dict[str, Any]) -> bytes | None:
        self.asked.append(body)
        if self.faults:
            return self.fault(self.faults.pop(0), body)
        said = self.answers(body)
        return self.fault(said, body) if isinstance(said, Fault) else as_json(message(said, body))

    def of_batch(self, path: str) -> bytes:
        id_ = path.split("/")[4] if path.count("/") >= 4 else ""
        if id_ not in self.batches:
            return self.error(404, "not_found_error")
        if path.endswith("/results"):
            lines = [json.dumps(self.result(one)) for one in reversed(self.batches[id_])]
            return answer(200, "\n".join(lines).encode(), content_type="application/x-jsonl")
        self.polls += 1
        return as_json(self.batch(id_, "ended" if self.polls > self.pending else "in_progress"))

    def result(self, request: dict[str, Any]) -> dict[str, Any]:
        body = request["params"]
        self.asked.append(body)
        said = self.faults.pop(0) if self.faults else self.answers(body)
        if isinstance(said, Fault) and said.result:
            inner = {"type": "error", "error": {"type": said.kind, "message": "no"}}
            told = {"type": said.result, **({"error": inner} if said.result == "errored" else {})}
        else:
            fault = said if isinstance(said, Fault) else None
            made = message(None, body, stop=fault.stop, text=fault.text) if fault else message(said, body)
            told = {"type": "succeeded", "message": made}
        return {"custom_id": request["custom_id"], "result": told}

    def batch(self, id_: str, status: str) -> dict[str, Any]:
        asked = len(self.batches[id_])
        counts = {"processing": 0, "succeeded": asked, "errored": 0, "canceled": 0, "expired": 0}
        if status == "in_progress":
            counts = {**counts, "processing": asked, "succeeded": 0}
        return {
            "id": id_, "type": "message_batch", "processing_status": status, "results_url": None, "request_counts": counts,
            "created_at": self.made[id_].isoformat().replace("+00:00", "Z"),
        }  # fmt: skip

    def fault(self, fault: Fault, body: Mapping[str, Any]) -> bytes | None:
        if fault.cut:
            return None
        if fault.status != 200:
            return self.error(fault.status, fault.kind, fault.wait_s)
        return as_json(message(None, body, stop=fault.stop, text=fault.text))

    @staticmethod
    def error(status: int, kind: str, wait_s: int = 0) -> bytes:
        told = {"type": "error", "error": {"type": kind, "message": "see the documentation"}, "request_id": "req_1"}
        more = {"retry_after": str(wait_s)} if wait_s else {}
        return answer(status, json.dumps(told).encode(), content_type="application/json", **more)


def as_json(value: Any) -> bytes:
    return answer(200, json.dumps(value).encode(), content_type="application/json")


@asynccontextmanager
async def selling(model: Model, *, key: str = "sk-test") -> AsyncIterator[tuple[Server, Anthropic, list[float]]]:
    """Serve the model; yields the server, a client of it, and the waits that the client made."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def handle(asked: Asked, writer: Any) -> None:
        data = model.reply(asked)
        if data is None:
            writer.transport.abort()
            return
        writer.write(data)
        await writer.drain()

    async with serving(handle) as server:
        host = Host("127.0.0.1", frozenset({server.port}), frozenset({"http"}), ("127.0.0.0/8",))
        client = Egress(sleep=sleep).client("language", allow=[host], caps=Caps(attempts=3))
        try:
            yield server, Anthropic(client, key, server.url("")), waits
        finally:
            await client.close()
