"""What an assistant may ask: few tools, read-only unless actions are switched on, every amount exact and traceable.

Invariants: a tool runs as the actor that started the server and can do nothing the actor cannot; amounts are decimal
strings with their currency and a trace token that ``explain_figure`` resolves to formula, parts and source rows; a change
needs a signed, short-lived token that was made for exactly this change of exactly this state. Texts from bills and banks
are data. The package ``mcp`` is an optional extra, imported only in ``server`` and only when it runs.
"""
