"""Routers: every route declares who may use it, what it is for and how it may refuse.

``r = router("ledger", tag="Ledger")`` and then ``@r.get("/v1/ledger/accounts", right="ledger:read")``. A route without a
right or a description fails at import. Routes are collected in order; :func:`bursar.infra.web.create_app` serves them.
"""

import inspect
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin

from fastapi import params
from fastapi.datastructures import Default, DefaultPlaceholder
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bursar.infra.web_bodies import ReadRequest
from bursar.infra.web_context import with_given
from bursar.infra.web_etags import IF_MATCH
from bursar.infra.web_models import ProblemOut
from bursar.infra.web_problems import FLAWS_MAX, MEDIA_TYPE
from bursar.kernel.errors import Refusal

if TYPE_CHECKING:
    from fastapi._compat import ModelField

PUBLIC = "public"
"""Right of a route that anyone may use, signed in or not; the handler has no actor unless it asks for one."""

SIGNED_IN = "signed-in"
"""Right of a route that any member of the organisation may use."""

_RIGHT = re.compile(r"[a-z_]+:[a-z_]+")
_PATH = re.compile(r"/[A-Za-z0-9_./{}:-]*")

_JSON = Default(JSONResponse)
"""Not replaced, it makes FastAPI serialise models straight to bytes."""

Handler = TypeVar("Handler", bound=Callable[..., Any])
Limit = Literal["usual", "log-in", "none"]
Once = Literal["never", "may", "must"]


@dataclass(frozen=True, slots=True)
class Declared:
    """What a route declares besides its types.

    Attributes:
        right: ``noun:verb``, :data:`PUBLIC` or :data:`SIGNED_IN`.
        once: Whether an ``Idempotency-Key`` may or must be sent.
        edited: If-Match is demanded (428 without).
        body_bytes_max: Largest body; None for the setting.
        limit: Rate limit that applies: the usual one, the strict one of log-in, or none (probes).
        stream: The answer does not end by itself (server-sent events); no latency is recorded.
    """

    right: str
    once: Once = "never"
    edited: bool = False
    body_bytes_max: int | None = None
    limit: Limit = "usual"
    stream: bool = False


