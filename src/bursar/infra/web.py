"""The HTTP edge: what feature packages import, and :func:`create_app`.

An ``api.py`` reads::

    r = router("ledger", tag="Ledger")

    @r.post("/v1/ledger/entries", right="ledger:write", status_code=201, refusals=[NotBalanced])
    async def record_entry(body: EntryIn, db: TheDb, actor: As) -> EntryOut:
        \"\"\"Record a balanced entry.\"\"\"
        async with db.writing(actor) as tx:
            ...
"""

from bursar.infra.web_context import As, Authenticator, Exchange, Here, TheDb, WebSettings
from bursar.infra.web_etags import Match, Matching, etag
from bursar.infra.web_models import Count, In, Listed, MoneyIn, MoneyOut, Out, ProblemOut, Whole
from bursar.infra.web_pages import LIMIT_MAX, Page, Paging
from bursar.infra.web_routes import PUBLIC, SIGNED_IN, Declared, Route, Router, router

__all__ = [
    "LIMIT_MAX",
    "PUBLIC",
    "SIGNED_IN",
    "As",
    "Authenticator",
    "Count",
    "Declared",
    "Exchange",
    "Here",
    "In",
    "Listed",
    "Match",
    "Matching",
    "MoneyIn",
    "MoneyOut",
    "Out",
    "Page",
    "Paging",
    "ProblemOut",
    "Route",
    "Router",
    "TheDb",
    "WebSettings",
    "Whole",
    "etag",
    "router",
]
