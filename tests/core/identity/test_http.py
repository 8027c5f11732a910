"""Identity and the audit trail over HTTP, as a browser and as programs meet them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pyotp
import pytest
from fastapi import FastAPI

from bursar.core.audit import api as audit_api
from bursar.core.audit import service as audit
from bursar.core.identity import api as identity_api
from bursar.core.identity.keys import api as keys_api
from bursar.core.identity.members import api as members_api
from bursar.core.identity.organisations import api as organisations_api
from bursar.core.identity.people import api as people_api
from bursar.core.identity.rules.rights import ROLES
from bursar.core.identity.service import Gate, Means
from bursar.core.identity.sessions import api as sessions_api
from bursar.core.identity.tokens import api as tokens_api
from bursar.infra.anchors import Anchors
from bursar.infra.clock import utc_now
from bursar.infra.crypto import digest
from bursar.infra.db import Database, new_id
from bursar.infra.metrics import Metrics
from bursar.infra.web import WebSettings, create_app
from tests.core.identity.house import PASSWORD, House, cheap_means

EMAIL = "ada@example.com"
MODULES = (
    identity_api,
    people_api,
    sessions_api,
    tokens_api,
    keys_api,
    organisations_api,
    members_api,
    audit_api,
)


def application(db: Database, means: Means, home: Path) -> FastAPI:
    settings = WebSettings(
        version="1", base_url=means.url, cursor_key=b"k" * 32, anonymous_per_min=10_000, login_per_min=10_000
    )
    app = create_app(settings, db, [module.r for module in MODULES], Gate(means), metrics=Metrics())
    app.state.identity = means
    app.state.audit = audit.Means(means.keyring, Anchors(home / "audit"))
    return app


class World:
    """The application and as many clients as wanted."""

    def __init__(self, house: House, app: FastAPI) -> None:
        self.house = house
        self.app = app

    @asynccontextmanager
    async def client(self, *, address: str = "203.0.113.9", **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app=self.app, client=(address, 1), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=self.house.means.url, headers=headers) as made:
            yield made

    async def signed_up(self, client: httpx2.AsyncClient, email: str = EMAIL) -> None:
        """Sign up, verify and sign in; the client has the cookie then."""
        body = {"email": email, "password": PASSWORD, "name": "Ada", "organisation": "Engines"}
        assert (await client.post("/v1/sign-up", json=body)).status_code == 202
        token = await self.house.token(email)
        assert (await client.post("/v1/sign-up/verify", json={"token": token})).status_code == 200
        answer = await client.post("/v1/sessions", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201


@pytest.fixture
async def world(house: House, tmp_path: Path) -> World:
    return World(house, application(house.db, house.means, tmp_path))


async def test_from_signing_up_to_signing_out(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        me = (await browser.get("/v1/me")).json()
        sessions = (await browser.get("/v1/sessions")).json()["data"]
        gone = await browser.delete("/v1/sessions/current")

        assert (me["email"], me["local"], me["organisations"][0]["roles"]) == (EMAIL, False, ["owner"])
        assert [each["current"] for each in sessions] == [True]
        assert gone.status_code == 204
        assert "__Host-bursar" not in browser.cookies
        assert (await browser.get("/v1/me")).status_code == 401


async def test_the_cookie_is_bound_to_host_and_tls_and_closed_to_scripts(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        answer = await browser.post("/v1/sessions", json={"email": EMAIL, "password": PASSWORD, "remember": True})

    attributes = {part.strip().split("=")[0].lower() for part in answer.headers["set-cookie"].split(";")}
    assert answer.headers["set-cookie"].startswith("__Host-bursar=")
    assert {"httponly", "secure", "samesite", "path", "max-age"} <= attributes
    assert "domain" not in attributes
    assert answer.headers["cache-control"] == "no-store"


async def test_a_session_cannot_be_used_from_another_site(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        for headers in (
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            answer = await browser.delete("/v1/sessions/current", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        assert (await browser.get("/v1/me")).status_code == 200


async def test_wrong_and_unknown_are_answered_with_the_same_bytes(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        answers = [
            await browser.post(
                "/v1/sessions", json={"email": email, "password": "wrong"}, headers={"x-request-id": "same-id-12"}
            )
            for email in (EMAIL, "nobody@example.com")
        ]
        again = [
            await browser.post(
                "/v1/sign-up",
                json={"email": email, "password": "Lagune und Trompete", "name": "A", "organisation": "E"},
                headers={"x-request-id": "same-id-12"},
            )
            for email in (EMAIL, "nobody@example.com")
        ]
        resets = [
            await browser.post("/v1/password-resets", json={"email": email}, headers={"x-request-id": "same-id-12"})
            for email in (EMAIL, "nobody@example.com")
        ]

    for one, other in (answers, again, resets):
        assert (one.status_code, one.content) == (other.status_code, other.content)
        assert set(one.headers) == set(other.headers)
    assert answers[0].status_code == 401


async def test_a_second_factor_from_set_up_to_sign_in(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        draft = (await browser.post("/v1/me/second-factor")).json()
        code = pyotp.TOTP(draft["secret"]).at(utc_now())
        codes = (await browser.post("/v1/me/second-factor/confirm", json={"code": code})).json()["codes"]
        without = await browser.post("/v1/sessions", json={"email": EMAIL, "password": PASSWORD})
        with_code = await browser.post("/v1/sessions", json={"email": EMAIL, "password": PASSWORD, "code": codes[0]})
        me = (await browser.get("/v1/me")).json()
        fresh = (await browser.post("/v1/me/recovery-codes")).json()["codes"]
        off = await browser.post("/v1/me/second-factor/remove", json={"password": PASSWORD, "code": fresh[0]})

    assert (without.status_code, without.json()["code"]) == (401, "second_factor_needed")
    assert with_code.status_code == 201
    assert (me["second_factor"], me["recovery_codes_left"]) == (True, 9)
    assert off.status_code == 204


async def test_a_password_is_changed_and_reset(world: World) -> None:
    new, newer = "Lagune und Trompete", "Kanal am Fjord ohne Boot"
    async with world.client() as browser:
        await world.signed_up(browser)
        changed = await browser.post("/v1/me/password", json={"current": PASSWORD, "new": new})
        asked = await browser.post("/v1/password-resets", json={"email": EMAIL})
        token = (await world.house.token(EMAIL)) or ""
        used = await browser.post("/v1/password-resets/use", json={"token": token, "password": newer})
        spent = await browser.post("/v1/password-resets/use", json={"token": token, "password": newer})
        signed_in = await browser.post("/v1/sessions", json={"email": EMAIL, "password": newer})

    assert [changed.status_code, asked.status_code, used.status_code] == [204, 202, 200]
    assert (spent.status_code, spent.json()["code"]) == (422, "spent_token")
    assert signed_in.status_code == 201


async def test_a_program_logs_in_renews_and_is_cut_off_on_replay(world: World) -> None:
    async with world.client() as browser, world.client() as program:
        await world.signed_up(browser)
        first = (await program.post("/v1/tokens", json={"email": EMAIL, "password": PASSWORD, "label": "cron"})).json()
        second = (await program.post("/v1/tokens/refresh", json={"refresh_token": first["refresh_token"]})).json()
        bearer = {"authorization": f"Bearer {second['access_token']}"}
        me = await program.get("/v1/me", headers=bearer)
        listed = (await browser.get("/v1/tokens")).json()["data"]
        replay = await program.post("/v1/tokens/refresh", json={"refresh_token": first["refresh_token"]})
        ended = await program.post("/v1/tokens/refresh", json={"refresh_token": second["refresh_token"]})
        keys = (await program.get("/.well-known/jwks.json")).json()["keys"]

    assert me.json()["email"] == EMAIL
    assert [each["label"] for each in listed] == ["cron"]
    assert (replay.status_code, ended.status_code) == (401, 401)
    assert [key["crv"] for key in keys] == ["Ed25519"]


async def test_a_program_ends_its_own_log_in(world: World) -> None:
    async with world.client() as browser, world.client() as program:
        await world.signed_up(browser)
        login = {"email": EMAIL, "password": PASSWORD}
        one, two = [(await program.post("/v1/tokens", json=login)).json() for _ in range(2)]
        revoked = await program.post("/v1/tokens/revoke", json={"refresh_token": one["refresh_token"]})
        unknown = await program.post("/v1/tokens/revoke", json={"refresh_token": "A" * 43})
        ended = await browser.delete(f"/v1/tokens/{two['id']}")
        left = (await browser.get("/v1/tokens")).json()["data"]

    assert (revoked.status_code, unknown.status_code, ended.status_code) == (204, 204, 204)
    assert left == []


async def test_an_api_key_is_made_used_rotated_and_revoked(world: World) -> None:
    async with world.client() as browser, world.client() as robot:
        await world.signed_up(browser)
        wanted = {"name": "robot", "scopes": ["member:read"], "networks": ["203.0.113.0/24"]}
        made = (await browser.post("/v1/keys", json=wanted)).json()
        bearer = {"authorization": f"Bearer {made['key']}"}
        allowed = await robot.get("/v1/members", headers=bearer)
        denied = await robot.get("/v1/keys", headers=bearer)
        rotated = await browser.post(f"/v1/keys/{made['id']}/rotate", json={"days": 30})
        listed = (await browser.get("/v1/keys")).json()["data"]
        async with world.client(address="198.51.100.1") as elsewhere:
            outside = await elsewhere.get("/v1/members", headers=bearer)
        gone = await browser.delete(f"/v1/keys/{made['id']}")

    assert (allowed.status_code, denied.status_code, outside.status_code) == (200, 403, 401)
    assert rotated.json()["key"] != made["key"]
    assert len(listed) == 2
    assert all("key" not in each for each in listed)
    assert listed[1]["used_from"] == "203.0.113.9"
    assert gone.status_code == 204


async def test_dangerous_things_take_a_step_up(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        async with world.house.db.system("test", write=True) as tx:
            await tx.run("update identity_session set fresh_at = fresh_at - interval '6 minutes'")
        refused = await browser.post("/v1/keys", json={"name": "robot", "scopes": ["member:read"]})
        before = browser.cookies["__Host-bursar"]
        stepped = await browser.post("/v1/sessions/step-up", json={"password": PASSWORD})
        allowed = await browser.post("/v1/keys", json={"name": "robot", "scopes": ["member:read"]})

    assert (refused.status_code, refused.json()["code"]) == (403, "step_up_needed")
    assert stepped.status_code == 200
    assert browser.cookies["__Host-bursar"] != before
    assert allowed.status_code == 201


async def test_members_are_invited_join_are_promoted_and_leave(world: World) -> None:
    bob = {"email": "bob@example.com", "password": PASSWORD}
    async with world.client() as browser, world.client() as other:
        await world.signed_up(browser)
        org = (await browser.get("/v1/organisation")).json()["id"]
        sent = await browser.post("/v1/invitations", json={"email": "bob@example.com", "roles": ["viewer"]})
        open_ones = (await browser.get("/v1/invitations")).json()["data"]
        from uuid import UUID

        token = await world.house.token("bob@example.com", UUID(org))
        joined = await other.post("/v1/invitations/accept", json={"token": token, "name": "Bob", "password": PASSWORD})
        await other.post("/v1/sessions", json=bob)
        members = (await browser.get("/v1/members", params={"limit": 1})).json()
        rest = (await browser.get("/v1/members", params={"limit": 1, "after": members["next"]})).json()
        person = next(each["person"] for each in members["data"] + rest["data"] if each["email"] == bob["email"])
        shown = await browser.get(f"/v1/members/{person}")
        unseen = await browser.put(f"/v1/members/{person}/roles", json={"roles": ["finance"]})
        tag = {"if-match": shown.headers["etag"]}
        changed = await browser.put(f"/v1/members/{person}/roles", json={"roles": ["finance"]}, headers=tag)
        stale = await browser.put(f"/v1/members/{person}/roles", json={"roles": ["buyer"]}, headers=tag)
        signed_out = await browser.delete(f"/v1/members/{person}/sessions")
        await other.post("/v1/sessions", json=bob)
        left = await other.delete("/v1/me/membership")
        last = await browser.delete("/v1/me/membership")

    assert (sent.status_code, joined.status_code) == (201, 200)
    assert [each["email"] for each in open_ones] == [bob["email"]]
    assert (unseen.status_code, changed.status_code, stale.status_code) == (428, 200, 412)
    assert changed.json()["roles"] == ["finance"]
    assert (signed_out.status_code, left.status_code, last.status_code) == (204, 204, 409)


async def test_an_organisation_is_founded_renamed_handed_over_deleted_and_kept(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        second = (await browser.post("/v1/organisations", json={"name": "Second"})).json()["id"]
        switched = await browser.post("/v1/sessions/switch", json={"organisation": second})
        foreign = await browser.post("/v1/sessions/switch", json={"organisation": str(new_id())})
        assert (switched.status_code, foreign.status_code) == (200, 403)
        await browser.post("/v1/sessions/step-up", json={"password": PASSWORD})
        shown = await browser.get("/v1/organisation")
        tag = {"if-match": shown.headers["etag"]}
        renamed = await browser.patch("/v1/organisation", json={"name": "Third"}, headers=tag)
        stranger = await browser.post("/v1/organisation/hand-over", json={"person": str(new_id())})
        deleted = await browser.delete("/v1/organisation")
        twice = await browser.delete("/v1/organisation")
        kept = await browser.post("/v1/organisation/keep")

    assert (shown.json()["name"], renamed.json()["name"]) == ("Second", "Third")
    assert stranger.status_code == 404
    assert (deleted.status_code, twice.status_code, kept.status_code) == (200, 409, 204)


async def test_the_audit_trail_is_listed_and_proved(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        none = await browser.get("/v1/audit/head")
        await audit.seal(world.house.db, keyring=world.house.means.keyring, now=utc_now())
        listed = (await browser.get("/v1/audit")).json()["data"]
        filtered = (await browser.get("/v1/audit", params={"action": "organisation.created"})).json()["data"]
        head = (await browser.get("/v1/audit/head")).json()
        verdict = (await browser.get("/v1/audit/verification")).json()

    assert none.status_code == 404
    assert [each["action"] for each in listed] == ["session.opened", "organisation.created"]
    assert all(each["request_id"] for each in listed)
    assert len(filtered) == 1
    assert (verdict["ok"], verdict["entries"], verdict["head"]) == (True, 2, head)


async def test_names_change_and_rights_are_listed(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        renamed = await browser.patch("/v1/me", json={"name": "Ada Lovelace"})
        rights = (await browser.get("/v1/rights")).json()

    assert renamed.json()["name"] == "Ada Lovelace"
    assert {each["role"] for each in rights["roles"]} == set(ROLES)


@pytest.mark.parametrize("field", ["email", "password", "name", "organisation"])
@pytest.mark.parametrize("value", [None, 5, [], {}, "", "\0", "x" * 2_000, "\ud800"], ids=repr)
async def test_bad_input_is_refused_and_never_a_crash(world: World, field: str, value: Any) -> None:
    body = {"email": EMAIL, "password": PASSWORD, "name": "Ada", "organisation": "Engines", field: value}
    async with world.client() as browser:
        answer = await browser.post("/v1/sign-up", content=_json(body), headers={"content-type": "application/json"})

    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert PASSWORD not in answer.text


def _json(body: Any) -> bytes:
    import json

    return json.dumps(body).encode()


async def test_the_local_owner_comes_in_without_a_password_on_the_machine_itself_only(
    db: Database, tmp_path: Path
) -> None:
    means = cheap_means(local=True, url="http://127.0.0.1:8417")
    world = World(House(db, means), application(db, means, tmp_path))
    async with world.client(address="127.0.0.1") as browser, world.client(address="192.0.2.1") as remote:
        outside = await remote.post("/v1/sessions/local")
        cross = await browser.post("/v1/sessions/local", headers={"origin": "http://evil.example"})
        rebound = await browser.post("/v1/sessions/local", headers={"host": "evil.example"})
        opened = await browser.post("/v1/sessions/local")
        me = (await browser.get("/v1/me")).json()

    assert (outside.status_code, cross.status_code, opened.status_code) == (404, 403, 201)
    assert rebound.status_code in {400, 403, 421}
    assert me["local"] is True
    assert "secure" not in opened.headers["set-cookie"].lower()
    means.passwords.close()


async def test_there_is_no_local_owner_where_it_is_not_granted(world: World) -> None:
    async with world.client(address="127.0.0.1") as browser:
        assert (await browser.post("/v1/sessions/local")).status_code == 404


async def test_a_stored_secret_is_only_its_hash(world: World) -> None:
    async with world.client() as browser:
        await world.signed_up(browser)
        cookie = browser.cookies["__Host-bursar"]
    async with world.house.db.system("test") as tx:
        stored = await tx.scalar("select token_hash from identity_session")

    assert bytes(stored) == digest(cookie)
