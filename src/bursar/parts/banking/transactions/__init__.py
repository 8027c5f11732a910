"""Bank movements and payments as rows that people can find, split, tag, annotate and close.

Invariants: a row is derived from the lake and its id from what identifies the line there, so that deriving again changes
nothing and what people added survives a batch that is taken back and imported again; splits sum to the row exactly (a
constraint of the database); nothing inside a closed period changes. Deliberately absent: statement formats, double-entry
books (ledger), substring search (whole words and beginnings of words only: pattern operators cannot use an index under
row-level security).
"""