class Route(APIRoute):
    """A FastAPI route that carries its declaration."""

    declared: Declared
    takes_json: bool

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler; a JSON body is the one the edge has parsed, and no query parameter is ignored."""
        handler = super().get_route_handler()
        takes_json = _takes_json(self)
        asked = {each.alias: _takes_many(each.field_info.annotation) for each in _query_fields(self)}

        async def with_read_body(request: Request) -> Response:
            if request.scope["query_string"] and self.declared.right != PUBLIC:  # others append to public links
                _refuse_stray(request, asked)
            return await handler(ReadRequest(request.scope, request.receive) if takes_json else request)

        return with_read_body


def _query_fields(route: APIRoute) -> "list[ModelField]":
    return [each for each in get_flat_params(route.dependant) if isinstance(each.field_info, params.Query)]


def _takes_many(annotation: Any) -> bool:
    """Tell whether a parameter of this type may be repeated: a list, set or tuple, or a union or note that holds one."""
    origin = get_origin(annotation)
    return origin in {list, set, frozenset, tuple} or any(map(_takes_many, get_args(annotation)))


def _refuse_stray(request: Request, asked: Mapping[str, bool]) -> None:
    """Raise on a query parameter that is unknown or given twice: a filter left out in silence gives a wrong sum."""
    given = Counter(name for name, _ in request.query_params.multi_items())
    stray = [name for name, times in given.items() if name not in asked or (times > 1 and not asked[name])]
    if stray:
        raise RequestValidationError(
            [
                {"type": "extra_forbidden", "loc": ("query", name), "msg": _stray_text(name, asked), "input": None}
                for name in stray[:FLAWS_MAX]
            ]
        )


def _stray_text(name: str, asked: Mapping[str, bool]) -> str:
    if name in asked:
        return "It may be given only once"
    near = get_close_matches(name, asked, n=1)
    return f"There is no such parameter; did you mean {near[0]}?" if near else "There is no such parameter"


def _takes_json(route: APIRoute) -> bool:
    if route.body_field is None:
        return False
    body = route.body_field.field_info
    return not isinstance(body, params.Form) and getattr(body, "media_type", "application/json") == "application/json"


_COMMON: dict[int, str] = {
    400: "The request cannot be read.",
    422: "The request is not valid; `errors` lists each flaw.",
    429: "Too many requests; wait for `Retry-After` seconds.",
    503: "Something this depends on does not answer.",
}
_SIGNED = {401: "Not signed in, or the credential is no longer valid.", 403: "The actor lacks the right."}
_BODY = {413: "The body is too large.", 415: "The body has the wrong media type."}
_WRITE = {409: "The state of things does not allow it, or the same request is still running."}
_EDITED = {412: "It changed since it was read.", 428: "If-Match is missing."}

_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Any text of 1 to 200 printable characters. The same key with the same body returns the first reply "
    "again, with `Idempotent-Replayed: true`; with another body it is refused.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}
_MATCH_PARAMETER = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The ETag of the version you have read.",
    "schema": {"type": "string", "pattern": IF_MATCH, "examples": ['"3f2a9c"']},
}


def _refusals(path: str, method: str, declared: Declared, extra: Iterable[type[Refusal]]) -> dict[int, str]:
    """Return description by status of every refusal that a route can answer."""
    texts = dict(_COMMON)
    if declared.right != PUBLIC:
        texts |= _SIGNED
    if method in {"POST", "PUT", "PATCH", "DELETE"}:
        texts |= _BODY | _WRITE
        texts.setdefault(403, "A page of another site may not do this.")
    if "{" in path:
        texts[404] = "There is no such thing in this organisation."
    if declared.edited:
        texts |= _EDITED
    for kind in extra:
        first = (kind.__doc__ or "").strip().splitlines()[0].replace("{", "`").replace("}", "`")
        texts[kind.status] = f"{texts[kind.status]} {first}" if kind.status in texts else first
    return dict(sorted(texts.items()))


def _answers(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    reference = {"$ref": "#/components/schemas/" + ProblemOut.__name__}
    return {
        status: {"description": text, "content": {MEDIA_TYPE: {"schema": reference}}} for status, text in texts.items()
    }


def _extra(declared: Declared) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = []
    if declared.once != "never":
        parameters.append(_KEY_PARAMETER | {"required": declared.once == "must"})
    if declared.edited:
        parameters.append(_MATCH_PARAMETER)
    schemes: list[dict[str, list[str]]] = [] if declared.right == PUBLIC else [{"bearer": []}, {"session": []}]
    extra: dict[str, Any] = {"security": schemes, "x-right": declared.right}
    return extra | ({"parameters": parameters} if parameters else {})


@dataclass(slots=True)
class Router:
    """The routes of one feature.

    Attributes:
        name: Short name, unique; begins operation ids together with the tag.
        tag: Heading in the API description.
        about: What the heading covers, one sentence.
        routes: The declared routes, in order.
    """

    name: str
    tag: str
    about: str
    routes: list[Route] = field(default_factory=list)

    def get(self, path: str, *, right: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a reading route; options as for :meth:`add`."""
        return self.add("GET", path, right=right, **options)

    def post(self, path: str, *, right: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a creating or acting route; it takes an ``Idempotency-Key`` unless it is public or says otherwise."""
        options.setdefault("once", "never" if right == PUBLIC else "may")
        return self.add("POST", path, right=right, **options)

    def put(self, path: str, *, right: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a replacing route; options as for :meth:`add`."""
        return self.add("PUT", path, right=right, **options)

    def patch(self, path: str, *, right: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a changing route; options as for :meth:`add`."""
        return self.add("PATCH", path, right=right, **options)

    def delete(self, path: str, *, right: str, **options: Any) -> Callable[[Handler], Handler]:
        """Declare a removing route; options as for :meth:`add`."""
        return self.add("DELETE", path, right=right, **options)

    def add(
        self,
        method: str,
        path: str,
        *,
        right: str,
        status_code: int = 200,
        refusals: Sequence[type[Refusal]] = (),
        once: Once = "never",
        edited: bool = False,
        body_bytes_max: int | None = None,
        limit: Limit = "usual",
        stream: bool = False,
        response_class: type[Response] | DefaultPlaceholder = _JSON,
        responses: Mapping[int | str, dict[str, Any]] | None = None,
        summary: str | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare one route.

        Args:
            method: HTTP method.
            path: Absolute path with ``{parameters}``.
            right: ``noun:verb``, :data:`PUBLIC` or :data:`SIGNED_IN`.
            status_code: Status of the good answer.
            refusals: Refusals of this route beyond the usual ones, for the API description.
            once: Whether an ``Idempotency-Key`` may or must be sent.
            edited: Demand If-Match; the handler takes :data:`bursar.infra.web.Match`.
            body_bytes_max: Largest body in bytes; None for the setting.
            limit: ``log-in`` for routes that check a secret, ``none`` for probes.
            stream: The answer does not end by itself.
            response_class: For answers other than JSON.
            responses: Further OpenAPI responses.
            summary: One line; by default the first line of the docstring.

        Raises:
            TypeError: The right, the docstring or the path is missing or malformed.
        """
        declared = Declared(right, once, edited, body_bytes_max, limit, stream)

        def register(handler: Handler) -> Handler:
            self._check(method, path, declared, handler)
            texts = _refusals(path, method, declared, refusals)
            description = inspect.getdoc(handler) or ""
            route = Route(
                path,
                with_given(handler),
                methods=[method],
                status_code=status_code,
                tags=[self.tag],
                operation_id=f"{self.name}_{handler.__name__}",
                summary=summary or description.splitlines()[0].rstrip("."),
                description=description,
                responses=_answers(texts) | dict(responses or {}),
                openapi_extra=_extra(declared),
                response_class=response_class,
            )
            route.declared = declared
            route.takes_json = _takes_json(route)
            if route.body_field is not None and not route.takes_json and once == "may":
                route.declared = replace(declared, once="never")  # a stream has no fingerprint before it has been read
                route.openapi_extra = _extra(route.declared)
            self.routes.append(route)
            return handler

        return register

    def _check(self, method: str, path: str, declared: Declared, handler: Callable[..., Any]) -> None:
        where = f"{method} {path} ({handler.__module__}.{handler.__name__})"
        if declared.right not in {PUBLIC, SIGNED_IN} and not _RIGHT.fullmatch(declared.right):
            message = f"{where} declares the right {declared.right!r}; write noun:verb, PUBLIC or SIGNED_IN"
            raise TypeError(message)
        if not (handler.__doc__ or "").strip():
            message = f"{where} has no docstring; it is the description of the API"
            raise TypeError(message)
        if not _PATH.fullmatch(path):
            message = f"{where} has a malformed path"
            raise TypeError(message)
        if not inspect.iscoroutinefunction(handler):
            message = f"{where} is not `async def`; a thread per request costs 3.5 times the CPU"
            raise TypeError(message)


def router(name: str, *, tag: str, about: str = "") -> Router:
    """Return an empty router named ``name`` (snake_case, begins its operation ids) under the heading ``tag``.

    Args:
        name: Short and unique.
        tag: Heading in the API description.
        about: What the heading covers, one sentence.

    Raises:
        TypeError: The name is not snake_case.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        message = f"router name {name!r} is not snake_case"
        raise TypeError(message)
    return Router(name, tag, about or f"{tag}.")
