"""Where a budget stands: spent, committed, expected to the end. Reads only; deliberately absent: rights of the asker."""
