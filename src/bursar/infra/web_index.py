"""Finding the route of a request: a tree of path segments, built once; nothing else is reachable."""

from collections.abc import Iterable
from typing import Any

from bursar.infra.web_problems import MethodNotAllowed, NoSuchRoute
from bursar.infra.web_routes import Route


class _Node:
    __slots__ = ("fixed", "routes", "variable")

    def __init__(self) -> None:
        self.fixed: dict[str, _Node] = {}
        self.variable: _Node | None = None
        self.routes: dict[str, tuple[Route, tuple[str, ...]]] = {}


def _names(path: str) -> tuple[str, ...]:
    return tuple(part[1:-1] for part in path.split("/") if part.startswith("{"))


class Index:
    """All routes of the application by path and method.

    A literal segment wins over a parameter. A parameter is one whole segment (``{id}``) and never empty.

    Raises:
        TypeError: Two routes share method and path, two share an operation id, or a parameter is part of a segment.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._exact: dict[str, _Node] = {}
        seen: dict[str, Route] = {}
        for route in routes:
            self._insert(route)
            name = route.unique_id
            if name in seen:
                message = f"{route.path} and {seen[name].path} share the operation id {name}"
                raise TypeError(message)
            seen[name] = route

    def _insert(self, route: Route) -> None:
        node = self._root
        for part in route.path.split("/")[1:]:
            if "{" in part:
                if not (part.startswith("{") and part.endswith("}")) or ":" in part:
                    message = f"{route.path}: a parameter is a whole segment"
                    raise TypeError(message)
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.fixed.setdefault(part, _Node())
        for method in route.methods or ():
            if method in node.routes:
                message = f"{method} {route.path} is declared twice"
                raise TypeError(message)
            node.routes[method] = (route, _names(route.path))
        if "{" not in route.path:
            self._exact[route.path] = node

    def _walk(self, node: _Node, parts: list[str], at: int, values: list[str]) -> _Node | None:
        if at == len(parts):
            return node if node.routes else None
        part = parts[at]
        fixed = node.fixed.get(part)
        if fixed is not None and (found := self._walk(fixed, parts, at + 1, values)) is not None:
            return found
        if node.variable is None or not part:
            return None
        values.append(part)
        found = self._walk(node.variable, parts, at + 1, values)
        if found is None:
            values.pop()
        return found

    def find(self, method: str, path: str) -> tuple[Route, dict[str, Any]]:
        """Return the route of a request and its path parameters.

        Raises:
            NoSuchRoute: No route has this path.
            MethodNotAllowed: The path exists, but not with this method.
        """
        values: list[str] = []
        node = self._exact.get(path) or self._walk(self._root, path.split("/")[1:], 0, values)
        if node is None:
            raise NoSuchRoute(path[:200])
        found = node.routes.get("GET" if method == "HEAD" else method)
        if found is None:
            allowed = sorted(set(node.routes) | ({"HEAD"} if "GET" in node.routes else set()))
            raise MethodNotAllowed(method[:20], ", ".join(allowed))
        route, names = found
        return route, dict(zip(names, values, strict=True)) if names else {}
