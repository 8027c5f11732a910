"""``bursar review``: the main job, one screen."""

import csv
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bursar.cli import running
from bursar.cli.findings import printable
from bursar.cli.main import FAILED, OK, REFUSED_INPUT, THRESHOLD
from bursar.kernel.money import plainly

if TYPE_CHECKING:
    from uuid import UUID

    from bursar.core.findings.service import Kept
    from bursar.core.intake.service import Batch
    from bursar.reports.review import Review
    from bursar.wiring import House

FILES_SHOWN = 12
"""Lines about files on the first screen; the rest is summed up."""

REASONS_SHOWN = 3
"""Reasons why files were not read; the rest is counted."""

KINDS_SHOWN = 4
"""Suffixes of files that were not read for one reason."""

TITLE_CHARS = 52
"""Room for the title of a finding."""

UNSURE_SHOWN = 3
"""Findings that are less sure and still on the first screen."""


@click.command()
@running.places_argument
@click.option("--org", default=None, help="Id of an organisation, where there are several.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the findings as CSV.")
@click.option("--html", type=click.Path(path_type=Path), default=None, help="Also write a self-contained report here.")
@click.option("--fail-over", type=str, default=None, help="Exit 3 when more money than this is worth acting on.")
@click.option("--currency", default=None, help="Show totals of this currency first.")
def review(
    places: tuple[str, ...],
    org: str | None,
    as_json: bool,
    as_csv: bool,
    html: Path | None,
    fail_over: str | None,
    currency: str | None,
) -> int:
    """Read bills and statements in PATH (files, folders, s3://bucket/prefix); print what is worth doing.

    Nothing leaves this machine. What is read is kept in the home folder, so the next review is faster; the same file
    twice adds nothing. `bursar revert` takes an import back.
    """
    from bursar import wiring
    from bursar.kernel.money import decimal_from

    try:
        limit = decimal_from(fail_over) if fail_over else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fail-over") from error
    progress = _Progress(quiet=not running.interactive())

    async def use(house: "House") -> "Review":
        return await wiring.review(house, places, org=org, on_batch=progress)

    made = running.in_house(use)
    progress.clear()
    if html:
        report = wiring.report(made, sample=running.chosen.sample)
        html.write_text(report, encoding="utf-8")
        running.talk(f"The report is in {html}")
    if as_json:
        running.print_json(as_dict(made))
    elif as_csv:
        print_csv(made.findings)
    else:
        click.echo("\n".join(screen(made, currency=currency)))
    if limit is not None and any(money.amount > limit for money in made.worth.values()):
        running.talk(f"More than {fail_over} is worth acting on.")
        return THRESHOLD
    if made.failed:
        return FAILED
    return REFUSED_INPUT if made.refused else OK


