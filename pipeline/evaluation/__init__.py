"""What a list is worth: arrays in, numbers out."""
