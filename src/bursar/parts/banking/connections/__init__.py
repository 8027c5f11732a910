"""Connections to bank data services: credentials, links to banks, pulls; Belvo is one of them.

A pull becomes a document that goes through the importer like any uploaded statement: stored by its hash, read in the sandbox,
revertible, its lines known by what identifies them; pulling overlapping days twice adds nothing. Invariants: credentials are
sealed for their organisation and never shown; nothing is called unless the setting ``bank_feeds`` names the service; no
database transaction is open while a service is waited for; a webhook carries no rows, so it only queues a pull, and the same
webhook twice queues one. Deliberately absent: making links (the service's own widget does, with the bank's customer), moving
money.
"""
