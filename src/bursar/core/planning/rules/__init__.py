"""Pure arithmetic of planning, by noun: series from rows, findings from alerts, budgets."""
