"""What language models may cost: whether an organisation wants them, and every call paid from a monthly cap.

Invariants: nothing is sent before an organisation opted in; the most a call can cost is held before it is sent and settled
from what the vendor counted; what is held and spent in a month never exceeds the installation's cap nor the organisation's
own, however many ask at once and whenever a process dies: a call that nobody can know about stays counted in full.

Deliberately absent: what is asked (parts), how a vendor is spoken to (connectors).
"""
