"""Run by `test_store.py` in processes of its own: writers that are killed, and writers that share a folder.

`store_processes.py kill FOLDER COUNT SEED` and `store_processes.py fill FOLDER LIMIT_BYTES SEED`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from napari_sampath.store import DiskTier
from store_contract import assert_same, make_key, make_maps

KEYS = 30
SIDE = 128


def write_forever(folder: Path, seed: int) -> None:
    tier = DiskTier(folder, 10**9)
    rng = np.random.default_rng(seed)
    while True:
        number = int(rng.integers(KEYS))
        tier.discard(make_key(number))
        tier.put(make_key(number), make_maps(number, SIDE))


def kill(folder: Path, count: int, seed: int) -> dict[str, int]:
    """Kill a writing process `count` times at random moments; after each, read every entry that is there."""
    rng = np.random.default_rng(seed)
    read = parts = 0
    for turn in range(count):
        child = os.fork()
        if child == 0:
            write_forever(folder, turn)
        time.sleep(rng.uniform(0.001, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        tier = DiskTier(folder, 10**9)
        for number in range(KEYS):
            there = tier.path(make_key(number)).exists()
            found = tier.get(make_key(number))
            if there:
                assert_same(found, make_maps(number, SIDE))
                read += 1
        leftovers = list(folder.glob("*/.*.part"))
        parts += len(leftovers)
        for leftover in leftovers:
            leftover.unlink()
    return {"kills": count, "read": read, "parts": parts}


def fill(folder: Path, limit_bytes: int, seed: int) -> dict[str, int]:
    """Read or write every key in random order, twice, as an encoder does."""
    tier = DiskTier(folder, limit_bytes)
    rng = np.random.default_rng(seed)
    hits = 0
    for number in np.concatenate([rng.permutation(KEYS), rng.permutation(KEYS)]).tolist():
        found = tier.get(make_key(number))
        if found is None:
            tier.put(make_key(number), make_maps(number, SIDE))
        else:
            assert_same(found, make_maps(number, SIDE))
            hits += 1
    return {"hits": hits}


if __name__ == "__main__":
    verb = {"kill": kill, "fill": fill}[sys.argv[1]]
    sys.stdout.write(json.dumps(verb(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
