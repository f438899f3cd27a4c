"""What all training shares: batches, negatives, checkpoints, processes, seeds, progress."""
