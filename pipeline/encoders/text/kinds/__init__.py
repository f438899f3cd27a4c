"""Kinds of text encoders: one module each, named as `extract.text.encoder` names it."""
