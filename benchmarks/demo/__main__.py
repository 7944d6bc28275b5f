"""`python -m benchmarks.demo`: drive the main workflow on a sample with mouse and key events, and write a report."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sampath.errors import SampathError
from napari_sampath.widgets.demo import add_docks

from .sample import Sample, open_sample

if TYPE_CHECKING:
    from collections.abc import Sequence


WINDOW_PX = (1280, 800)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code: 0, 1 if a step failed, 2 if the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder of the report")
    parser.add_argument("--image", type=Path, help="image to use instead of the sample")
    parser.add_argument(
        "--mask", type=Path, help="true mask of the image, for scores; object pixels are not 0"
    )
    parser.add_argument("--model", default="sampath-tiny", help="promptable model")
    parser.add_argument("--weights", type=Path, help="your own weights file for the model")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    try:
        sample = open_sample(args.image, args.mask)
        return _walk(sample, args)
    except SampathError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _walk(sample: Sample, args: argparse.Namespace) -> int:
    import napari

    from napari_sampath.widgets.viewer.jobs import model_job
    from napari_sampath.widgets.viewer.viewer_state import ModelChoice, ViewerState

    from .report import write_report
    from .steps import MainWorkflow

    output: Path = args.output
    output.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="napari-sampath demo", show=True)
    try:
        viewer.window._qt_window.showNormal()  # the saved state may be maximized
        viewer.window.resize(*WINDOW_PX)
        with tempfile.TemporaryDirectory() as folder:
            # A separate journal, so that the image has no annotations, and no store, so that encoding is timed.
            state = ViewerState(
                viewer,
                load_model=lambda choice: model_job(choice.name, choice.device, choice.weights, keep=False),
                sessions_dir=Path(folder),
            )
            state.choose_model(ModelChoice(args.model, weights=args.weights))
            walk = MainWorkflow(viewer, state, add_docks(viewer, state), sample, output)
            walk.run()
            files = write_report(output, sample, walk.steps, walk.facts)
    finally:
        viewer.close()
    failed = [step.title for step in walk.steps if step.error]
    sys.stdout.write(f"{len(walk.steps) - len(failed)} of {len(walk.steps)} steps done; see {files[0]}.\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
