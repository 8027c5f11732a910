"""The vocabulary: value types every floor shares. Pure: no I/O, no clock, no SQL, full branch coverage."""
