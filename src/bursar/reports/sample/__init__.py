"""The sample organisation: 24 months of exports of an invented company in the vendors' own formats, with known truth.

``Halden & Marsh`` does not exist; every account number, name and amount is invented. The same seed gives the same
bytes. Every statement's balances tie; every cloud invoice is paid from a bank account to the cent, except where a
planted truth says otherwise. Truths are planted while the files are written, so their row numbers are exact.

Deliberately absent: any knowledge of how the product detects things.
"""

from bursar.reports.sample.model import Planted, Truth
from bursar.reports.sample.write import TRUTH_FILE, write_sample

__all__ = ["TRUTH_FILE", "Planted", "Truth", "write_sample"]
