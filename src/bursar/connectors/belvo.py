"""Belvo: bank links of Brazil and others. This client pulls; its format reads what was pulled, like any other file.

A pull becomes one document (the answers of Belvo's API, unchanged, in an envelope), which is stored by its hash and
imported as a statement is. Shapes: Belvo's OpenAPI 1.35. Amounts are always positive there; ``type`` gives the sign.
"""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from bursar.connectors.belvo_format import document, exact
from bursar.kernel.connector import LinkGone, Notice, StillCollecting, TokenRequired
from bursar.kernel.errors import Invalid, Refusal

if TYPE_CHECKING:
    from bursar.infra.http import Client, Reply

PAGE_SIZE = 1_000
PAGES_MAX = 1_000
HOSTS = {"sandbox": "sandbox.belvo.com", "production": "api.belvo.com"}
"""Host by environment."""
ATTEMPTS_TIMEOUT = 3
"""How often a pull that the bank was too slow for (408) is asked for."""
WEBHOOK_BYTES_MAX = 65_536


@dataclass(eq=False)
class BelvoRefused(Refusal):
    """Belvo refused: {codes}."""

    answered: int
    codes: str
    request_id: str


@dataclass(eq=False)
class PagesMoved(Refusal):
    """Belvo announced {announced} rows and gave {given}; rows changed meanwhile, pull again."""

    status: ClassVar[int] = 409
    announced: int
    given: int


@dataclass(frozen=True, slots=True)
class Credentials:
    """Secret id and password of an account at Belvo; never shown."""

    secret_id: str
    secret_password: str

    def __repr__(self) -> str:
        """Return nothing secret."""
        return "Credentials(…)"


