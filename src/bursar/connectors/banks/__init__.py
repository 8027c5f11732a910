"""File formats of banks, cards, wallets and payables: bytes to bank or payment lines, problems beside them.

Invariants: a row is taken exactly or refused with its line and reason; descriptions are kept as written (formulas,
markup and bidirectional marks included; showing them harmlessly is the reader's task); no document type is ever
expanded. Deliberately absent: trades of investment accounts (counted and reported), PDF statements.
"""

from bursar.connectors.banks.bank_csv import BankCsv
from bursar.connectors.banks.camt import Camt
from bursar.connectors.banks.mt940 import Mt940
from bursar.connectors.banks.ofx import Ofx
from bursar.connectors.banks.payments_csv import PaymentsCsv
from bursar.connectors.banks.qif import Qif
from bursar.kernel.connector import FileConnector

BANK_FORMATS: tuple[FileConnector, ...] = (Ofx(), Camt(), Mt940(), Qif(), PaymentsCsv(), BankCsv())
"""Every format of this package, most specific first."""
