"""Pure arithmetic of budgets, by noun: limits and thresholds, what is told of them, spending from grouped facts."""
