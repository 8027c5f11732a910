"""What a transfer is, which transfers are admitted, and how batches are chained; pure."""
