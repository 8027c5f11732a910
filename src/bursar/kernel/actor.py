"""Who asks, in which one organisation, with which rights."""

from dataclasses import dataclass, field
from uuid import UUID

from bursar.kernel.errors import NotAllowed


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated caller inside exactly one organisation.

    Attributes:
        org: The organisation that every read and write is confined to.
        name: For the audit trail: ``person:<id>``, ``key:<id8>``, ``job:<name>`` or ``system:<what>``.
        rights: Rights as ``noun:verb``; decided at the edge from roles and scopes.
        person: The person behind it, if there is one.
        request_id: The request or job run that caused it.
    """

    org: UUID
    name: str
    rights: frozenset[str] = field(default_factory=frozenset)
    person: UUID | None = None
    request_id: str = ""

    def may(self, right: str) -> bool:
        """Tell whether the actor holds ``right``."""
        return right in self.rights

    def must(self, right: str) -> None:
        """Refuse with :class:`NotAllowed` unless the actor holds ``right``."""
        if right not in self.rights:
            raise NotAllowed(right)
