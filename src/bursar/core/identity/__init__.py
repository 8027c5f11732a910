"""Who somebody is and what they may do: organisations, people, roles, sign-in, sessions, tokens, API keys.

Invariants:
- Rights come from one fixed table (``rules/rights.py``); nobody gives a right they do not hold; deny by default.
- Every secret that we hand out is random, shown once and kept as a hash; a password is kept as argon2id.
- Every single-use token is claimed by one atomic UPDATE; of any number of concurrent claims one succeeds.
- An answer never tells whether an address, an organisation or a key exists, neither by its words nor by its time.
- An organisation has an owner at all times.
- There is no default user and no default password. The one local owner exists on loopback with the embedded database only.

Tables, rules and SQL are shared here; the use cases lie in ``people``, ``organisations``, ``sessions``, ``tokens`` and
``keys``, one noun each. ``service.py`` answers the question of every request: who asks?

Deliberately absent: custom roles, SAML, security questions, password expiry, "remember this password" of any kind.
"""
