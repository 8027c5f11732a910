"""All SQL of the ledger; sets in, sets out."""
