"""Jobs as an organisation sees them: their state, their progress, the dead ones, and what can be done about them.

Invariants: the state is read from the queue itself and stored nowhere else; a job of another organisation does not exist.
Deliberately absent: queueing over HTTP (features queue their own jobs) and any view of arguments, which may name secrets.
"""
