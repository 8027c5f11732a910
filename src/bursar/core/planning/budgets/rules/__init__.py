"""Pure arithmetic of budgets, by noun: limits and thresholds, spending from grouped facts."""
