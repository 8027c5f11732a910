"""Mentions: how a counterparty is written in one row, and what of it decides."""

from collections.abc import Iterable
from dataclasses import dataclass

from bursar.core.parties.rules import identifiers, names

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Mention:
    """How a counterparty is written in one row: a name, and (scheme, value) identifiers; see ``rules.identifiers``.

    ``told`` are identifiers that stand in free text: they may be somebody else's, so they join counterparties only where
    the names are alike too.
    """

    name: str = ""
    identifiers: Facts = ()
    told: Facts = ()


@dataclass(frozen=True, slots=True)
class Read:
    """A mention as it is compared: its name's key, identifiers that decide, and those that are evidence beside the name."""

    key: str
    usable: Facts = ()
    hints: Facts = ()

    @classmethod
    def of(cls, mention: Mention) -> "Read":
        """Read a mention; a domain of the text decides where the name begins like it, an account of a collector never."""
        key = names.key_of(mention.name)
        if identifiers.collects(key):
            return cls(key)
        stated, told = _usable(mention.identifiers), _usable(mention.told)
        decide = {pair for pair in stated if pair[0] not in identifiers.EVIDENCE}
        decide |= {pair for pair in told if pair[0] == "domain" and identifiers.named_by(key, pair[1])}
        hints = {pair for pair in (*stated, *told) if pair[0] != "domain"} - decide
        return cls(key, _usable(decide), _usable(hints))

    @property
    def pairs(self) -> Facts:
        """Return all identifiers."""
        return (*self.usable, *self.hints)


def _usable(facts: Iterable[tuple[str, str]]) -> Facts:
    order = {scheme: place for place, scheme in enumerate(identifiers.SCHEMES)}
    normal = {(scheme, identifiers.normal(scheme, value)) for scheme, value in facts if scheme in order}
    return tuple(sorted((pair for pair in normal if pair[1]), key=lambda pair: (order[pair[0]], pair[1])))
