"""Who bears a cost: tags inherited by rule, shared cost split by rule, and what one unit of business costs.

Invariants: the parts of a split sum exactly to what was split, whatever the rules; an answer names every rule it rests on;
rules change no line, so taking one away brings the former answer back; the rules of an organisation are one document that
is replaced as a whole, with its history in the audit trail.

Deliberately absent: stored allocated costs.
"""
