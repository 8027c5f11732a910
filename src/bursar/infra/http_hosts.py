"""Allow-lists of the egress client: which hosts a caller may speak to."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from bursar.infra.http_address import Network
from bursar.kernel.errors import Invalid

OWN_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "::1/128")
"""What a self-hoster's private host may resolve to; metadata and link-local addresses stay refused."""


@dataclass(frozen=True, slots=True)
class Host:
    """One entry of an allow-list.

    Attributes:
        name: An exact host name or address, ``*.example.com`` for every name below, or ``*`` for any public host.
        ports: Ports that may be spoken to.
        schemes: ``https`` and, only where the caller says so, ``http``.
        private: Ranges allowed for this host besides public addresses, such as ``10.0.0.0/8``.
    """

    name: str
    ports: frozenset[int] = frozenset({443})
    schemes: frozenset[str] = frozenset({"https"})
    private: tuple[str, ...] = ()

    def covers(self, host: str) -> bool:
        """Tell whether this entry is about ``host``."""
        return self.name in {"*", host} or (self.name.startswith("*.") and host.endswith(self.name[1:]))

    def networks(self) -> tuple[Network, ...]:
        """Return :attr:`private` as networks."""
        return tuple(ip_network(text) for text in self.private)


def hosts_from(entries: Iterable[str]) -> tuple[Host, ...]:
    """Read the setting ``egress_hosts``: hosts of the operator's own network that may be reached although private.

    Args:
        entries: ``host:port``, spoken to by https or http; an IPv6 address in brackets.

    Raises:
        Invalid: An entry has another form.
    """
    found = []
    for entry in entries:
        name, colon, port = entry.strip().lower().rpartition(":")
        if not (colon and name and port.isascii() and port.isdigit() and 0 < int(port) < 65536) or "/" in name:
            raise Invalid(f"{entry[:80]!r} is not host:port", fix="Write for instance erp.internal:8443.")
        found.append(Host(name.strip("[]"), frozenset({int(port)}), frozenset({"https", "http"}), OWN_RANGES))
    return tuple(found)
