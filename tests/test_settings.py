"""Settings: unknown names refused, production strict, secrets from files, never shown."""

from pathlib import Path

import pytest

from bursar import settings
from bursar.settings import BadSettings, Stage

GOOD = {
    "BURSAR_STAGE": "prod",
    "BURSAR_SECRET": "kq8V2xJm0sP4wZr7tYbNcEfGhLdUaQoI3S6",
    "BURSAR_BASE_URL": "https://bursar.example",
    "BURSAR_LOCAL_OWNER": "false",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):  # noqa: TID251
        if name.startswith("BURSAR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def given(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_production_accepts_safe_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, **GOOD)

    assert settings.load().stage is Stage.PROD
    assert not settings.load().grants_local_owner


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BURSAR_SECRET", "short", "BURSAR_SECRET"),
        ("BURSAR_SECRET", "changeme-changeme-changeme-changeme-x", "BURSAR_SECRET"),
        ("BURSAR_BASE_URL", "http://bursar.example", "https"),
        ("BURSAR_LOCAL_OWNER", "true", "LOCAL_OWNER"),
        ("BURSAR_DEBUG", "true", "DEBUG"),
        ("BURSAR_CORS_ORIGINS", '["*"]', "CORS"),
    ],
)
def test_production_refuses_what_is_unsafe(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    given(monkeypatch, **(GOOD | {name: value}))

    with pytest.raises(BadSettings, match=said):
        settings.load()


def test_an_unknown_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, BURSAR_PROT="80")

    with pytest.raises(BadSettings, match="BURSAR_PROT"):
        settings.load()


def test_every_fault_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, BURSAR_PROT="80", BURSAR_PORT="high", BURSAR_POOL_SIZE="0")

    with pytest.raises(BadSettings) as refused:
        settings.load()

    assert len(refused.value.lines) == 3


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ({"BURSAR_PRICE_REGIONS": '["gcp:europe-west1"]'}, "BURSAR_GCP_KEY must be set"),
        ({"BURSAR_PRICE_REGIONS": '["eu-central-1"]'}, "are written as"),
        ({"BURSAR_AWS_PRICE_SERVICES": '["AmazonRDS"]', "BURSAR_AWS_PRICE_KEY": "AKID:secret"}, "needs"),
        ({"BURSAR_AWS_PRICE_SERVICES": '["AmazonRDS"]', "BURSAR_PRICE_REGIONS": '["aws:eu-central-1"]'}, "needs"),
        ({"BURSAR_AWS_PRICE_KEY": "AKID"}, "ID:SECRET"),
    ],
)
def test_a_price_catalogue_that_lacks_its_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], what: str
) -> None:
    given(monkeypatch, **names)

    with pytest.raises(BadSettings, match=what):
        settings.load()


@pytest.mark.parametrize(
    ("text", "read"),
    [("prophet,lstm", ("prophet", "lstm")), (" prophet , ", ("prophet",)), ('["a,b", "c"]', ("a,b", "c")), ("", ())],
)
def test_a_list_is_written_with_commas_or_as_json(
    monkeypatch: pytest.MonkeyPatch, text: str, read: tuple[str, ...]
) -> None:
    given(monkeypatch, BURSAR_FORECASTERS=text)

    assert settings.load().forecasters == read


def test_a_list_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, BURSAR_FORECASTERS='["prophet"')

    with pytest.raises(BadSettings, match="a list is written as one,two"):
        settings.load()


def test_a_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n", encoding="utf-8")
    given(monkeypatch, BURSAR_SECRET_FILE=str(tmp_path / "secret"))

    made = settings.load()

    assert made.secret is not None
    assert made.secret.get_secret_value() == "from a file"
    assert "from a file" not in repr(made)


def test_a_missing_secret_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(monkeypatch, BURSAR_SECRET_FILE=str(tmp_path / "none"))

    with pytest.raises(BadSettings, match="BURSAR_SECRET_FILE"):
        settings.load()


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)]
)
def test_the_local_owner_exists_on_loopback_only(host: str, loopback: bool) -> None:
    made = settings.load(host=host)

    assert made.grants_local_owner is loopback


def test_the_url_is_made_from_host_and_port_unless_given() -> None:
    assert settings.load(port=99).url == "http://127.0.0.1:99"
    assert settings.load(base_url="https://b.example/").url == "https://b.example"
    assert not settings.load(database_url="postgresql://x/y").embedded
