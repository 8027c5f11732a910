"""Signing in: proving a password and a second factor, and the browser sessions that follow."""
