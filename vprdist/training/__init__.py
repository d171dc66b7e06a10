"""Training: losses, batches, distributed set-up, the loop, exact resume."""
