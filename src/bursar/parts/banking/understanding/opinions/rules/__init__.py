"""What is sent, and what may come back; pure."""
