"""Webhooks out, and the outbox of mails as people see it.

Invariants: an event exists exactly when the change it tells of does (same transaction); it is delivered at least once to
each subscribed endpoint, under one id that receivers can recognise, or its failure is shown; a body says what changed and
where to read it, and is under 20 kB; nothing goes out but through the egress client; secrets are sealed and shown once.

Format: Standard Webhooks 1.0 (``webhook-id``, ``webhook-timestamp``, ``webhook-signature``; v1 HMAC-SHA-256, v1a Ed25519).
Deliberately absent: ordering between events (receivers read the resource) and filters beyond the event type.
"""
