"""Object stores, and the folders of this machine that stand for what is in them."""

from pipeline.storage.mirror import changed, fetched, is_address, local, size_of, store_of
from pipeline.storage.store import Store

__all__ = ["Store", "changed", "fetched", "is_address", "local", "size_of", "store_of"]
