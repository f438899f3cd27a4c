"""Medley: multimodal embeddings, fusion, recommendation and a published FAISS index, every night."""

__version__ = "0.1.0"