class Belvo:
    """Pulls links, accounts and transactions.

    Args:
        client: The way out, allowed to speak to the host of ``base_url`` only.
        base_url: ``https://api.belvo.com`` or the sandbox's.
        credentials: Secret id and password.
        page_size: Rows a page, at most 1,000 (the sandbox gives 10 whatever is asked).
    """

    def __init__(
        self, client: "Client", base_url: str, credentials: Credentials, *, page_size: int = PAGE_SIZE
    ) -> None:
        self._client, self._base, self._page_size = client, base_url.rstrip("/"), page_size
        pair = f"{credentials.secret_id}:{credentials.secret_password}".encode()
        self._headers = {
            "Authorization": "Basic " + base64.b64encode(pair).decode(),
            "Content-Type": "application/json",
        }

    async def links(self) -> list[dict[str, Any]]:
        """Return every link; a status other than ``valid`` needs the bank's customer."""
        return [link async for link in self._listed("links", {})]

    async def accounts(self, link: str) -> list[dict[str, Any]]:
        """Collect the accounts of a link with their balances anew; raises as :meth:`pull`."""
        return await self._collect("accounts", link, {"link": link, "save_data": True})

    async def transactions(self, link: str, *, since: date, until: date) -> list[dict[str, Any]]:
        """Collect transactions anew, both days included; raises as :meth:`pull`."""
        span = {"date_from": since.isoformat(), "date_to": until.isoformat()}
        return await self._collect("transactions", link, {"link": link, **span, "save_data": True})

    async def stored(self, what: str, link: str, *, since: date, until: date) -> list[dict[str, Any]]:
        """Return what Belvo already collected (after a webhook): ``accounts`` or ``transactions``, page by page."""
        span = {"value_date__range": f"{since},{until}"} if what == "transactions" else {}
        return [row async for row in self._listed(what, {"link": link, **span})]

    async def resume(self, asked: TokenRequired, token: str) -> list[dict[str, Any]]:
        """Go on with a pull that asked for a second factor; it may ask for another one."""
        body = {"session": asked.session, "token": token, "link": asked.link}
        return self._rows(await self._send("PATCH", asked.path, body, again=False), asked.path, asked.link)

    async def pull(self, link: str, *, since: date, until: date, collected: bool = False) -> bytes:
        """Return one document with accounts and transactions, both days included.

        Args:
            link: The link's id.
            since: First day.
            until: Last day.
            collected: Take what Belvo has already (a webhook said so) instead of asking the bank.

        Raises:
            TokenRequired: The bank wants a second factor; :meth:`resume`, then pull with ``collected``.
            StillCollecting: Belvo goes on collecting; pull with ``collected`` after the webhook.
            LinkGone: The link was removed or wiped.
            BelvoRefused: Anything else it said no to, with its codes.
            PagesMoved: Rows changed while pages were read.
        """
        if collected:
            accounts = await self.stored("accounts", link, since=since, until=until)
            rows = await self.stored("transactions", link, since=since, until=until)
        else:
            accounts, rows = await self.accounts(link), await self.transactions(link, since=since, until=until)
        return document(link, accounts, rows)

    async def _collect(self, what: str, link: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        path = f"/api/{what}/"
        for _ in range(ATTEMPTS_TIMEOUT - 1):
            reply = await self._send("POST", path, body, again=True)
            if reply.status != 408:
                return self._rows(reply, path, link)
        return self._rows(await self._send("POST", path, body, again=True), path, link)

    async def _listed(self, what: str, params: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
        """Read a list page by page; the address of the next page is never taken from the answer."""
        announced = given = 0
        for page in range(1, PAGES_MAX + 1):
            asked = {**params, "page": str(page), "page_size": str(self._page_size)}
            reply = await self._client.request("GET", f"{self._base}/api/{what}/", headers=self._headers, params=asked)
            if not reply.ok:
                raise self._refusal(reply, f"/api/{what}/", params.get("link", ""))
            answer = exact(reply.body)
            announced = answer["count"]
            for row in answer["results"]:
                given += 1
                yield row
            if not answer["next"]:
                break
        if announced != given:
            raise PagesMoved(announced, given)

    async def _send(self, method: str, path: str, body: Mapping[str, Any], *, again: bool) -> "Reply":
        content = json.dumps(body).encode()
        return await self._client.request(
            method, self._base + path, headers=self._headers, content=content, repeatable=again
        )

    def _rows(self, reply: "Reply", path: str, link: str) -> list[dict[str, Any]]:
        if reply.status == 202:
            raise StillCollecting(str(exact(reply.body)["request_id"]))
        if not reply.ok:
            raise self._refusal(reply, path, link)
        rows = exact(reply.body)
        return rows if isinstance(rows, list) else [rows]

    def _refusal(self, reply: "Reply", path: str, link: str) -> Refusal:
        """Return what an answer that is not 2xx amounts to; the bank's texts are shortened, secrets are not in them."""
        try:
            errors = exact(reply.body)
        except Invalid:
            errors = []
        first = next((one for one in errors if isinstance(one, dict)), {}) if isinstance(errors, list) else {}
        if reply.status == 404:
            return LinkGone(link)
        if reply.status == 428 and first.get("session"):
            wanted = first.get("token_generation_data") or {}
            text = str(wanted.get("instructions") or "enter the code the bank sent")[:300]
            return TokenRequired(
                path, str(first["session"]), str(first.get("link") or link), text, int(first.get("expiry") or 0)
            )
        codes = (
            [str(one.get("code", "")) for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
        )
        return BelvoRefused(
            reply.status, ", ".join(filter(None, codes)) or f"status {reply.status}", str(first.get("request_id", ""))
        )


def notice(body: bytes, *, authorization: str, expected: str) -> Notice:
    """Read a webhook after checking who sent it.

    Args:
        body: At most 64 KiB.
        authorization: The ``Authorization`` header as sent.
        expected: The header agreed with Belvo; not empty.

    Raises:
        Invalid: It is not from Belvo, too large, or not of the documented shape.
    """
    if not expected or not hmac.compare_digest(authorization.encode(), expected.encode()):
        raise Invalid("The webhook does not carry the agreed authorization")
    if len(body) > WEBHOOK_BYTES_MAX:
        raise Invalid(f"A webhook has at most {WEBHOOK_BYTES_MAX} bytes")
    told = exact(body)
    try:
        data = told.get("data") or {}
        count = data.get("total_transactions", data.get("new_accounts", 0)) or 0
        days = [data.get("first_transaction_date"), data.get("last_transaction_date")]
        first, last = (date.fromisoformat(day) if day else None for day in days)
        key = f"{told['webhook_id']}/{told.get('request_id') or ''}"
        return Notice(key, told["webhook_type"], told["webhook_code"], told["link_id"], int(count), first, last)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Invalid("The webhook is not of the documented shape") from error
