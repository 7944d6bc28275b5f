"""`python -m benchmarks.demo`: drive the main workflow on a sample with mouse and key events, and write a report."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sampath.errors import SampathError
from napari_sampath.widgets.demo import add_docks

from .sample import Sample, open_sample
from .walk import Facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    from .walk import Step, Walk


WINDOW_PX = (1280, 800)
WALKS = ("project", "image", "slide", "segmentation")


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
    parser.add_argument("--theme", choices=("dark", "light"), default="dark", help="theme of napari")
    parser.add_argument("--only", choices=WALKS, help="one of the walks")
    parser.add_argument(
        "--quick", action="store_true", help="fewer objects and epochs; scores are meaningless"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    try:
        sample = open_sample(args.image, args.mask)
        return _walk(sample, args)
    except SampathError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _walk(sample: Sample, args: argparse.Namespace) -> int:
    from .project_steps import ProjectWorkflow
    from .report import write_report
    from .slide_steps import SlideSegmentation, SlideWorkflow, slide_path, write_four_blocks
    from .steps import MainWorkflow

    output: Path = args.output
    output.mkdir(parents=True, exist_ok=True)
    steps: list[Step] = []
    facts = Facts()

    def follow(walk: Walk) -> None:
        walk.facts = facts
        walk.run()
        steps.extend(walk.steps)

    if args.only in (None, "project"):
        with _window(args) as (viewer, state):
            follow(ProjectWorkflow(viewer, state, output, "project-", args.quick))
    if args.only in (None, "image"):
        with _window(args) as (viewer, state):
            follow(MainWorkflow(viewer, state, add_docks(viewer, state), sample, output))
    slide = slide_path()
    if slide is None:
        sys.stderr.write(
            "The slide of the test data is missing; set SAMPATH_DATA to show the walk on a slide.\n"
        )
    if slide is not None and args.only in (None, "slide"):
        with _window(args) as (viewer, state):
            follow(SlideWorkflow(viewer, state, slide, output, "slide-"))
    if slide is not None and args.only in (None, "segmentation"):
        with tempfile.TemporaryDirectory() as folder, _window(args) as (viewer, state):
            write_four_blocks(slide, Path(folder) / "four-blocks.tif")
            follow(
                SlideSegmentation(viewer, state, Path(folder) / "four-blocks.tif", output, "segmentation-")
            )
    files = write_report(output, sample, steps, facts)
    failed = [step.title for step in steps if step.error]
    sys.stdout.write(f"{len(steps) - len(failed)} of {len(steps)} steps done; see {files[0]}.\n")
    return 1 if failed else 0


@contextmanager
def _window(args: argparse.Namespace) -> Iterator[tuple[Any, ViewerState]]:
    """Open a viewer, with its state."""
    import napari

    from napari_sampath.widgets.viewer.jobs import model_job
    from napari_sampath.widgets.viewer.viewer_state import ModelChoice, ViewerState

    viewer = napari.Viewer(title="napari-sampath demo", show=True)
    try:
        viewer.theme = args.theme
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
            yield viewer, state
    finally:
        viewer.close()


if __name__ == "__main__":
    sys.exit(main())
