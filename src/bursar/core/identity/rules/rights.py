"""Roles and rights: one fixed table. A right is ``noun:verb``; a role is a set of rights; deny by default."""

from collections.abc import Iterable, Mapping, Sequence

from bursar.kernel.errors import Invalid

_VERBS: Mapping[str, str] = {
    "organisation": "read write delete",
    "member": "read write",
    "key": "read write",
    "audit": "read",
    "intake": "read import revert",
    "cost": "read write",
    "cloud": "read refresh",
    "price": "read write",
    "series": "read",
    "forecast": "read write",
    "anomaly": "read act",
    "budget": "read write",
    "model": "read train",
    "ledger": "read write close reopen export",
    "party": "read write merge",
    "bank": "read write",
    "transaction": "read write",
    "rule": "read write",
    "language": "read write use",
    "document": "read write",
    "finding": "read write act",
    "client": "read write",
    "licence": "read write",
    "holding": "read write",
    "meter": "read write invoice",
    "sourcing": "read write quote order",
    "escrow": "read release",
    "report": "read export",
    "source": "read write",
    "webhook": "read write",
    "job": "read write",
    "operations": "read",
    "backup": "read write",
    "settings": "read write",
}

RIGHTS: frozenset[str] = frozenset(f"{noun}:{verb}" for noun, verbs in _VERBS.items() for verb in verbs.split())
"""Every right there is; a route may declare no other."""

FRESH = "step_up:fresh"
"""Held for five minutes after a password or code was given; no role and no key carries it."""


def _of(*wanted: str) -> frozenset[str]:
    """Return the rights named ``noun:verb``, ``noun:*`` or ``*:verb``."""
    found = set()
    for each in wanted:
        noun, _, verb = each.partition(":")
        matching = {
            right for right in RIGHTS if noun in {"*", right.split(":")[0]} and verb in {"*", right.split(":")[1]}
        }
        assert matching, each
        found |= matching
    return frozenset(found)


_HOUSE_KEEPING = _of("key:*", "audit:*", "backup:*", "operations:*", "settings:*", "webhook:*", "job:*")
_MONEY = _of("ledger:*", "bank:*", "transaction:*", "rule:*", "document:*", "budget:*", "party:*") | _of(
    "language:read", "language:use"
)
_READ_MONEY = _of("ledger:read", "bank:read", "transaction:read", "rule:read", "document:read", "budget:read")
_READ_PLANS = _of(
    "cost:read", "cloud:read", "price:read", "series:read", "forecast:read", "anomaly:read", "budget:read", "finding:read",
    "model:read", "report:read", "party:read", "intake:read", "organisation:read", "member:read", "job:read",
)  # fmt: skip
_ACT = _of("finding:act", "anomaly:act", "report:export")
_OUTSIDE = frozenset({"sourcing:read", "sourcing:quote", "organisation:read"})

ROLES: Mapping[str, frozenset[str]] = {
    "owner": RIGHTS,
    "admin": RIGHTS - {"organisation:delete"},
    "finance": _MONEY
    | _READ_PLANS
    | _ACT
    | _of(
        "intake:*",
        "cost:write",
        "forecast:write",
        "source:*",
        "client:read",
        "licence:read",
        "meter:*",
        "sourcing:read",
    )
    | _of("holding:read", "escrow:*"),
    "platform": _READ_PLANS
    | _ACT
    | _of(
        "intake:*",
        "cost:*",
        "price:*",
        "cloud:*",
        "forecast:*",
        "budget:write",
        "model:*",
        "source:*",
        "webhook:*",
        "operations:read",
    ),
    "it": _READ_PLANS | _ACT | _of("licence:*", "intake:*", "budget:write", "source:read", "party:write"),
    "msp": _READ_PLANS | _ACT | _of("client:*", "licence:*", "intake:*", "meter:*", "party:*", "source:read"),
    "buyer": _READ_PLANS | _ACT | _of("sourcing:read", "sourcing:write", "sourcing:order", "party:*", "escrow:*"),
    "supplier": _OUTSIDE,
    "treasurer": _READ_PLANS | _ACT | _READ_MONEY | _of("holding:*", "forecast:write", "intake:import", "escrow:read"),
    "auditor": _of("*:read", "report:export"),
    "viewer": _of("*:read") - _of("key:*", "audit:*", "backup:*", "settings:*", "webhook:*", "operations:*", "bank:*"),
}
"""Rights by role. ``supplier`` is for people of another company: they see nothing but what they are asked to quote."""

OWNER = "owner"
ROLES_MAX = len(ROLES)


def rights_of(roles: Iterable[str]) -> frozenset[str]:
    """Return the union of the rights of ``roles``; an unknown role (of a newer version) has none."""
    return frozenset().union(*(ROLES.get(role, frozenset()) for role in roles))


def check_roles(roles: Sequence[str]) -> tuple[str, ...]:
    """Return ``roles`` sorted, each once.

    Raises:
        Invalid: There is none, or one is unknown.
    """
    unknown = sorted(set(roles) - set(ROLES))
    if unknown or not roles:
        raise Invalid(f"{', '.join(unknown) or 'no role'} is not a role", fix=f"Roles are {', '.join(ROLES)}.")
    return tuple(sorted(set(roles)))


def check_scopes(scopes: Iterable[str], held: frozenset[str]) -> tuple[str, ...]:
    """Return the scopes of a new key sorted, each once.

    Args:
        scopes: Rights asked for.
        held: Rights of who asks; nobody can give what they do not have.

    Raises:
        Invalid: There is none, one is unknown, or one is not held.
    """
    wanted = set(scopes)
    unknown = sorted(wanted - RIGHTS)
    if unknown or not wanted:
        raise Invalid(f"{', '.join(unknown) or 'no scope'} is not a scope", fix="GET /v1/rights lists them.")
    beyond = sorted(wanted - held)
    if beyond:
        raise Invalid(f"you do not hold {', '.join(beyond)}", fix="Ask somebody who holds it to make the key.")
    return tuple(sorted(wanted))


def may_assign(own: Iterable[str], before: Iterable[str], after: Iterable[str]) -> bool:
    """Tell whether somebody with the roles ``own`` may change another's roles from ``before`` to ``after``.

    Only an owner makes or unmakes an owner; everybody else who manages members may give any other role.
    """
    return OWNER in own or not (OWNER in before or OWNER in after)
