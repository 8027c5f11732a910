"""Decisions of identity, by noun; pure."""
