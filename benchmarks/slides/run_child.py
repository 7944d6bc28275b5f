"""Run a command of this package in a process of its own, after another process has given the sign.

python -m benchmarks.slides.run_child '{"words": ["segment", ...], "seconds": 0.2}'

`seconds` is the time per tile of the encoder "sleep". Prints "ready", waits for a line, runs the command, and prints
its exit code and the bytes of its peak memory above the loaded program.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from napari_sampath.cli import main
from napari_sampath.images.slides import open_slide
from napari_sampath.predict.whole_slide import slide_run_job  # noqa: F401  (imported before the sign)

from ..memory import peak_bytes
from .sleeping import register, sleeping_model


def wait_and_run(words: list[str], seconds: float) -> None:
    """Load what every process needs, wait for the sign, and run the command."""
    register(seconds)
    if "--scheduler" in words:
        import distributed  # noqa: F401  (imported before the sign, like the rest of the program)
    with open_slide(Path(words[1])) as slide:
        sleeping_model(0, is_stored=False).encode(slide[:1024, :1024])
    before = peak_bytes()
    print("ready", flush=True)
    sys.stdin.readline()
    code = main(words)
    print(json.dumps({"code": code, "above": peak_bytes() - before}), flush=True)


if __name__ == "__main__":
    wait_and_run(**json.loads(sys.argv[1]))
