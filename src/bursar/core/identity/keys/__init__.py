"""API keys: for programs that act for the organisation rather than for a person."""
