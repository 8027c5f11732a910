"""No network in tests but the loopback: any other connection attempt fails the test that makes it."""

import ipaddress
import sys
from typing import Any


class NetworkInTest(BaseException):
    """A test tried to reach a machine other than this one."""


def _local(host: object) -> bool:
    if not isinstance(host, str):
        return True
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host.split("%", 1)[0]).is_loopback
    except ValueError:
        return host.endswith(".localhost")


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event != "socket.connect":
        return
    address = args[1]
    if isinstance(address, tuple) and not _local(address[0]):
        raise NetworkInTest(f"a test must not connect to {address[0]}")


def install() -> None:
    """Watch every connection of this process from now on (an audit hook cannot be taken away again)."""
    sys.addaudithook(_watch)
