"""The files that pass between steps: schema, writer and reader of each in one module; nobody else opens them."""
