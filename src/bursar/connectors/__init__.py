"""One module per outside system or format, grouped by kind; only ``wiring`` imports them."""
