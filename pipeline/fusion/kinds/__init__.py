"""The kinds of fusion: one module a kind, which is its name; see README.md beside this folder."""
