"""Where an amount comes from: formula, additive parts, rates with dates and source lines of any trace token.

Invariants: a figure is worked out again by the code that answered first, under the rights and the row-level security of
whoever asks, who must be allowed to see the rows as well; its parts sum to it exactly; the same token gives the same answer over HTTP, MCP and at the console. What is
absent: tokens for what a person set and for amounts made of numbers that the request itself sent.
"""
