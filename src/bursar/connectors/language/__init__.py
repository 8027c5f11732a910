"""Vendors of language models."""
