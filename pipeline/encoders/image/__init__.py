"""Image encoders: one module a kind, and what they share."""
