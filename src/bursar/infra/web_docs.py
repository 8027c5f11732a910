"""The API description: OpenAPI 3.1, a page to read it without any script, and the catalogue of problems."""

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from bursar.infra.web_models import ProblemOut
from bursar.infra.web_problems import PROBLEMS_PAGE, title_of
from bursar.infra.web_routes import PUBLIC, Router, router
from bursar.kernel.errors import Refusal

OPENAPI = "/openapi.json"
STYLE = "/docs/style.css"

_CSS = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; } h3 { margin: 1.5rem 0 .25rem; font-size: 1rem; }
code, pre { font: .9em ui-monospace, monospace; } pre { overflow: auto; padding: .75rem; border: 1px solid #8886; }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .2rem .75rem .2rem 0; vertical-align: top; }
.verb { display: inline-block; min-width: 4.5rem; font-weight: 700; } summary { cursor: pointer; }
"""

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`bsr_live_…`) or an access token, sent as `Authorization: Bearer …`.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": "__Host-bursar", "description": "A browser's session."},
}


def _prose(text: str) -> str:
    """Return text for HTML; what stands in backticks becomes code."""
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text))


def describe(app: FastAPI, tags: Iterable[Mapping[str, str]], base_url: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of ``app``."""
    document = get_openapi(
        title="Bursar",
        version=app.version,
        summary="Self-hosted financial operations: exports in, findings worth money out, score kept.",
        description=(
            "Errors are `application/problem+json` (RFC 9457). Lists are paged by `?limit=&after=`. Money is "
            '`{"amount": "1234.50", "currency": "EUR"}`, never a JSON number. Creating requests take an '
            "`Idempotency-Key`. `/v1` only ever grows."
        ),
        routes=app.routes,
        tags=[dict(tag) for tag in tags],
        servers=[{"url": base_url, "description": "This server"}],
        contact={"name": "Whoever runs this server", "url": base_url},
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    components = document.setdefault("components", {})
    components["securitySchemes"] = _SCHEMES
    schema = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
    schemas = components.setdefault("schemas", {})
    schemas.update(schema.pop("$defs", {}))
    schemas[ProblemOut.__name__] = schema
    components["schemas"] = dict(sorted(schemas.items()))
    return document


def _operations(document: Mapping[str, Any]) -> Iterable[tuple[str, str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield operation["tags"][0], method.upper(), path, operation


def _rows(parameters: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for each in parameters:
        kind = each.get("schema", {}).get("type", "")
        need = "required" if each.get("required") else "optional"
        about = _prose(str(each.get("description", "")))
        rows.append(
            f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}<td>{escape(str(kind))}<td>{need}<td>{about}"
        )
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _body(operation: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    parts = []
    for media, entry in content.items():
        name = entry.get("schema", {}).get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"].get(name, entry.get("schema", {}))
        shown = escape(orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode())
        parts.append(f"<details><summary>Body: {escape(media)} {escape(name)}</summary><pre>{shown}</pre></details>")
    return "".join(parts)


def _frame(title: str, inner: str) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{STYLE}"><main><h1>{escape(title)}</h1>{inner}</main></html>'
    )


def page(document: Mapping[str, Any]) -> str:
    """Return the API description as one HTML page without scripts."""
    sections: dict[str, list[str]] = {}
    for tag, method, path, operation in _operations(document):
        answers = "".join(
            f"<tr><td><code>{status}</code><td>{_prose(answer['description'])}"
            for status, answer in operation["responses"].items()
        )
        right = escape(operation.get("x-right", ""))
        sections.setdefault(tag, []).append(
            f'<section id="{operation["operationId"]}"><h3><span class="verb">{method}</span> <code>{escape(path)}</code></h3>'
            f"<p>{_prose(operation['description'])}</p><p>Right: <code>{right}</code></p>"
            f"{_rows(operation.get('parameters', ()))}{_body(operation, document)}"
            f"<details><summary>Answers</summary><table>{answers}</table></details></section>"
        )
    inner = [f"<p>{_prose(document['info']['description'])}</p>"]
    inner.append(f'<p><a href="{OPENAPI}">OpenAPI 3.1</a> · <a href="{PROBLEMS_PAGE}">Problems</a></p>')
    inner += [f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in sorted(sections.items())]
    return _frame("Bursar API", "".join(inner))


def refusals(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    """Return every kind of refusal that is loaded, by code."""
    found: dict[str, type[Refusal]] = {}
    waiting = [kind]
    while waiting:
        each = waiting.pop()
        found.setdefault(each.__name__, each)
        waiting += each.__subclasses__()
    return [found[name] for name in sorted(found)]


def problems_page() -> str:
    """Return the catalogue of problems as HTML; its anchors are what ``type`` of a problem points to."""
    parts = []
    for kind in refusals():
        code = "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(kind.__name__))
        text = (kind.__doc__ or "").strip().splitlines()[0]
        parts.append(
            f'<section id="{code}"><h3>{escape(title_of(code))}</h3>'
            f"<p>Status {kind.status}, code <code>{code}</code>.</p><p>{_prose(text)}</p></section>"
        )
    return _frame("Problems", "".join(parts))


def docs_router(describe_app: Any) -> Router:
    """Return the routes of the API description; ``describe_app`` returns the OpenAPI document when first asked."""
    r = router("docs", tag="API", about="The description of this API.")
    made: dict[str, bytes] = {}

    def once(name: str, make: Any) -> bytes:
        if name not in made:
            made[name] = make()
        return made[name]

    html = {200: {"description": "A page.", "content": {"text/html": {"schema": {"type": "string"}}}}}

    @r.get(OPENAPI, right=PUBLIC, response_class=Response, responses=_JSON_OBJECT)
    async def openapi(_: Request) -> Response:
        """Return the OpenAPI 3.1 description of every route."""
        return Response(once("openapi", lambda: orjson.dumps(describe_app())), media_type="application/json")

    @r.get("/docs", right=PUBLIC, response_class=Response, responses=html)
    async def read_docs(_: Request) -> Response:
        """Show the API description as a page."""
        return Response(once("page", lambda: page(describe_app()).encode()), media_type="text/html")

    @r.get(PROBLEMS_PAGE, right=PUBLIC, response_class=Response, responses=html)
    async def read_problems(_: Request) -> Response:
        """Show what each problem code means."""
        return Response(once("problems", lambda: problems_page().encode()), media_type="text/html")

    @r.get(STYLE, right=PUBLIC, response_class=Response, responses=_STYLE_SHEET)
    async def read_style(_: Request) -> Response:
        """Return the style sheet of these pages."""
        return Response(_CSS, media_type="text/css", headers={"cache-control": "public, max-age=3600"})

    return r


_JSON_OBJECT: dict[int | str, dict[str, Any]] = {
    200: {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
}
_STYLE_SHEET: dict[int | str, dict[str, Any]] = {
    200: {"description": "CSS.", "content": {"text/css": {"schema": {"type": "string"}}}}
}
