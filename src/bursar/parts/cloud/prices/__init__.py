"""List prices of the clouds: what something cost on a day, where it would cost less, and how old the answer is.

Invariants: an unknown price is None and never 0; a price that vanished from a catalogue keeps its last value with the
day it was last seen; a price that changed keeps its history (half-open validity periods), so that usage is priced as of
the day it happened. Prices are facts about vendors, not about an organisation: they lie in Parquet files under the home
folder, one per provider and region, and are replaced whole by an atomic rename.

Deliberately absent: negotiated prices (they are in the bill's own contracted columns) and any network access: the
catalogues are handed in.
"""
