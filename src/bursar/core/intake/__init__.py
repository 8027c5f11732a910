"""Arrival of documents: stored by hash, recognised by content, parsed apart, taken in one transaction, revertible.

Invariants: the bytes of every document are kept; a document is known by its SHA-256; a batch is visible wholly or not at
all; rows read = taken + known + refused; the same document twice changes nothing; reverting a batch leaves what other
documents also said. Deliberately absent: what the lines mean (parts), where they come from on the network (connectors).
"""
