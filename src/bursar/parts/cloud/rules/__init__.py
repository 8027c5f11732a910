"""Decisions and arithmetic on cost lines, by noun; pure."""
