"""Generic learning on arrays and frames: pure, no I/O, no clock; randomness only through a given seed."""
