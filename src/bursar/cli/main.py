"""Entry of the command line: knows every command by name and one line, imports a command only when it is called."""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

OK, FAILED, USAGE, THRESHOLD, NOT_ALLOWED, REFUSED_INPUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
"""Exit statuses: see the epilog of ``bursar --help``."""

COMMANDS: Mapping[str, tuple[str, str]] = {
    "review": ("review:review", "Read exports; print what is worth doing."),
    "explain": ("findings:explain", "Show formula, parts, prices and source rows of a finding."),
    "findings": ("findings:findings", "List the inbox."),
    "accept": ("findings:accept", "Accept a finding."),
    "dismiss": ("findings:dismiss", "Dismiss a finding with a reason."),
    "snooze": ("findings:snooze", "Hide a finding until a day."),
    "done": ("findings:done", "Say that a finding was acted on."),
    "undo": ("findings:undo", "Take the last action back."),
    "costs": ("costs:costs", "Sum cloud and SaaS cost by dimensions, filtered; export it."),
    "anomalies": ("anomalies:anomalies", "Alerts on cost: budget and floors, what you say about them."),
    "forecast": ("forecast:forecast", "Forecast every series, or show one."),
    "import": ("importing:import_", "Import files without reviewing them."),
    "batches": ("importing:batches", "List what was imported."),
    "problems": ("importing:problems", "List or save the problems of an import."),
    "revert": ("importing:revert", "Take an import back."),
    "transactions": ("banking:transactions", "Search bank movements and payments."),
    "transaction": ("transaction:transaction", "One transaction: note, tags, split, receipts."),
    "categorise": ("banking:categorise", "Say what transactions were for; list what only a person can decide."),
    "rules": ("rules:rules", "Rules about categories, the stated error, blind audits."),
    "parties": ("parties:parties", "Counterparties: look, merge, split, undo."),
    "budgets": ("budgets:budgets", "What may be spent, what was, what is expected."),
    "bank": ("feeds:bank", "Banks through a data service: connect, pull, give a second factor."),
    "books": ("books:books", "Book bank lines into the ledger; its reports and exports; close a period."),
    "ledger": ("ledger:ledger", "Accounts, transfers, exchange rates, the proof of the books."),
    "cash": ("cash:cash", "Show balances, runway and the balance of the next thirteen weeks."),
    "cloud": ("spending:cloud", "Cloud costs, rules about who bears them, commitments."),
    "focus": ("cloud:focus", "Validate a file against the FOCUS specification."),
    "prices": ("cloud:prices", "Price catalogues: compare machines, pack, load, refresh."),
    "sample": ("sample:sample", "Write the sample organisation's exports."),
    "demo": ("sample:demo", "Review the sample organisation, then serve it."),
    "up": ("serve:up", "Serve the API and run jobs."),
    "work": ("serve:work", "Run jobs only."),
    "mcp": ("mcp:mcp", "Answer an assistant over the Model Context Protocol."),
    "user": ("people:user", "Enrol a person or make a password-reset link."),
    "key": ("people:key", "Make, list and revoke API keys."),
    "audit": ("operate:audit", "Verify the audit trail."),
    "lake": ("lake:lake", "Keep imported lines in few files."),
    "backup": ("backups:backup", "Make, list and verify backups."),
    "restore": ("backups:restore", "Bring a backup back."),
    "migrate": ("operate:migrate", "Bring the database schema up to date."),
    "doctor": ("operate:doctor", "Check the installation; say how to fix what is wrong."),
    "config": ("operate:config", "Show settings and where they come from."),
    "completion": ("operate:completion", "Print the completion script for your shell."),
    "version": ("operate:version", "Print the version."),
}
"""Command name to (module below ``bursar.cli`` and attribute, one line of help)."""

EPILOG = (
    "Exit status: 0 ok, 1 failed, 2 usage, 3 threshold crossed, 4 not allowed, 5 some input refused, 130 interrupted."
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; listing them imports nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order people need them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(f"bursar.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their one line, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the nearest ones."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx) from None


@click.command(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=click.Path(), default=None, help="Folder of everything Bursar keeps (BURSAR_HOME).")
@click.option("--sample", is_flag=True, help="Work on the sample organisation's home instead of yours.")
@click.version_option(package_name="bursar", prog_name="bursar", message="%(prog)s %(version)s")
def cli(home: str | None, sample: bool) -> None:
    """Point Bursar at your exports; it says where money goes wrong and what acting is worth.

    \b
    bursar review ./exports        read a folder of bills and statements
    bursar explain F1              every figure down to the file line
    bursar up                      the same in the browser and over HTTP
    """  # noqa: D301  click's mark for text that is not re-wrapped
    from bursar.cli import running

    running.chosen = running.Chosen(home, sample=sample)


def main(args: list[str] | None = None) -> None:
    """Run the command line; refusals become one sentence and an exit status, never a stack trace."""
    from bursar.kernel.errors import NotAllowed, NotSignedIn, Refusal

    try:
        status: Any = cli.main(args=args, standalone_mode=False, prog_name="bursar")
    except click.exceptions.Abort:
        status = _say("Interrupted; what was imported stays, run it again to go on.", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        status = USAGE if isinstance(error, click.UsageError) else FAILED
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except Refusal as refusal:
        fix = str(refusal.facts.get("fix", ""))
        status = _say(
            f"{refusal}" + (f"\nhint: {fix}" if fix else ""),
            NOT_ALLOWED if isinstance(refusal, NotAllowed | NotSignedIn) else FAILED,
        )
    except KeyboardInterrupt:
        status = _say("Interrupted; what was imported stays, run it again to go on.", INTERRUPTED)
    except BrokenPipeError:
        status = OK
    except Exception as error:  # a bug: the person gets a sentence, the report gets the stack
        status = _say(_reported(error), FAILED)
    _leave(status if isinstance(status, int) else OK)


def _leave(status: int) -> NoReturn:
    """End the process; DuckDB's bindings complain about themselves when the interpreter tears them down, so skip that."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "duckdb" in sys.modules:
        os._exit(status)
    sys.exit(status)


def _reported(error: Exception) -> str:
    """Write a crash report to the temporary folder; return what to tell the person."""
    import tempfile
    import traceback
    from pathlib import Path

    with tempfile.NamedTemporaryFile(
        "w", prefix="bursar-crash-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    error.__traceback__ = None  # lets go of what the frames hold, such as database handles
    return (
        f"Bursar met something it did not expect ({type(error).__name__}). What was committed is safe.\n"
        f"hint: the report is in {Path(file.name)}; please send it along"
    )


def _say(text: str, status: int) -> int:
    click.echo(text, err=True)
    return status
