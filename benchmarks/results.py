"""Train and evaluate every kind of head on glands, and write docs/results.md (`make results`).

    python -m benchmarks.results                             everything; takes hours on two cores
    python -m benchmarks.results --heads cnn linear --sizes 1 5 --seeds 0
    python -m benchmarks.results --max-images 20 --max-validation-images 10 --output build/results.md

The page lists the command lines behind every figure. Finished runs are stored in `build/results`, so that an
interrupted call can be resumed and new heads can be added.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIZES = (1, 5, 20, 100)
SEEDS = (0, 1, 2)
BASELINES = ("unet", "forest")
CURVE = ("cnn", "linear", *BASELINES)
BAR = 0.90

EXPENSIVE = ("sampath", "autosam", "prompt_generator", "surrogate")
"""Heads with SAM's decoder or their own encoder; on a CPU they take ten times as long as the CNN head, so they are
trained for a quarter of the epochs."""

ARGUMENTS: dict[str, list[str]] = {
    "cnn": ["--head-argument", "norm=true"],
    "sampath": ["--head-argument", "variant=sam_only", "--learning-rate", "3e-4"],
    "autosam": ["--learning-rate", "3e-4"],
    "prompt_generator": ["--learning-rate", "3e-4", "--loss", "bce_dice"],
    "surrogate": ["--learning-rate", "3e-4", "--loss", "bce_dice"],
}
"""Kind of head -> additional command-line arguments."""

EPOCHS = {1: 150, 5: 150, 20: 40, 100: 8}
"""Training images -> epochs for the learning curve: 150 to 300 steps of up to four images."""


@dataclass(frozen=True)
class Run:
    """Training and evaluation of one head."""

    head: str
    images: int
    """Training images; 0 for all."""
    seed: int
    train: tuple[str, ...]
    evaluate: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name of the stored result, which depends on all command-line arguments."""
        words = json.dumps([self.train, self.evaluate])
        return f"{self.head}-{self.images}-{self.seed}-{hashlib.sha256(words.encode()).hexdigest()[:10]}"


def plan(options: argparse.Namespace) -> Iterator[Run]:
    """List the runs: every head on all images, then the heads of the learning curve on few images."""
    for head in options.heads:
        yield make_run(options, head, 0, 0)
    for images in options.sizes:
        for seed in options.seeds:
            for head in (name for name in options.curve if name in options.heads):
                yield make_run(options, head, images, seed)


def make_run(options: argparse.Namespace, head: str, images: int, seed: int) -> Run:
    """Build the command lines of a run; with few training images, the last epoch is kept instead of the best."""
    data = ["--data", str(options.data / "ebhi_glands")]
    bundle = str(options.work / f"{head}-{images or 'all'}-{seed}.safetensors")
    if images:
        epochs = options.curve_epochs or EPOCHS.get(images, 20)
        recipe = ["--max-images", images, "--epochs", epochs, "--patience", 0, "--keep", "last"]
        recipe += ["--max-validation-images", 1, "--batch-size", 4]
    else:
        # Held-out cases of the training split choose the epoch, so that the validation split stays unseen.
        selection = min(60, options.max_validation_images or 60)
        epochs = max(1, options.epochs // 4) if head in EXPENSIVE else options.epochs
        recipe = ["--epochs", epochs, "--held-out-share", 0.1, "--max-validation-images", selection]
        recipe += ["--max-images", options.max_images] if options.max_images else []
    extra = ARGUMENTS.get(head, [])
    words = ["train", *data, "--head", head, "--seed", seed, *recipe, *extra, "-o", bundle]
    evaluation = ["evaluate", *data, "--head", bundle]
    if options.max_validation_images:
        evaluation += ["--max-images", options.max_validation_images]
    return Run(head, images, seed, tuple(map(str, words)), tuple(map(str, evaluation)))


def measure(run: Run, work: Path) -> dict[str, Any]:
    """Train and evaluate a head, or read the stored result; the result may be an error message."""
    path = work / f"{run.key}.json"
    if path.is_file():
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    # A resumed training continues from its checkpoint; its earlier time is unknown.
    resumed = Path(run.train[-1]).with_suffix(".checkpoint").is_file()
    start = time.process_time()
    problem, _ = call(run.train)
    seconds = time.process_time() - start
    result: dict[str, Any] = {"problem": problem, "seconds": seconds, "resumed": resumed}
    if not problem:
        problem, text = call(run.evaluate)
        result["problem"], result["report"] = problem, None if problem else json.loads(text)
    if not result["problem"]:  # do not store failures, which a later installation may fix
        path.write_text(json.dumps(result), encoding="utf-8")
    return result


def call(words: tuple[str, ...]) -> tuple[str, str]:
    """Run `sampath` with these arguments; return its error message and its output."""
    from napari_sampath.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words, "--json", "--quiet"])
    return ("" if code == 0 else err.getvalue().strip() or f"exit code {code}"), out.getvalue()


