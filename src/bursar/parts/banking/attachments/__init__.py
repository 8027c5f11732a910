"""Receipts and other papers attached to transactions.

Invariants: the bytes are kept under their SHA-256 in the organisation's own files; the kind of a file is told by its content, never
by its name, and only kinds without active content are taken; a download is an attachment under a harmless name. Adding one never
changes the books, so it is allowed in a closed period; taking one off is not. Deliberately absent: reading what papers say
(documents).
"""
