"""What everything that learns stands on: batches, negatives, checkpoints, processes, seeds, progress."""
