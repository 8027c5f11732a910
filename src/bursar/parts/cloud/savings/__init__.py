"""What the bills, the price lists and imported utilisation show to be worth doing, as findings.

Invariants: what is advised on one resource never sums to more than the resource costs; a price is cited with its id and
its day; a smaller machine is advised only where both CPU and memory were measured, and where memory is missing that is
said.

Deliberately absent: acting on anything.
"""
