"""What all parts share: identity, parties, ledger, intake, findings, planning; each on the floorplan."""
