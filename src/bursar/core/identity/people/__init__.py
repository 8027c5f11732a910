"""People: signing up, passwords, second factors."""
