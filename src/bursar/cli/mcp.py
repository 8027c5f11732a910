"""``bursar mcp``: answer an assistant over stdin and stdout."""

from typing import TYPE_CHECKING

import click

from bursar.cli import running
from bursar.cli.findings import org_option
from bursar.cli.main import OK

if TYPE_CHECKING:
    from bursar.wiring import House


@click.command()
@click.option("--allow-actions", is_flag=True, help="Also let it act on findings, each action previewed and confirmed.")
@org_option
def mcp(allow_actions: bool, org: str | None) -> int:
    """Let an assistant ask about findings and money over the Model Context Protocol (stdio); read-only by default.

    Needs the extra `bursar[mcp]`. Tell your assistant's client to run `bursar mcp`; it speaks JSON on stdin and stdout.
    """
    from importlib.util import find_spec

    from bursar.kernel.errors import Invalid

    if find_spec("mcp") is None:
        raise Invalid("The package `mcp` is not installed.", "Install the extra: `pip install 'bursar[mcp]'`.")

    async def use(house: "House") -> None:
        from bursar import __version__, wiring
        from bursar.infra.clock import utc_now
        from bursar.reports.mcp.acting import SECRET_USE
        from bursar.reports.mcp.desk import Desk
        from bursar.reports.mcp.server import serve

        actor = await wiring.local_actor(house, org)
        secret = wiring.keyring_of(house.settings).secret(SECRET_USE)
        desk = Desk(house.db, house.lake, actor, utc_now, secret, wiring.tracer(house, actor.org), house.prices)
        running.talk("Answering an MCP client on stdin and stdout; it ends when the client hangs up.")
        await serve(desk, version=__version__, allow_actions=allow_actions)

    running.in_house(use)
    return OK
