"""Decisions of understanding; pure."""
