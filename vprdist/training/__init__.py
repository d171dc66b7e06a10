"""Training: losses, batches, steps, checkpoints, the loop and its exact resume; ranks meet in `distributed`."""
