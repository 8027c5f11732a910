"""The rule model, the tests it compiles to, and the verdicts; pure."""
