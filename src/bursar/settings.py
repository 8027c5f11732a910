"""Every setting of Bursar, in one frozen class; the only reader of the environment.

Values come, strongest first, from arguments, ``BURSAR_*`` environment variables, ``NAME_FILE`` secrets and ``.env`` in the
working directory. An unknown ``BURSAR_*`` variable is refused: a misspelt setting must not be silently ignored.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, cast, get_origin

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bursar.kernel.errors import Refusal

PREFIX = "BURSAR_"
SECRET_BYTES_MIN = 32
"""Shortest master secret accepted in production, in bytes of UTF-8 text."""

_PRICE_REGION = re.compile(r"(aws|azure|gcp):[a-z0-9-]+")
_WEAK = ("secret", "password", "changeme", "example", "bursar", "test", "12345", "default")


class Stage(StrEnum):
    """How strict Bursar is about its own configuration."""

    DEV = "dev"
    TEST = "test"
    PROD = "prod"


class BadSettings(Refusal):
    """The settings are not usable."""

    def __init__(self, lines: Sequence[str]) -> None:
        """Keep one line per fault."""
        super().__init__()
        self.lines = tuple(lines)

    def __str__(self) -> str:
        """Return all faults at once, one per line."""
        return "The settings are not usable:\n" + "\n".join(f"  {line}" for line in self.lines)


class Settings(BaseSettings):
    """All settings; see ``docs/settings.md``, which is generated from here."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        frozen=True,
        extra="forbid",
        enable_decoding=False,
    )

    stage: Stage = Field(Stage.DEV, description="`dev`, `test` or `prod`; `prod` refuses unsafe settings.")
    home: Path = Field(
        default_factory=lambda: Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "bursar",
        description="Folder of everything Bursar keeps: database, files, lake, models.",
    )
    database_url: SecretStr | None = Field(
        None, description="`postgresql://…` of an own server; replaces the embedded PostgreSQL."
    )
    pg_bin: Path | None = Field(
        None, description="Folder with `postgres` and `initdb` (15 or later); default: those of the bundled wheel."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8417, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    base_url: str = Field("", description="Public URL, for links in mails; default: http://HOST:PORT.")
    debug: bool = Field(False, description="Verbose logs; refused in `prod`.")
    local_owner: bool = Field(
        True,
        description="One local owner without sign-in; only on loopback with the embedded database, never in `prod`.",
    )
    secret: SecretStr | None = Field(
        None,
        description="Master secret (32 bytes or more) that seals credentials; made in the home when absent in `dev`.",
    )
    hosts: tuple[str, ...] = Field((), description="Further host names this server is reached under; `*` for any.")
    cors_origins: tuple[str, ...] = Field((), description="Origins that may call the API from a browser.")
    trusted_proxy_hops: int = Field(
        0, ge=0, le=8, description="Reverse proxies in front whose X-Forwarded-For is believed."
    )
    upload_bytes_max: int = Field(2 * 1024**3, gt=0, description="Largest upload, in bytes.")
    body_bytes_max: int = Field(1024**2, gt=0, description="Largest request body other than an upload, in bytes.")
    anonymous_per_minute: int = Field(100, gt=0, description="Requests per minute and address when not signed in.")
    key_per_minute: int = Field(600, gt=0, description="Requests per minute for each key or person.")
    login_per_minute: int = Field(20, gt=0, description="Attempts to sign in per minute and address.")
    drain_seconds: int = Field(
        0,
        ge=0,
        le=300,
        description="How long to answer on, not ready any more, when asked to stop; 10 behind a balancer.",
    )
    pool_size: int = Field(8, gt=0, le=200, description="Database connections of one process.")
    worker_inside: bool = Field(True, description="Run the job worker inside `bursar up`.")
    smtp_url: SecretStr | None = Field(
        None, description="`smtp://user:password@host:587?tls=starttls`; without it mails stay in the outbox."
    )
    mail_from: str = Field("Bursar <bursar@localhost>", description="Sender of mails.")
    alert_urls: tuple[SecretStr, ...] = Field((), description="Apprise URLs that receive operational alerts.")
    s3_bucket: str = Field("", description="Bucket for documents instead of the home folder (extra `s3`).")
    lake_bucket: str = Field(
        "", description="Bucket for the lake instead of the home folder, which then keeps copies of what is used."
    )
    lake_cache_mb: int = Field(
        20_480,
        ge=64,
        description="Copies of the lake's objects are let go of beyond this, longest unused first, in MiB.",
    )
    s3_endpoint: str = Field("", description="S3 endpoint other than AWS's own.")
    s3_region: str = Field("us-east-1", description="S3 region.")
    import_prefixes: tuple[str, ...] = Field(
        (),
        description="Prefixes such as `s3://bills/{org}` that may be imported over HTTP; `{org}` is the organisation's id.",
    )
    engine: str = Field(
        "duckdb", description="`duckdb`, or `sc://host:port` of a Spark Connect server (extra `spark`)."
    )
    forecasters: tuple[str, ...] = Field(
        (),
        description="Forecasters of optional packages that compete with the house's own: `prophet` (extra `prophet`), `lstm`"
        " (`deep`), `AutoARIMA`, `AutoETS`, `AutoCES`, `AutoTheta` (`statsforecast`).",
    )
    lake_memory_mb: int = Field(512, ge=64, description="Memory DuckDB may use for one query, in MiB.")
    price_regions: tuple[str, ...] = Field(
        (),
        description="Price catalogues read each night, as `aws:eu-central-1`, `azure:westeurope`, `gcp:europe-west1`.",
    )
    gcp_key: SecretStr | None = Field(None, description="API key for Google's price catalogue.")
    aws_price_key: SecretStr | None = Field(
        None, description="Access key `ID:SECRET` with the right `pricing:GetProducts`, for AWS's price query API."
    )
    aws_price_services: tuple[str, ...] = Field(
        (), description="Further AWS services whose prices are asked of the query API, such as `AmazonRDS`."
    )
    bank_feeds: tuple[str, ...] = Field(
        (), description="Bank data services that may be called: `belvo`; without it no bank service is."
    )
    egress_hosts: tuple[str, ...] = Field(
        (), description="Extra hosts outgoing calls may reach although private, as `host:port`."
    )
    anthropic_key: SecretStr | None = Field(None, description="Key for the optional language model; nothing needs it.")
    anthropic_url: str = Field(
        "https://api.anthropic.com", description="Where the language model is asked; or a gateway."
    )
    llm_monthly_cap: str = Field(
        "0.00 USD", description="Most a month may cost in language-model calls, all organisations together."
    )
    llm_models: tuple[str, ...] = Field(
        ("claude-haiku-5-5=0.10/0.50", "claude-sonnet-5-5=2.00/10.00"),
        description="The cheap model and the dear one, each `NAME=READ/WRITTEN` with its list prices in USD per million tokens.",
    )
    backup_target: str = Field("", description="Folder or `s3://bucket/prefix` for `bursar backup`.")
    backup_passphrase: SecretStr | None = Field(None, description="Encrypts backups when set.")
    backup_keep: int = Field(14, ge=1, description="Backups kept at the target.")
    otel_endpoint: str = Field(
        "", description="OTLP/HTTP endpoint for traces (extra `otel`); nothing is sent without it."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, ``.env``."""
        del settings_cls, file_secret_settings
        return init_settings, env_settings, dotenv_settings

    @property
    def embedded(self) -> bool:
        """Whether the bundled PostgreSQL is used."""
        return self.database_url is None

    @property
    def url(self) -> str:
        """The public base URL without a trailing slash."""
        return (self.base_url or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def loopback(self) -> bool:
        """Whether the listening address is a loopback address."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def grants_local_owner(self) -> bool:
        """Whether a request without sign-in acts as the local owner."""
        return self.local_owner and self.loopback and self.embedded and self.stage is not Stage.PROD

    @field_validator("*", mode="before")
    @classmethod
    def _lists_are_read(cls, value: Any, info: ValidationInfo) -> Any:
        """Read a list from text: names between commas, or JSON where a name holds a comma itself."""
        field = cls.model_fields[str(info.field_name)]
        if not isinstance(value, str) or get_origin(field.annotation) is not tuple:
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValueError('a list is written as one,two or as ["one", "two"]') from error
        return [one.strip() for one in value.split(",") if one.strip()]

    @model_validator(mode="after")
    def _prices_can_be_asked_for(self) -> Self:
        """Refuse price catalogues that lack what they need, all faults at once."""
        faults = list(_price_faults(self))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _safe_in_prod(self) -> Self:
        """Refuse what is unsafe in production, all faults at once."""
        faults = list(production_faults(self)) if self.stage is Stage.PROD else []
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _price_faults(settings: Settings) -> Iterable[str]:
    providers = {region.partition(":")[0] for region in settings.price_regions}
    if not all(_PRICE_REGION.fullmatch(region) for region in settings.price_regions):
        yield "BURSAR_PRICE_REGIONS are written as aws:eu-central-1, azure:westeurope or gcp:europe-west1"
    if "gcp" in providers and settings.gcp_key is None:
        yield "BURSAR_PRICE_REGIONS names gcp, so BURSAR_GCP_KEY must be set"
    if settings.aws_price_services and (settings.aws_price_key is None or "aws" not in providers):
        yield "BURSAR_AWS_PRICE_SERVICES needs BURSAR_AWS_PRICE_KEY and an aws region in BURSAR_PRICE_REGIONS"
    if settings.aws_price_key and not all(settings.aws_price_key.get_secret_value().partition(":")):
        yield "BURSAR_AWS_PRICE_KEY is written ID:SECRET"


def production_faults(settings: Settings) -> Iterable[str]:
    """Yield what makes ``settings`` unsafe in production, each with its fix."""
    secret = settings.secret.get_secret_value() if settings.secret else ""
    if len(secret.encode()) < SECRET_BYTES_MIN or any(weak in secret.lower() for weak in _WEAK):
        yield f"BURSAR_SECRET must be random and at least {SECRET_BYTES_MIN} bytes: `bursar config secret` prints one"
    if settings.debug:
        yield "BURSAR_DEBUG must be off"
    if "*" in settings.cors_origins:
        yield "BURSAR_CORS_ORIGINS must name origins, not `*`"
    if not settings.base_url.startswith("https://"):
        yield "BURSAR_BASE_URL must start with https://"
    if settings.local_owner:
        yield "BURSAR_LOCAL_OWNER must be false: sign in instead"


def _unknown(environment: Iterable[str]) -> list[str]:
    known = {(PREFIX + name).upper() for name in Settings.model_fields}
    stray = [name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known]
    return [f"{name} is not a setting; see docs/settings.md" for name in sorted(stray)]


def _with_secret_files() -> dict[str, str]:
    """Return settings given as ``BURSAR_NAME_FILE`` (the way Docker and systemd hand over secrets)."""
    found = {}
    for name in Settings.model_fields:
        path = os.environ.pop(f"{PREFIX}{name.upper()}_FILE", None)
        if path:
            try:
                found[name] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise BadSettings([f"{PREFIX}{name.upper()}_FILE: {error.strerror}: {path}"]) from error
    return found


def load(**overrides: object) -> Settings:
    """Read the settings.

    Args:
        overrides: Values that win over environment and ``.env``, by field name (from command-line options).

    Raises:
        BadSettings: Naming every fault at once.
    """
    given = _with_secret_files() | {name: value for name, value in overrides.items() if value is not None}
    stray = _unknown(os.environ)
    try:
        settings = cast("Callable[..., Settings]", Settings)(**given)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(at) for at in fault['loc']) or 'settings'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise BadSettings(stray + lines) from error
    if stray:
        raise BadSettings(stray)
    return settings


def reference() -> str:
    """Return ``docs/settings.md``: every setting with its environment variable, default and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name == "home":
            default = "`~/.local/share/bursar`"
        elif field.default in (None, "", ()):
            default = "none"
        else:
            default = f"`{field.default.value if isinstance(field.default, StrEnum) else field.default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    head = (
        "# Settings\n\nGenerated from `src/bursar/settings.py` by `bursar config reference`; do not edit.\n\n"
        "Set them in the environment or in `.env`. A secret may come from a file: append `_FILE` to its name.\n"
        "A list is written with commas (`prophet,lstm`), or as JSON where an entry holds a comma itself.\n"
        "An unknown `BURSAR_*` variable is refused.\n\n| variable | default | meaning |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"
