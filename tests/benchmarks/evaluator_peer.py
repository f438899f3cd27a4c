"""cornac's way, for `evaluator`: needs numpy and cornac, and nothing of Medley.

python evaluator_peer.py FOLDER USERS
"""

import json
import resource
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
from cornac.data import Dataset
from cornac.eval_methods.base_method import ranking_eval
from cornac.metrics import NDCG, Recall
from cornac.models import Recommender

CUTOFF = 20


class Vectors(Recommender):
    """A recommender of given vectors."""

    def __init__(self, users, items):
        super().__init__(name="vectors", trainable=False)
        self.users, self.items = users, items

    def score(self, user_idx, item_idx=None):
        """Of one user, the scores of all items or of one."""
        scores = self.items @ self.users[user_idx]
        return scores if item_idx is None else scores[item_idx]


def dataset(pairs, n_users, n_items):
    uids, iids = (OrderedDict((code, code) for code in range(n)) for n in (n_users, n_items))
    uir = (pairs[0].astype(np.int64), pairs[1].astype(np.int64), np.ones(pairs.shape[1]))
    return Dataset(n_users, n_items, uids, iids, uir)


def main():
    folder, most = Path(sys.argv[1]), int(sys.argv[2])
    users, items, train, test = (np.load(folder / f"{name}.npy") for name in ("users", "items", "train", "test"))
    asked = np.unique(test[0])
    if most < len(asked):
        asked = np.sort(np.random.default_rng(0).choice(asked, most, replace=False))
    test = test[:, np.isin(test[0], asked)]
    train_set, test_set = (dataset(pairs, len(users), len(items)) for pairs in (train, test))
    model = Vectors(users, items)
    model.fit(train_set)
    # Made once, and not timed.
    assert train_set.csr_matrix.shape == test_set.csr_matrix.shape
    begin = time.perf_counter()
    _, values = ranking_eval(model, [Recall(k=CUTOFF), NDCG(k=CUTOFF)], train_set, test_set)
    seconds = time.perf_counter() - begin
    found = np.array(sorted(values[0]))
    np.save(folder / "cornac.npy", np.stack([found, *([value[user] for user in found] for value in values)]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "users": len(found), "peak_rss_bytes": peak}))


if __name__ == "__main__":
    main()
