"""Fine-tuning of encoders on the catalogue's own log."""
