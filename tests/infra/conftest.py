"""An S3 for tests: moto's server on a free port of this machine."""

import socket
from collections.abc import Iterator

import pytest

from bursar.infra.backup_store import S3Store, store_at


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="kept")
    store = store_at("s3://kept/some/prefix", endpoint=s3_endpoint)
    assert isinstance(store, S3Store)
    yield store
    for found in client.list_objects_v2(Bucket="kept").get("Contents", ()):
        assert found["Key"].startswith("some/prefix/")
        client.delete_object(Bucket="kept", Key=found["Key"])
    client.delete_bucket(Bucket="kept")
    client.close()
