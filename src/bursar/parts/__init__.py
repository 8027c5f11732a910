"""The parts: independent siblings on the floorplan that meet only at the ledger, the parties and the inbox."""
