"""Read models across parts; no rules of their own."""