def page(runs: list[tuple[Run, dict[str, Any]]], options: argparse.Namespace) -> str:
    """Return the text of docs/results.md."""
    whole = [(run, result) for run, result in runs if not run.images]
    few = [(run, result) for run, result in runs if run.images]
    parts = [
        "# Results",
        "After reading this page, you can compare the kinds of head on glands. `make results` trains each of them on "
        "the features of `sampath-tiny` and evaluates it on the validation split of EBHI-Seg (Shi et al. 2023, "
        "CC BY 4.0; split by case). "
        f"{described(options, whole)}",
        "## All kinds of head",
        table_of_heads(whole),
        verdict(whole),
        "## Label efficiency",
        "Mean Dice per image (mean and range over the seeds) after training on few images. The last epoch is kept, so "
        "nothing is chosen on the validation images. Note that the encoder of `sampath-tiny` was trained on the glands "
        "of the whole training split. All heads on its features, including `forest`, benefit from that; `unet`, which "
        "starts from random weights, does not.",
        curve(few, options.sizes),
        curve_verdict(few, options.sizes),
        "## Command lines",
        "```bash\n" + "\n".join(command(run) for run, _ in runs) + "\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def described(options: argparse.Namespace, whole: list[tuple[Run, dict[str, Any]]]) -> str:
    """Return a sentence on the numbers of images and cores."""
    count = next((r["report"]["images"] for _, r in whole if not r["problem"]), 0)
    trained = f"{options.max_images} training images" if options.max_images else "all training images"
    return f"{trained[0].upper()}{trained[1:]}, {count} validation images, {os.cpu_count()} cores."


def table_of_heads(whole: list[tuple[Run, dict[str, Any]]]) -> str:
    """Return a row per head, then the baselines without training."""
    rows = []
    untrained: dict[str, Any] = {}
    for run, result in whole:
        name = f"`{run.head}`" + (" (baseline)" if run.head in BASELINES else "")
        if result["problem"]:
            rows.append(
                f"| {name} | not measured: {result['problem'].removeprefix('sampath: ')} | | | | | | |"
            )
            continue
        scores = dict(result["report"]["scores"])
        more = "more than " if result.get("resumed") else ""
        rows.append(row(name, scores.pop(result["report"]["head"]), f"{more}{result['seconds']:.0f} s"))
        untrained.update(scores)
    rows += [row(name, scores, "") for name, scores in untrained.items()]
    heading = (
        "| head | Dice | IoU | Dice, pooled | HD95 px | object F1 | calibration error | training, CPU time |"
    )
    return "\n".join([heading, "|---|---|---|---|---|---|---|---|", *rows])


def row(name: str, scores: dict[str, Any], seconds: str) -> str:
    """Return a row with means over all classes except the background."""
    image, outline = scores["per_image"]["mean"], scores["outlines"]["mean"]
    figures = (image["dice"], image["iou"], scores["pooled"]["mean"]["dice"])
    cells = [
        *(f"{v:.3f}" for v in figures),
        "-" if outline["hd95_px"] is None else f"{outline['hd95_px']:.1f}",
    ]
    cells += [
        "-" if v is None else f"{v:.3f}"
        for v in (scores["objects"]["mean"]["f1"], scores["calibration_error"])
    ]
    return f"| {' | '.join([name, *cells, seconds])} |"


def verdict(whole: list[tuple[Run, dict[str, Any]]]) -> str:
    """Name the heads that reach the bar."""
    reached = [run.head for run, result in whole if not result["problem"] and dice(result) >= BAR]
    own = [f"`{name}`" for name in reached if name not in BASELINES]
    return f"Heads with a mean Dice of at least {BAR:.2f}: {', '.join(own) or 'none'} (target: two)."


def curve(few: list[tuple[Run, dict[str, Any]]], sizes: tuple[int, ...]) -> str:
    """Return a row per head with a column per number of images."""
    scores = by_size(few)
    rows = []
    for head in dict.fromkeys(run.head for run, _ in few):
        cells = []
        for size in sizes:
            values = scores.get((head, size), [])
            spread = (
                f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else "-"
            )
            cells.append(spread)
        rows.append(f"| `{head}` | {' | '.join(cells)} |")
    return "\n".join([f"| head | {' | '.join(map(str, sizes))} |", "|---" * (len(sizes) + 1) + "|", *rows])


def curve_verdict(few: list[tuple[Run, dict[str, Any]]], sizes: tuple[int, ...]) -> str:
    """Compare the best head with the best baseline for each number of images."""
    means = {key: statistics.mean(values) for key, values in by_size(few).items()}
    sentences = []
    for size in sizes:
        ours = {head: v for (head, s), v in means.items() if s == size and head not in BASELINES}
        theirs = {head: v for (head, s), v in means.items() if s == size and head in BASELINES}
        if not ours or not theirs:
            continue
        best, rival = max(ours, key=lambda head: ours[head]), max(theirs, key=lambda head: theirs[head])
        word = "above" if ours[best] > theirs[rival] else "not above"
        sentences.append(f"{size}: `{best}` {ours[best]:.3f} is {word} `{rival}` {theirs[rival]:.3f}")
    return "; ".join(sentences) + "." if sentences else ""


def by_size(few: list[tuple[Run, dict[str, Any]]]) -> dict[tuple[str, int], list[float]]:
    """Collect the Dice of all seeds by head and number of images."""
    scores: dict[tuple[str, int], list[float]] = {}
    for run, result in few:
        if not result["problem"]:
            scores.setdefault((run.head, run.images), []).append(dice(result))
    return scores


def dice(result: dict[str, Any]) -> float:
    """Return the mean Dice per image of the head of a run."""
    report = result["report"]
    return float(report["scores"][report["head"]]["per_image"]["mean"]["dice"] or 0)


def command(run: Run) -> str:
    """Return the command lines of a run with $SAMPATH_DATA instead of the data folder."""
    data = run.train[2]
    lines = [shlex.join(["sampath", *words]) for words in (run.train, run.evaluate)]
    return "\n".join(lines).replace(shlex.quote(data), '"$SAMPATH_DATA"/ebhi_glands').replace(f"{ROOT}/", "")


def main() -> int:
    from napari_sampath.heads import list_heads

    default = Path(os.environ.get("SAMPATH_DATA") or ROOT.parent / "shared" / "data")
    parser = argparse.ArgumentParser(prog="benchmarks.results", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=default, help="folder that holds ebhi_glands (SAMPATH_DATA)"
    )
    parser.add_argument("--heads", nargs="*", default=list_heads(), help="kinds of head (default: all)")
    parser.add_argument("--curve", nargs="*", default=list(CURVE), help="heads of the learning curve")
    parser.add_argument(
        "--sizes", nargs="*", type=int, default=list(SIZES), help="training images of the learning curve"
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--epochs", type=int, default=4, help="epochs of heads trained on all images")
    parser.add_argument(
        "--curve-epochs", type=int, default=0, help="epochs for the learning curve; 0 for the default"
    )
    parser.add_argument("--max-images", type=int, default=0, help="training images of the table; 0 for all")
    parser.add_argument("--max-validation-images", type=int, default=0, help="validation images; 0 for all")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "results", help="folder of finished runs and bundles"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results.md")
    options = parser.parse_args()
    if not (options.data / "ebhi_glands").is_dir():
        parser.error(
            f"there is no 'ebhi_glands' in '{options.data}'; set --data or SAMPATH_DATA to its folder"
        )
    options.work.mkdir(parents=True, exist_ok=True)
    runs = []
    for run in plan(options):
        print(command(run).splitlines()[0], file=sys.stderr, flush=True)
        result = measure(run, options.work)
        summary = (
            result["problem"] or f"Dice {dice(result):.3f}, trained in {result['seconds']:.0f} CPU seconds"
        )
        print(f"  {summary}", file=sys.stderr, flush=True)
        runs.append((run, result))
        # Write after each run, so that an interrupted call leaves a page.
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(page(runs, options), encoding="utf-8")
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
