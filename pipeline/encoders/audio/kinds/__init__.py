"""Kinds of audio encoders: one module each, named as `extract.audio.encoder` names it."""
