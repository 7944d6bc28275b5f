"""`python -m napari_sampath.diagnosis.self_test`: encode, click, write and read back; print the times as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path

SIDE_PX = 512
"""Side of the part of the sample that is encoded, so that the test takes about 5 s on two cores."""


class SelfTestError(RuntimeError):
    """A step gave a wrong result."""


def main() -> int:
    """Run the test; return the exit code."""
    import numpy as np
    import tifffile

    from ..config import load_config
    from ..files import write_atomically
    from ..images import read
    from ..predict import load_model

    times = {}
    begin = time.perf_counter()
    with as_file(files("napari_sampath.images") / "samples" / "CMU-1-region.jpg") as path:
        pixels = read(path).pixels[:SIDE_PX, :SIDE_PX]
    model = load_model("sampath-tiny", store=None)
    times["load"] = time.perf_counter() - begin
    begin = time.perf_counter()
    features = model.encode(pixels)
    times["encode"] = time.perf_counter() - begin
    begin = time.perf_counter()
    prediction = model.predict(features, points=[(SIDE_PX / 2, SIDE_PX / 2)], labels=[1])
    mask = np.asarray(prediction.masks[prediction.best])
    times["click"] = time.perf_counter() - begin
    if (
        mask.shape != (SIDE_PX, SIDE_PX)
        or not 0 < int(mask.sum()) < mask.size
        or not np.isfinite(prediction.scores).all()
    ):
        raise SelfTestError(f"the mask of a click has {int(mask.sum())} of {mask.size} px")
    begin = time.perf_counter()
    cache = load_config().cache_dir
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="doctor-") as folder:
        file = Path(folder) / "mask.tif"
        write_atomically(
            file, lambda stream: tifffile.imwrite(stream, mask.astype(np.uint8), compression="zlib")
        )
        if not np.array_equal(tifffile.imread(file), mask):
            raise SelfTestError(f"'{file}' was read back with other pixels")
    times["write and read"] = time.perf_counter() - begin
    sys.stdout.write(json.dumps({"device": str(model.device), "seconds": times}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
