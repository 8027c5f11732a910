"""Cash: what is on the accounts, what comes and goes again and again, and the balance of the next thirteen weeks.

A balance ahead is what the statements state, plus recurring payments on their days, plus commitments (ledger holds) on theirs,
plus a forecast of everything else: planning's, or a plain way where that was better at earlier origins. Its interval is conformal: the errors that this very procedure made on the
balance at earlier origins, so the path is calibrated and not its single weeks. Invariants: balances and expected payments
are exact decimals, only what is statistical is a float; an account without a stated balance is forecast as a change from
zero and says so. Deliberately absent: categories (understanding), books (posting).
"""
