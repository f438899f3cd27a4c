"""Exports: what is published, sent to where a team serves it from, verified there, and then switched to."""
