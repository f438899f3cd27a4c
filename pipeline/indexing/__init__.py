"""FAISS indexes of item vectors, scored by inner product: which one is built, how it is searched, what it finds."""
