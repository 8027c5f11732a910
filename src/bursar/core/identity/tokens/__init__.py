"""Tokens for programs that log in: short access tokens and refresh tokens that rotate."""
