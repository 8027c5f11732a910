"""Price lists of the clouds: one client per catalogue, through the guarded egress client.

Every client reads a whole region into one table (``kernel.prices``), refuses what it cannot trust (a truncated answer, a
repeated or drifting page, another content type) and never invents a price: what is missing is left out.
"""
