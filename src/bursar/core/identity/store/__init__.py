"""SQL of identity, by noun: sets in, sets out; no rights, no commit.

Functions that find somebody by a secret run in a transaction without an organisation; all others inside one.
"""
