"""The HTTP application: every router, who asks, what runs beside it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bursar import __version__
from bursar.core.audit import api as audit_api
from bursar.core.audit.jobs import keep_sealing
from bursar.core.findings import api as findings_api
from bursar.core.findings.digest import api as digest_api
from bursar.core.identity import api as identity_api
from bursar.core.identity.keys import api as keys_api
from bursar.core.identity.members import api as members_api
from bursar.core.identity.organisations import api as organisations_api
from bursar.core.identity.people import api as people_api
from bursar.core.identity.service import Gate
from bursar.core.identity.sessions import api as sessions_api
from bursar.core.identity.tokens import api as tokens_api
from bursar.core.intake import api as intake_api
from bursar.core.language import api as language_api
from bursar.core.ledger import api as ledger_api
from bursar.core.ledger.books import api as books_api
from bursar.core.ledger.gather.service import gathering_of
from bursar.core.notices import api as notices_api
from bursar.core.operations import api as operations_api
from bursar.core.operations import service as operations
from bursar.core.operations.rules import Check
from bursar.core.parties import api as parties_api
from bursar.core.planning import api as planning_api
from bursar.core.work import api as work_api
from bursar.infra.jobs_worker import run_worker
from bursar.infra.web import Router, WebSettings, create_app
from bursar.infra.web_problems import NoSuchRoute
from bursar.infra.web_server import draining
from bursar.infra.web_tracing import tracing
from bursar.parts.banking.attachments import api as attachments_api
from bursar.parts.banking.cash import api as cash_api
from bursar.parts.banking.connections import api as connections_api
from bursar.parts.banking.posting import api as postings_api
from bursar.parts.banking.transactions import api as transactions_api
from bursar.parts.banking.understanding import api as understanding_api
from bursar.parts.banking.understanding.opinions import api as opinions_api
from bursar.parts.cloud import api as cloud_api
from bursar.parts.cloud.commitments import api as commitments_api
from bursar.parts.cloud.focus_validation import api as focus_api
from bursar.parts.cloud.prices import api as prices_api
from bursar.parts.cloud.sharing import api as sharing_api
from bursar.reports.trace import api as trace_api
from bursar.wiring.advice import PAID, report, standing
from bursar.wiring.house import MARKS, House, buckets, keyring_of
from bursar.wiring.tools import JOBS, Tools, tools


def routers(house: House, given: Tools) -> list[Router]:
    """Return the routes of every feature, in the order of the API description."""
    return [
        people_api.r,
        sessions_api.r,
        tokens_api.r,
        organisations_api.r,
        members_api.r,
        keys_api.r,
        identity_api.r,
        audit_api.r,
        findings_api.r,
        trace_api.routes(house.lake, house.prices),
        digest_api.r,
        intake_api.routes(buckets(house.settings, house.importer), upload_bytes_max=house.settings.upload_bytes_max),
        *notices_api.routes(given.notices),
        *planning_api.routes(house.lake, PAID, given.extras),
        parties_api.r,
        ledger_api.r,
        books_api.r,
        understanding_api.r,
        opinions_api.routes(given.language),
        language_api.routes(given.language),
        transactions_api.routes(house.lake),
        transactions_api.r,
        postings_api.r,
        attachments_api.routes(house.importer.documents),
        cash_api.routes(house.lake),
        connections_api.routes(given.feeds),
        cloud_api.routes(house.lake, engine=house.settings.engine),
        sharing_api.r,
        commitments_api.routes(house.lake, house.prices, engine=house.settings.engine),
        prices_api.routes(given.prices.prices),
        focus_api.routes(house.settings.home / "tmp", upload_bytes_max=house.settings.upload_bytes_max),
        work_api.r,
        operations_api.routes(house.settings.home, more=[_serving]),
    ]


def _serving() -> Check:
    """Say whether this process goes on serving; readiness turns to no as soon as it is asked to stop."""
    return Check("serving", not draining(), "stopping; send requests elsewhere" if draining() else "yes")


def app(house: House) -> FastAPI:
    """Return the HTTP application of an open house."""
    settings, keyring = house.settings, keyring_of(house.settings)
    given = tools(house)
    web = WebSettings(
        version=__version__,
        base_url=settings.url,
        cursor_key=keyring.secret(MARKS),
        hosts=settings.hosts,
        login_per_min=settings.login_per_minute,
        cors_origins=settings.cors_origins,
        proxies_trusted=settings.trusted_proxy_hops,
        body_bytes_max=settings.body_bytes_max,
        anonymous_per_min=settings.anonymous_per_minute,
        actor_per_min=settings.key_per_minute,
    )

    @asynccontextmanager
    async def working(_: FastAPI) -> AsyncIterator[None]:

        stop = asyncio.Event()
        worker = run_worker(house.db, JOBS, stop, tools=given.each(house)) if settings.worker_inside else None
        task = asyncio.create_task(worker) if worker else None
        yield
        stop.set()
        if task:
            await task
        await gathering_of(house.db).close()
        await given.notices.client.close()

    loops = (lambda: operations.recorder(house.db), lambda: keep_sealing(house.db, given.audit))
    gate = Gate(given.identity)
    tracer = tracing(settings.otel_endpoint, version=__version__) if settings.otel_endpoint else None
    made = create_app(
        web, house.db, routers(house, given), gate, lifespan=working, loops=loops, pages=page(house), tracer=tracer
    )
    made.state.identity, made.state.audit = given.identity, given.audit
    return made


def page(house: House) -> ASGIApp:
    """Return the page at ``/``: the report of the local owner's inbox, until the web application comes."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if not house.settings.grants_local_owner or scope["path"] != "/":
            raise NoSuchRoute(scope["path"][:200])
        html = report(await standing(house), sample=house.settings.home.name == "sample")
        answer = HTMLResponse(html, headers={"content-security-policy": REPORT_CSP})
        await answer(scope, receive, send)

    return serve


REPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""The report is one file without script; nothing may be loaded into it."""
