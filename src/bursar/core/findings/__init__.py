"""The inbox: what producers noticed, netted and ranked by money, acted on by people, measured afterwards.

Invariants: one open finding per (kind, subject, period), a standing (recurring) one per (kind, subject); open savings on
one resource never count for more than the resource costs; every change is an event that can be undone; a dismissal
covers the figures that were seen and lapses only on a material change. Deliberately absent: how findings are produced.
"""