class _Progress:
    """One line on the terminal that names the document just read."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.rows = 0
        self.files = 0

    def __call__(self, batch: "Batch") -> None:
        """Draw the line again."""
        self.files += 1
        self.rows += batch.rows_read
        if not self.quiet:
            click.echo(f"\r\033[K{self.files} files, {self.rows:,} rows  {batch.file[-60:]}", nl=False, err=True)

    def clear(self) -> None:
        """Remove the line."""
        if not self.quiet:
            click.echo("\r\033[K", nl=False, err=True)


def screen(made: "Review", *, currency: str | None = None) -> list[str]:
    """Return at most one screen of text about a review."""
    return [
        *_read(made),
        "",
        *_worth(made, currency),
        *_left_out(made),
        "",
        *_next(made),
    ]


def _read(made: "Review") -> list[str]:
    understood = len(made.batches) - sum(1 for batch in made.batches if not batch.format)
    known = sum(1 for batch in made.batches if batch.already)
    period = f"     {made.start:%d %b %Y} to {made.end:%d %b %Y}" if made.start and made.end else ""
    already = f", {known} known already" if known else ""
    lines = [
        f"Read {understood} of {len(made.batches)} files{already}, {made.rows_read:,} rows in {made.seconds:.1f} s{period}"
    ]
    read = [batch for batch in made.batches if batch.format]
    groups = _grouped(read)
    shown = groups[:FILES_SHOWN]
    wide = min(44, max((len(name) for name, _ in shown), default=0))
    for name, group in shown:
        short = name if len(name) <= wide else "…" + name[-(wide - 1) :]
        lines.append(f"  {short:<{wide}}  {about(group)}")
    left = sum(len(group) for _, group in groups[FILES_SHOWN:])
    if left:
        lines.append(f"  … and {left} more files (`{running.chosen.command} batches`)")
    return lines + _not_read([batch for batch in made.batches if not batch.format])


def _not_read(batches: "Sequence[Batch]") -> list[str]:
    """Return one line for each reason why files were not read, the most frequent first, and what would help."""
    from collections import Counter
    from pathlib import PurePosixPath

    reasons: dict[tuple[str, str], list[str]] = {}
    for batch in batches:
        first = batch.problems[0] if batch.problems else None
        reason = (first.what, first.fix) if first else ("not understood", "")
        reasons.setdefault(reason, []).append(batch.file)
    ranked = sorted(reasons.items(), key=lambda one: -len(one[1]))
    lines = []
    for (what, fix), files in ranked[:REASONS_SHOWN]:
        kinds = Counter(PurePosixPath(name).suffix or "no suffix" for name in files).most_common(KINDS_SHOWN)
        several = ", ".join(kind if len(kinds) == 1 else f"{count} {kind}" for kind, count in kinds)
        named = printable(files[0]) if len(files) == 1 else f"{len(files)} files ({several})"
        lines.append(f"  not read: {named}: {printable(what).rstrip('.')}. {printable(fix)}".rstrip())
    others = sum(len(files) for _, files in ranked[REASONS_SHOWN:])
    if others:
        lines.append(f"  not read: {others} more files, each with its reason: `{running.chosen.command} problems`")
    return lines


def _grouped(batches: "Sequence[Batch]") -> "list[tuple[str, list[Batch]]]":
    """Return files by folder and format, by rows; a lone file keeps its name."""
    from pathlib import PurePosixPath

    groups: dict[tuple[str, str], list[Batch]] = {}
    for batch in batches:
        groups.setdefault((str(PurePosixPath(batch.file).parent), batch.format), []).append(batch)
    named = [(_common([batch.file for batch in group]), group) for group in groups.values()]
    return sorted(named, key=lambda pair: -sum(batch.rows_read for batch in pair[1]))


def _common(files: list[str]) -> str:
    """Return one name for files of one folder: their common beginning and suffix around an asterisk."""
    from os.path import commonprefix
    from pathlib import PurePosixPath

    if len(files) == 1:
        return files[0]
    suffixes = {PurePosixPath(name).suffix for name in files}
    start = commonprefix(files).rstrip("0123456789")  # noqa: RUF071  characters are meant, not folders
    return f"{start}*{suffixes.pop() if len(suffixes) == 1 else ''}"


def about(batches: "Sequence[Batch]") -> str:
    """Return one line about documents of one format: title, rows, totals, what ties and what was refused."""
    first, several = batches[0], len(batches) > 1
    if not first.format:
        return first.problems[0].what if first.problems else "not understood"
    totals: dict[str, Decimal] = {}
    for batch in batches:
        for currency, amount in batch.totals.items():
            totals[currency] = totals.get(currency, Decimal(0)) + amount
    known, refused = sum(batch.rows_known for batch in batches), sum(batch.rows_refused for batch in batches)
    parts = [f"{len(batches)} files, {first.title}" if several else first.title]
    parts.append(f"{sum(batch.rows_read for batch in batches):,} rows")
    if totals:
        parts.append(", ".join(f"{amount:,.2f} {currency}" for currency, amount in totals.items()))
    if known:
        parts.append(f"{known:,} known")
    if refused:
        parts.append(
            f"{refused:,} refused: `{running.chosen.command} problems{'' if several else f' {short(first.id)}'}`"
        )
    return "  ".join([*parts, *_tied(batches)])


def _tied(batches: "Sequence[Batch]") -> list[str]:
    """Say whether the stated balances tie with the rows, where there are any."""
    told = [balance for batch in batches for balance in batch.balances if balance.ties is not None]
    off = [balance for balance in told if not balance.ties]
    if len(off) == 1:
        return [f"balance off by {off[0].off:,.2f} {off[0].currency} on {off[0].account}"]
    return [f"{len(off)} balances are off"] if off else ["balances tie"] if told else []


def short(batch: "UUID") -> str:
    """Return as much of a batch's id as tells it from others."""
    return str(batch)[:13]


def _worth(made: "Review", currency: str | None) -> list[str]:
    from bursar.reports.review import TOP

    if not made.findings:
        less = _worth_a_look(made)
        return [f"Nothing {'sure enough to act on' if less else 'worth acting on'} was found in these files.", *less]
    lines = [
        f"Worth doing: {total.worth.amount:,.0f} {total.currency} in the first year"
        f" (80 % likely {total.low.amount:,.0f} to {total.high.amount:,.0f}), {_count(total.count, 'finding')}"
        for total in sorted(made.sums, key=lambda one: one.currency != currency)
    ]
    lines += ["", f"  {'worth':>10}  {'likely range':>20}  sure  {'finding':<{TITLE_CHARS}}  id"]
    lines += [_finding_line(kept) for kept in made.findings[:TOP]]
    if len(made.findings) > TOP:
        lines.append(f"  … and {len(made.findings) - TOP} more (`{running.chosen.command} findings`)")
    return lines + _worth_a_look(made)


def _worth_a_look(made: "Review") -> list[str]:
    """Return the dearest findings that are less sure; they are not counted above."""
    lines = [_finding_line(kept) for kept in made.unsure[:UNSURE_SHOWN] if kept.counted.minor > 0]
    if not lines:
        return []
    return ["", "  Less than 60 % sure and not counted, but worth a look:", *lines]


