"""What HTTP can do with money a person can do at the console: each route names its command, each command exists."""

from pathlib import Path

import click
import pytest

from bursar.cli.main import cli
from bursar.infra.embedded_postgres import OWNER, EmbeddedPostgres
from bursar.infra.web import routes_of
from tests.whole import whole

COMMANDS = {
    "POST /v1/ledger/accounts": "ledger open",
    "GET /v1/ledger/accounts": "ledger accounts",
    "GET /v1/ledger/accounts/{id}": "ledger account",
    "POST /v1/ledger/accounts/{id}/close": "ledger close",
    "POST /v1/ledger/transfers": "ledger transfer",
    "POST /v1/ledger/transfers/batch": "ledger record",
    "GET /v1/ledger/transfers": "ledger transfers",
    "GET /v1/ledger/transfers/{id}": "ledger transfers",
    "POST /v1/ledger/rates": "ledger rate",
    "GET /v1/ledger/proof": "ledger prove",
    "GET /v1/books/trial-balance": "books trial",
    "GET /v1/books/income-statement": "books income",
    "GET /v1/books/balance-sheet": "books sheet",
    "GET /v1/books/cash-flow": "books flow",
    "GET /v1/books/groups": "books groups",
    "GET /v1/books/revaluation": "books worth",
    "GET /v1/books/export": "books export",
    "GET /v1/bank/postings": "books post",
    "POST /v1/bank/postings": "books post",
    "GET /v1/bank/reconciliation": "books ties",
    "GET /v1/bank/balances": "books trial",
    "GET /v1/bank/closing": "books close",
    "POST /v1/bank/closing/close": "books close",
    "POST /v1/bank/closing/reopen": "books close",
    "GET /v1/bank/accounts": "cash",
    "GET /v1/bank/policy": "rules policy",
    "PUT /v1/bank/policy": "rules policy",
    "POST /v1/bank/connections": "bank connect",
    "GET /v1/bank/connections": "bank links",
    "DELETE /v1/bank/connections/{id}": "bank remove",
    "GET /v1/bank/connections/{id}/links": "bank links",
    "POST /v1/bank/connections/{id}/pulls": "bank pull",
    "POST /v1/bank/connections/{id}/links/{link}/token": "bank token",
    "GET /v1/parties": "parties list",
    "GET /v1/parties/{id}": "parties show",
    "GET /v1/parties/suggestions": "parties suggestions",
    "POST /v1/parties/resolve": "parties resolve",
    "POST /v1/parties/{id}/rename": "parties rename",
    "POST /v1/parties/{id}/merge": "parties merge",
    "POST /v1/parties/{id}/split": "parties split",
    "POST /v1/parties/{id}/keep-apart": "parties apart",
    "POST /v1/parties/changes/{id}/undo": "parties undo",
    "GET /v1/rules": "rules list",
    "POST /v1/rules": "rules set",
    "PUT /v1/rules/{id}": "rules set",
    "DELETE /v1/rules/{id}": "rules retire",
    "GET /v1/transactions": "transactions",
    "GET /v1/transactions/export": "transactions",
    "POST /v1/transactions/derive": "transactions",
    "GET /v1/transactions/{id}": "transaction show",
    "GET /v1/transactions/{id}/transfers": "transaction show",
    "PATCH /v1/transactions/{id}": "transaction annotate",
    "PUT /v1/transactions/{id}/parts": "transaction split",
    "GET /v1/transactions/{id}/attachments": "transaction show",
    "POST /v1/transactions/{id}/attachments": "transaction attach",
    "GET /v1/transactions/{id}/attachments/{attachment}": "transaction fetch",
    "DELETE /v1/transactions/{id}/attachments/{attachment}": "transaction detach",
    "POST /v1/transactions/understand": "categorise",
    "POST /v1/transactions/decide": "categorise",
    "GET /v1/transactions/queue": "categorise",
    "GET /v1/transactions/audits": "rules audits",
    "GET /v1/transactions/opinions": "categorise",
    "POST /v1/transactions/opinions": "categorise",
    "GET /v1/cash": "cash",
    "GET /v1/cash/recurring": "cash",
    "GET /v1/cash/least": "cash",
    "PUT /v1/cash/least": "cash",
    "GET /v1/anomalies": "findings",
    "GET /v1/anomalies/policy": "anomalies policy",
    "PUT /v1/anomalies/policy": "anomalies policy",
    "POST /v1/anomalies/{id}/feedback": "anomalies judge",
    "GET /v1/budgets": "budgets list",
    "POST /v1/budgets": "budgets set",
    "GET /v1/budgets/{id}": "budgets list",
    "PUT /v1/budgets/{id}": "budgets set",
    "DELETE /v1/budgets/{id}": "budgets remove",
    "GET /v1/budgets/{id}/status": "budgets status",
    "POST /v1/budgets/{id}/what-if": "budgets what-if",
    "GET /v1/budgets/{id}/alerts": "budgets alerts",
}
PARTS = ("ledger", "books", "bank", "parties", "rules", "transactions", "cash", "budgets", "anomalies")


async def test_every_route_about_money_has_its_command(
    postgres: EmbeddedPostgres, module_database: str, tmp_path: Path
) -> None:
    async with whole(postgres.url(OWNER, module_database), tmp_path) as running:
        routes = [(method, route.path) for route in routes_of(running.app) for method in route.methods or ()]
    about = {f"{method} {path}" for method, path in routes if path.startswith("/v1/") and path.split("/")[2] in PARTS}

    assert about == set(COMMANDS)


@pytest.mark.parametrize("words", sorted(set(COMMANDS.values())))
def test_every_named_command_exists(words: str) -> None:
    command: click.Command | None = cli
    for word in words.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)

    assert command is not None
    assert command.help
