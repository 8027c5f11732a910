"""FOCUS validation over HTTP: a file in, violations with rule, rows and repair out."""

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import Query, Request

from bursar.infra.web import As, Out, Router, router
from bursar.kernel.errors import Invalid, NotFound
from bursar.parts.cloud.focus_validation import service
from bursar.parts.cloud.focus_validation.rules.report import Outcome, Report


class OutcomeOut(Out):
    """One rule that is broken, or that the file cannot decide; `rows` are the first row numbers, the header is row 1."""

    rule: str
    about: str
    keyword: str
    text: str
    count: int
    rows: list[int]
    example: str
    why: str
    repair: str


class CountsOut(Out):
    """How many rules came to which verdict."""

    passed: int
    failed: int
    not_applicable: int
    undecided: int


class ReportOut(Out):
    """The result of one validation; it conforms when no obligation is broken."""

    version: str
    file: str
    rows: int
    columns: int
    conforms: bool
    decided: int
    rules: CountsOut
    criteria: list[str]
    violations: list[OutcomeOut]
    advice: list[OutcomeOut]
    undecided: list[OutcomeOut]
    notes: list[str]


class VersionsOut(Out):
    """The FOCUS versions whose rules come with the product."""

    data: list[str]


def outcome_out(outcome: Outcome) -> OutcomeOut:
    """Translate the outcome of one rule for the wire."""
    return OutcomeOut(
        rule=outcome.rule.id,
        about=outcome.rule.reference,
        keyword=outcome.rule.keyword,
        text=outcome.rule.text,
        count=outcome.count,
        rows=list(outcome.rows),
        example=outcome.example,
        why=outcome.why,
        repair=outcome.repair,
    )


def report_out(report: Report) -> ReportOut:
    """Translate a report for the wire."""
    counts = report.counts
    return ReportOut(
        version=report.version,
        file=report.file,
        rows=report.rows,
        columns=report.columns,
        conforms=not report.violations,
        decided=report.decided,
        rules=CountsOut(
            passed=counts["passed"],
            failed=counts["failed"],
            not_applicable=counts["not_applicable"],
            undecided=counts["undecided"],
        ),
        criteria=list(report.criteria),
        violations=[outcome_out(outcome) for outcome in report.violations],
        advice=[outcome_out(outcome) for outcome in report.advice],
        undecided=[outcome_out(outcome) for outcome in report.undecided],
        notes=list(report.notes),
    )


def routes(scratch: Path, *, upload_bytes_max: int) -> Router:
    """Return the routes of FOCUS validation.

    Args:
        scratch: Folder for uploads while they are looked at; nothing is kept.
        upload_bytes_max: Largest upload, in bytes.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    r = router("focus", tag="FOCUS", about="Conformance of cost and usage files with the FOCUS specification.")

    @r.get("/v1/cloud/focus/versions", right="cloud:read")
    async def list_focus_versions() -> VersionsOut:
        """List the FOCUS versions whose rules come with the product."""
        return VersionsOut(data=service.bundled_versions())

    @r.post(
        "/v1/cloud/focus/validations",
        right="cloud:read",
        body_bytes_max=upload_bytes_max,
        once="never",
        refusals=[NotFound, Invalid],
    )
    async def validate_focus(
        request: Request,
        actor: As,
        version: Annotated[str, Query(max_length=10, pattern=r"^[0-9.]+$")] = service.BASE_VERSION,
        supports: Annotated[
            list[str] | None,
            Query(
                max_length=40, description="Criteria the provider meets, or ALL; inferred from the columns if absent."
            ),
        ] = None,
        name: Annotated[str, Query(max_length=200, pattern=r"^[^/\x00\\]*$", description="File name.")] = "file",
    ) -> ReportOut:
        """Validate the file in the request body (CSV, gzip, zstandard or Parquet); it is not kept."""
        actor.must("cloud:read")
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            path = Path(folder) / (name if name.strip(". ") else "file")
            with path.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
            return report_out(await asyncio.to_thread(service.validate, path, version=version, supports=supports))

    return r
