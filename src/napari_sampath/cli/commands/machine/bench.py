"""`sampath bench`: measure the time of encoding a tile and of predicting a mask for a click."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

from ....config import load_config
from ....errors import PromptError
from ....jobs import Job, Progress
from ...output import Output, table
from ...subcommand import Subcommand, add_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from ....predict import Model

SIDE_PX = 1024


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath bench`."""
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="number of runs per median (default: %(default)s)"
    )
    add_model(parser)


def run(args: argparse.Namespace, output: Output) -> None:
    """Measure the median time of encoding a tile and of predicting a mask for a click."""
    from ....predict import load_model_job

    # Without a store, because it would return the stored features instead of running the encoder.
    job = load_model_job(
        args.model, load_config().device, args.weights, None, args.precision, compiled=args.compile
    )
    model = output.run(job)
    if not model.promptable:
        raise PromptError(
            f"'{model.name}' is not promptable; choose a promptable model such as 'sampath-tiny' or 'vit_b'."
        )
    encode_s, click_s = output.run(_measure(model, max(1, args.repeats)))
    rows = [
        [f"encode a tile of {SIDE_PX:,} x {SIDE_PX:,} px", f"{encode_s:.2f} s"],
        ["predict a mask of that size for a click", f"{1000 * click_s:.0f} ms"],
    ]
    output.result(
        {
            "model": model.name,
            "device": str(model.device),
            "precision": model.precision,
            "encode_seconds": encode_s,
            "click_seconds": click_s,
        },
        f"{model.name} on {model.device}, {model.precision}:\n{table(['STEP', 'MEDIAN'], rows)}",
    )


def _measure(model: Model, repeats: int) -> Job[tuple[float, float]]:
    """Return the median time in seconds of encoding a tile and of predicting a mask for a click."""
    import numpy as np

    from ....arrays import Prompts
    from ....predict import local_mask

    pixels = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    prompt = Prompts.make(points=[(SIDE_PX / 2, SIDE_PX / 2)])
    features = model.encode(pixels)

    def encode() -> None:
        # .item() waits until the GPU has finished.
        model.encode(pixels).maps["embedding"].sum().item()

    def click() -> None:
        logits, scores = model.decode(features, prompt)
        local_mask(features.frame, logits[int(np.argmax(scores))])

    encode_s = yield from _median(encode, repeats, "Encoding")
    click_s = yield from _median(click, repeats, "Predicting masks")
    return encode_s, click_s


def _median(call: Callable[[], object], repeats: int, message: str) -> Job[float]:
    """Return the median time of a call in seconds; the first run is left out, as it may allocate and compile."""
    seconds = []
    for done in range(repeats + 1):
        yield Progress(done, repeats + 1, message, "runs")
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


SUBCOMMAND = Subcommand(
    "measure the time of encoding and of clicks on this machine",
    "sampath bench --model vit_b",
    arguments,
    run,
)
