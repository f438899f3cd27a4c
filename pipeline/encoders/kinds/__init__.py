"""Kinds of encoders that every modality has."""
