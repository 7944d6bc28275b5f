"""Programs of the store tests: writers that are killed, and writers that share a folder.

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
from support.store_contract import assert_same, make_key, make_maps

KEYS = 30
"""Number of entries that processes write to a shared folder."""
VICTIMS = 6
"""Number of entries that the killed process writes."""
SIDE = 128


def write_forever(folder: Path, seed: int, before_write: int) -> None:
    """Rewrite entries for ever, and write one byte to the pipe before each."""
    tier = DiskTier(folder, 10**9)
    rng = np.random.default_rng(seed)
    while True:
        number = int(rng.integers(VICTIMS))
        tier.discard(make_key(number))
        maps = make_maps(number, SIDE)
        os.write(before_write, b".")
        tier.put(make_key(number), maps)


def kill(folder: Path, count: int, seed: int) -> dict[str, int]:
    """Kill a writing process `count` times at random moments of a write; after each, read all entries.

    The duration of a write is measured during the run, so that kills interrupt writes on a busy machine too.
    """
    rng = np.random.default_rng(seed)
    read = parts = 0
    write_s = 0.005
    for turn in range(count):
        pipe, before_write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(pipe)  # the child ends with its parent
            write_forever(folder, turn, before_write)
        os.read(pipe, 1)
        for _ in range(int(rng.integers(4))):
            start = time.perf_counter()
            os.read(pipe, 1)
            write_s += (time.perf_counter() - start - write_s) / 4
        time.sleep(rng.uniform(0, 1.2 * write_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(pipe)
        os.close(before_write)
        tier = DiskTier(folder, 10**9)
        for number in range(VICTIMS):
            there = tier.path(make_key(number)).exists()
            maps = tier.get(make_key(number))
            if there:
                assert_same(maps, make_maps(number, SIDE))
                read += 1
        for leftover in folder.glob("*/.*.part"):
            leftover.unlink()
            parts += 1
    return {"kills": count, "read": read, "parts": parts}


def fill(folder: Path, limit_bytes: int, seed: int) -> dict[str, int]:
    """Read or write every key in random order, twice, as an encoder does."""
    tier = DiskTier(folder, limit_bytes)
    rng = np.random.default_rng(seed)
    hits = 0
    for number in np.concatenate([rng.permutation(KEYS), rng.permutation(KEYS)]).tolist():
        maps = tier.get(make_key(number))
        if maps is None:
            tier.put(make_key(number), make_maps(number, SIDE))
        else:
            assert_same(maps, make_maps(number, SIDE))
            hits += 1
    return {"hits": hits}


if __name__ == "__main__":
    verb = {"kill": kill, "fill": fill}[sys.argv[1]]
    sys.stdout.write(json.dumps(verb(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
