"""autofaiss's way, for `index`: needs numpy and autofaiss, and nothing of Medley.

python index_peer.py FOLDER BYTES
"""

import sys
from pathlib import Path

import numpy as np
from autofaiss import build_index


def main():
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    items = np.load(folder / "items.npy")
    _, facts = build_index(
        embeddings=items,
        index_path=str(folder / "index.faiss"),
        index_infos_path=str(folder / "facts.json"),
        metric_type="ip",
        max_index_memory_usage=f"{limit / 1e9}GB",
        current_memory_available="16GB",
        save_on_disk=True,
    )
    (folder / "key.txt").write_text(str(facts["index_key"]))


if __name__ == "__main__":
    main()