def _finding_line(kept: "Kept") -> str:
    finding = kept.finding
    counted, low, high = kept.counted.amount, finding.low.amount, finding.high.amount
    span = f"{low:,.0f} to {high:,.0f}" if low != high else f"{high:,.0f}"
    title = printable(finding.title)
    once = "" if finding.recurring else " (once)"
    room = TITLE_CHARS - len(once)
    short = title if len(title) <= room else title[: room - 1] + "…"
    return (
        f"  {counted:>10,.0f}  {span:>20}  {finding.confidence:>3.0%}  {short + once:<{TITLE_CHARS}}  {kept.name:<4}"
        f"  {kept.counted.currency}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _left_out(made: "Review") -> list[str]:
    lines = [
        f"Left out: overlaps that would count {total.overlap.amount:,.0f} {total.currency} twice"
        for total in made.sums
        if total.overlap.minor
    ]
    lines += [f"Failed:   {text}" for text in made.failed]
    if made.unsure:
        lines.append(
            f"Not counted: {_count(len(made.unsure), 'finding')} below 60 % sure (`{running.chosen.command} findings --all`)"
        )
    if made.refused:
        rows = sum(batch.rows_refused for batch in made.refused)
        files = sum(1 for batch in made.refused if not batch.format)
        lines.append(
            f"Refused:  {_count(files, 'file')} and {_count(rows, 'row')};"
            f" `{running.chosen.command} problems` says where, why and what to do"
        )
    return ["", *lines] if lines else []


def _next(made: "Review") -> list[str]:
    say = running.chosen.command
    if made.findings:
        first = made.findings[0].name
        explain, up = f"`{say} explain {first}`", f"`{say} up`"
        return [
            f"Next: {explain}   every figure down to the file line",
            f"      {up:<{len(explain)}}   the same in the browser",
        ]
    return [f"Next: `{say} batches`   what is held so far", f"      `{say} up`        the same in the browser"]


def as_dict(made: "Review") -> dict[str, Any]:
    """Return the JSON form of a review."""
    return {
        "seconds": round(made.seconds, 3),
        "from": made.start,
        "to": made.end,
        "rows_read": made.rows_read,
        "batches": [batch_dict(batch) for batch in made.batches],
        "worth": [
            {
                **{
                    part: getattr(total, part).on_the_wire() | {"trace": made.trace(total.currency, part)}
                    for part in ("worth", "low", "high", "overlap")
                },
                "findings": total.count,
            }
            for total in made.sums
        ],
        "failed": list(made.failed),
        "findings": [finding_dict(kept) for kept in made.findings],
        "unsure": [finding_dict(kept) for kept in made.unsure],
    }


def batch_dict(batch: "Batch") -> dict[str, Any]:
    """Return the JSON form of a batch."""
    return {
        "id": str(batch.id),
        "file": batch.file,
        "format": batch.format or None,
        "title": batch.title,
        "state": batch.state.value,
        "already": batch.already,
        "rows_read": batch.rows_read,
        "rows_taken": batch.rows_taken,
        "rows_known": batch.rows_known,
        "rows_refused": batch.rows_refused,
        "from": batch.start,
        "to": batch.end,
        "totals": [{"amount": plainly(amount, name), "currency": name} for name, amount in batch.totals.items()],
        "balances_tie": [balance.ties for balance in batch.balances],
        "problems": [
            {"row": problem.row, "column": problem.column, "what": problem.what, "fix": problem.fix}
            for problem in batch.problems[:20]
        ],
    }


def finding_dict(kept: "Kept") -> dict[str, Any]:
    """Return the JSON form of a finding."""
    finding = kept.finding
    return {
        "id": kept.name,
        "kind": finding.kind,
        "subject": finding.subject,
        "title": finding.title,
        "state": kept.state.value,
        "worth": finding.worth.on_the_wire(),
        "counted": kept.counted.on_the_wire(),
        "low": finding.low.on_the_wire(),
        "high": finding.high.on_the_wire(),
        "confidence": finding.confidence,
        "recurring": finding.recurring,
        "from": finding.period.start,
        "to": finding.period.end,
        "action": finding.action,
        "due": kept.due,
    }


def print_csv(findings: Sequence["Kept"]) -> None:
    """Print findings as CSV; formulas are made harmless."""
    from bursar.kernel.cells import harmless

    writer = csv.writer(sys.stdout)
    writer.writerow(["id", "kind", "subject", "title", "worth", "low", "high", "currency", "confidence", "action"])
    for kept in findings:
        finding = kept.finding
        cells = [
            kept.name,
            finding.kind,
            harmless(finding.subject),
            harmless(finding.title),
            f"{kept.counted.amount:f}",
            f"{finding.low.amount:f}",
            f"{finding.high.amount:f}",
            finding.worth.currency,
            f"{Decimal(str(finding.confidence)):f}",
            harmless(finding.action),
        ]
        writer.writerow(cells)
