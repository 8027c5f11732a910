"""Structured logs: one JSON object a line on standard error, secrets removed.

Every line of a request carries its id, actor and organisation. Names that mean a secret are replaced wholly; known forms
of secrets (API keys, tokens, passwords in addresses, private keys) are replaced wherever they stand in a text.
"""

import logging
import re
import sys
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
import structlog

HIDDEN = "[hidden]"
"""What stands in the place of a secret."""

DEPTH_MAX = 6
"""Deepest nesting of a log value; what lies deeper is hidden."""

TEXT_MAX_CHARS = 8_000
"""Longest text of a log value."""

_NAME = re.compile(
    r"pass(word|wd|phrase)|secret|token|authori[sz]ation|cookie|api_?key|credential|private_?key|recovery|otp|"
    r"session_?(id|key)|signature|webhook_?key|dsn|smtp_url",
    re.IGNORECASE,
)
"""Names whose values are hidden."""

_FORM = re.compile(
    r"bsr_(live|test)_[A-Za-z0-9_]+"  # our API keys
    r"|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # JSON web tokens
    r"|(?<=[Bb]earer )[^\s\"',]+"
    r"|(?<=[Bb]asic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=://)[^/\s:@\"']*:[^/\s@\"']+(?=@)"  # user:password@ in addresses
    r"|\b(whsec|whsk|sk_live|sk_test|rk_live|xox[abps]|ghp|gho|sk-ant)[_-][A-Za-z0-9_+/=-]{8,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=__Host-bursar=)[^\s;\"']+"
    r"|(?<=password=)[^\s&;\"']+",
    re.DOTALL,
)
"""Forms that are hidden inside any text."""

request_facts: ContextVar[Mapping[str, str] | None] = ContextVar("request_facts", default=None)
"""Facts of the running request or job that every line carries."""


def redact(value: Any, depth: int = 0) -> Any:  # noqa: PLR0911  one line a type
    """Return ``value`` with secrets replaced by :data:`HIDDEN`; nested mappings and lists are followed."""
    if isinstance(value, str):
        return _FORM.sub(HIDDEN, value[:TEXT_MAX_CHARS])
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= DEPTH_MAX:
        return HIDDEN
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _NAME.search(str(key)) and each is not None else redact(each, depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Sequence | set | frozenset):
        return [redact(each, depth + 1) for each in value]
    return redact(str(value), depth + 1)


def _with_request(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in (request_facts.get() or {}).items():
        event.setdefault(key, value)
    return event


def _redacted(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    cleaned: dict[str, Any] = redact(event)
    return cleaned


def _line(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str).decode()


_SHARED: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    _with_request,
    structlog.processors.format_exc_info,
]


class Foreign(logging.Handler):
    """Sends records of the standard library's loggers (uvicorn, procrastinate …) the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        extra = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger(record.name).log(max(record.levelno, logging.DEBUG), text, logger=record.name, **extra)


class _Output:
    """Where lines go (None for standard error), and from which level on."""

    stream: TextIO | None = None
    level: int = logging.INFO


_output = _Output()


def _install(number: int, stream: TextIO | None) -> None:
    structlog.configure(
        processors=[*_SHARED, _redacted, _line],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream) if stream else _ToStandardError,
        cache_logger_on_first_use=False,
    )


class _ToStandardError:
    """Writes to whatever standard error is at the time."""

    def __init__(self, *_: Any) -> None:
        """Take and ignore the logger's name."""

    def msg(self, message: str) -> None:
        """Write one line."""
        sys.stderr.write(message + "\n")
        sys.stderr.flush()

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def configure(*, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logs as JSON lines to ``stream`` (standard error by default) from ``level`` on.

    Safe to call again; the last call wins.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    _output.stream, _output.level = stream, number
    _install(number, stream)
    root = logging.getLogger()
    root.handlers[:] = [Foreign()]
    root.setLevel(max(number, logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "procrastinate", "sqlalchemy", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = name != "uvicorn.access"
    for name in ("procrastinate", "uvicorn.error"):  # what they tell at INFO we say ourselves
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def fast_line(event: str, facts: Mapping[str, Any]) -> None:
    """Write one line at level ``info`` without the processors: for the one line of every request.

    Args:
        event: What happened.
        facts: Values that cannot hold a secret (templates, numbers, ids of ours); nothing is redacted here.
    """
    if _output.level > logging.INFO:
        return
    at = datetime.fromtimestamp(time.time(), UTC)
    line = orjson.dumps({"event": event, "level": "info", "at": at, **facts}, option=orjson.OPT_UTC_Z)
    stream = _output.stream or sys.stderr
    stream.write(line.decode() + "\n")
    stream.flush()


def logger(name: str) -> Any:
    """Return the structured logger ``name``: ``logger("intake").info("import finished", rows=10)``.

    Before :func:`configure` lines go to standard error in the same form; structlog's own default would show the locals of
    a traceback, and secrets with them.
    """
    if not structlog.is_configured():
        _install(logging.INFO, None)
    return structlog.get_logger(name).bind(logger=name)
