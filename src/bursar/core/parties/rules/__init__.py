"""How names and identifiers are normalised, and how alike two names are; pure."""
