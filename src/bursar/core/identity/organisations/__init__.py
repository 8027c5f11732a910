"""Organisations: their beginning, their name and their end."""
