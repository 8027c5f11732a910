"""Bank data services that the settings switch on, and the way of what they bring into the importer."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from bursar.connectors import belvo
from bursar.core.intake.jobs import Importer
from bursar.core.intake.service import Batch
from bursar.infra.clock import utc_now
from bursar.infra.crypto import Keyring
from bursar.infra.http import Egress, Host
from bursar.kernel.actor import Actor
from bursar.parts.banking.connections.service import FeedKind, Feeds

PAGE_SIZES = {"sandbox": 10, "production": belvo.PAGE_SIZE}


@asynccontextmanager
async def _belvo(credentials: Mapping[str, str], environment: str) -> AsyncIterator[belvo.Belvo]:
    host = belvo.HOSTS[environment]
    client = Egress().client("belvo", allow=[Host(host)])
    keys = belvo.Credentials(credentials["secret_id"], credentials["secret_password"])
    try:
        yield belvo.Belvo(client, f"https://{host}", keys, page_size=PAGE_SIZES[environment])
    finally:
        await client.close()


KINDS = {
    "belvo": FeedKind(
        ("secret_id", "secret_password"),
        tuple(belvo.HOSTS),
        _belvo,
        lambda body, sent, agreed: belvo.notice(body, authorization=sent, expected=agreed),
    )
}
"""Every service there is, by the name the setting ``bank_feeds`` uses."""


def feeds(importer: Importer, keyring: Keyring, wanted: tuple[str, ...]) -> Feeds:
    """Return the services that are switched on.

    Args:
        importer: What takes their documents.
        keyring: Seals credentials.
        wanted: Names of the setting ``bank_feeds``.
    """

    async def take(actor: Actor, document: bytes, name: str) -> Batch:
        importer.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=importer.scratch) as folder:
            path = Path(folder) / name
            await asyncio.to_thread(path.write_bytes, document)
            [batch] = [one async for one in importer.import_paths(actor, [path], clock=utc_now)]
            return batch

    return Feeds({name: kind for name, kind in KINDS.items() if name in wanted}, keyring, take)
