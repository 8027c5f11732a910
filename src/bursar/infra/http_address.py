"""Which addresses the product may connect to: decided on the resolved address itself, by our own list.

``ipaddress.is_global`` calls NAT64, IPv4-compatible, site-local, multicast and some metadata addresses global, so it is
not used. IPv6 is allowed only inside 2000::/3 minus its special blocks. An IPv4 address inside an IPv4-mapped or
well-known NAT64 address is unwrapped and judged itself; every other tunnel form is refused.

Source: IANA IPv4 and IPv6 special-purpose address registries; cloud vendors' metadata addresses.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


_SPECIAL_4 = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
"""Not public: this network, private, shared, loopback, link-local, documentation, benchmarks, anycast relays, reserved."""

_PUBLIC_6 = IPv6Network("2000::/3")
_SPECIAL_6 = _networks("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
"""Inside 2000::/3 but not public: Teredo and protocol assignments, documentation, 6to4, AS112."""

_NAT64 = IPv6Network("64:ff9b::/96")

_NEVER = _networks(
    "0.0.0.0/8",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.192/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "fd00:ec2::/32",
    "fd20:ce::/32",
    "fe80::/10",
    "ff00::/8",
)
"""Refused even when a private range that holds them is allowed: cloud metadata, link-local, multicast, broadcast."""


def unwrap(address: Address) -> Address:
    """Return the IPv4 address inside an IPv4-mapped or well-known NAT64 address; any other address as it is."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def is_public(address: Address) -> bool:
    """Tell whether ``address`` (unwrapped) is an ordinary public unicast address."""
    if isinstance(address, IPv4Address):
        return not _within(address, _SPECIAL_4)
    return address in _PUBLIC_6 and not _within(address, _SPECIAL_6)


def may_connect(text: str, *, private: Sequence[Network] = ()) -> bool:
    """Tell whether a connection to a resolved address is allowed.

    Args:
        text: An address as ``getaddrinfo`` returns it; a zone (``%eth0``) is refused.
        private: Ranges a self-hoster allowed for this very host, such as 10.0.0.0/8 or 127.0.0.0/8.

    Returns:
        True for a public address, and for one in ``private`` that is not a metadata, link-local or multicast address.
    """
    try:
        address = unwrap(ip_address(text))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    if _within(address, _NEVER):
        return False
    return is_public(address) or _within(address, private)
