"""The file store in an S3 bucket; boto3 (the extra ``s3``) is imported here and nowhere else at run time.

Credentials come from where boto3 looks for them. The endpoint is the operator's own choice, so it does not pass the
egress client, which guards addresses that users can set.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from bursar.infra.files import FILE_BYTES_MAX, Source, Stored, _checked, _draft, _fill, _verify
from bursar.kernel.errors import NotFound, Unavailable

PREFIX = "files/"
_GONE = frozenset({"404", "NoSuchKey", "NotFound"})
_DELETE_MAX = 1000


class S3Files:
    """Files in a bucket: ``files/<org>/<digest>``; S3 itself makes an object appear whole or not at all.

    Args:
        bucket: An existing bucket.
        endpoint: Of an S3 other than AWS's own.
        region: Of the bucket.
        scratch: Local folder for files on their way.
    """

    def __init__(self, bucket: str, *, endpoint: str = "", region: str = "us-east-1", scratch: Path) -> None:
        import boto3
        from botocore.config import Config

        self.bucket, self._scratch = bucket, scratch
        config = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "max_attempts": 4})
        self._s3: Any = boto3.client("s3", endpoint_url=endpoint or None, region_name=region, config=config)

    @staticmethod
    def _key(org: UUID, digest: str) -> str:
        return f"{PREFIX}{org}/{_checked(digest)}"

    async def _call(self, name: str, **facts: object) -> Any:
        """Call S3 in a thread; None when the object is not there."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.to_thread(getattr(self._s3, name), Bucket=self.bucket, **facts)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _GONE:
                return None
            raise Unavailable(f"S3 ({code})") from error
        except (BotoCoreError, Boto3Error) as error:
            raise Unavailable(f"S3 ({type(error).__name__})") from error

    async def put(self, org: UUID, source: Source, *, bytes_max: int = FILE_BYTES_MAX) -> Stored:
        """Store a local file or a stream; see :meth:`bursar.infra.files.FileStore.put`."""
        with _draft(self._scratch, bytes_max) as draft:
            digest = await _fill(draft, source)
            key = self._key(org, digest)
            found = await self._call("head_object", Key=key)
            if found and found["ContentLength"] == draft.size:
                return Stored(digest, draft.size, new=False)
            await self._call("upload_file", Filename=str(draft.path), Key=key)
        return Stored(digest, draft.size, new=True)

    @asynccontextmanager
    async def local(self, org: UUID, digest: str, *, verify: bool = False) -> AsyncIterator[Path]:
        """Give a copy that is deleted afterwards; see :meth:`bursar.infra.files.FileStore.local`."""
        if not await self.has(org, digest):
            raise NotFound("file", digest)
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=self._scratch) as name:
            path = Path(name, "file")
            await self._call("download_file", Key=self._key(org, digest), Filename=str(path))
            if verify:
                await asyncio.to_thread(_verify, path, digest)
            yield path

    async def has(self, org: UUID, digest: str) -> bool:
        """Tell whether the file is stored."""
        return await self._call("head_object", Key=self._key(org, digest)) is not None

    async def remove(self, org: UUID, digest: str) -> None:
        """Delete a file."""
        await self._call("delete_object", Key=self._key(org, digest))

    async def remove_all(self, org: UUID) -> None:
        """Delete every file of an organisation."""
        keys = [f"{PREFIX}{org}/{digest}" async for _, digest, _ in self._listing(f"{PREFIX}{org}/")]
        for at in range(0, len(keys), _DELETE_MAX):
            batch = [{"Key": key} for key in keys[at : at + _DELETE_MAX]]
            await self._call("delete_objects", Delete={"Objects": batch, "Quiet": True})

    def listing(self) -> AsyncIterator[tuple[UUID, str, int]]:
        """Yield organisation, digest and size of every file."""
        return self._listing(PREFIX)

    async def _listing(self, prefix: str) -> AsyncIterator[tuple[UUID, str, int]]:
        after: dict[str, str] = {}
        while page := await self._call("list_objects_v2", Prefix=prefix, **after):
            for entry in page.get("Contents", ()):
                org, digest = entry["Key"].removeprefix(PREFIX).split("/")
                yield UUID(org), digest, entry["Size"]
            if not page["IsTruncated"]:
                return
            after = {"ContinuationToken": page["NextContinuationToken"]}
