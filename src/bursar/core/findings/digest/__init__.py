"""The digest: a summary of new findings, daily or weekly, to members who asked for it and to the operator's channels.

Invariants: nobody gets one unasked; a period is told once to each; a member who may no longer read findings gets nothing;
a period without anything new is silent.
"""
