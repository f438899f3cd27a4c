"""Kinds of image encoders: one module each, named as `extract.image.encoder` names it."""
