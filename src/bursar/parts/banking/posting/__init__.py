"""Bank lines in the books: each own account is a ledger account, each booked line one balanced transfer.

Invariants: a line is booked once, whatever is imported again, because its transfer's key comes from the line's id (what
identifies it, with its occurrence number) and a generation that grows only when something else has to be booked; what
changes (category, split, a batch taken back) is reversed and booked anew, so history stays; both legs of a transfer between
own accounts meet in one clearing account of their currency; inside closed books nothing is booked: the first open day takes
it and the tag ``booked`` tells the line's own day. A line that the ledger refuses is kept with the reason, never dropped.
Deliberately absent: payments of accounts-payable exports (the bank line that pays them is the movement), pending lines,
plugging of differences: where a statement does not tie, the reconciliation says by how much.
"""
