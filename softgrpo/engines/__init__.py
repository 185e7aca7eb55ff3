"""What samples and learns: one protocol (`base`), and a room for each engine that keeps it."""
