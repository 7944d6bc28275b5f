"""Train and score every kind of head on glands against the rest, and write docs/results.md (`make results`).

    python -m benchmarks.results                             everything; some hours on two cores
    python -m benchmarks.results --heads cnn linear --sizes 1 5 --seeds 0
    python -m benchmarks.results --max-images 20 --max-validation-images 10 --output build/results.md

Every figure comes from the command lines that are printed with it. Finished runs are kept in `build/results`, so a
second call goes on where the first one stopped, and heads that were registered since are added.
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

COSTLY = ("sampath", "autosam", "prompt_generator", "surrogate")
"""Heads on SAM's decoder or with an encoder of their own, which cost some ten times what the CNN head costs on a CPU:
a quarter of the epochs."""

ARGUMENTS: dict[str, list[str]] = {
    "cnn": ["--head-argument", "norm=true"],
    "sampath": ["--head-argument", "variant=sam_only", "--learning-rate", "3e-4"],
    "autosam": ["--learning-rate", "3e-4"],
    "prompt_generator": ["--learning-rate", "3e-4", "--loss", "bce_dice"],
    "surrogate": ["--learning-rate", "3e-4", "--loss", "bce_dice"],
}
"""Kind of head -> what its command line adds to the common one."""

EPOCHS = {1: 150, 5: 150, 20: 40, 100: 8}
"""Training images -> epochs of the curve: 150 to 300 steps of up to four images."""


@dataclass(frozen=True)
class Run:
    """One training and its evaluation."""

    head: str
    images: int
    """Training images; 0 for all."""
    seed: int
    train: tuple[str, ...]
    evaluate: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name of its result: changes with any word of the command lines."""
        words = json.dumps([self.train, self.evaluate])
        return f"{self.head}-{self.images}-{self.seed}-{hashlib.sha256(words.encode()).hexdigest()[:10]}"


def plan(options: argparse.Namespace) -> Iterator[Run]:
    """List the runs: every head on all images, then the heads of the curve on few."""
    for head in options.heads:
        yield make_run(options, head, 0, 0)
    for images in options.sizes:
        for seed in options.seeds:
            for head in (one for one in options.curve if one in options.heads):
                yield make_run(options, head, images, seed)


def make_run(options: argparse.Namespace, head: str, images: int, seed: int) -> Run:
    """Write the command lines of a run; the validation images choose nothing where there are few to learn from."""
    data = ["--data", str(options.data / "ebhi_glands")]
    bundle = str(options.work / f"{head}-{images or 'all'}-{seed}.safetensors")
    if images:
        epochs = options.curve_epochs or EPOCHS.get(images, 20)
        recipe = ["--max-images", images, "--epochs", epochs, "--patience", 0, "--keep", "last"]
        recipe += ["--max-validation-images", 1, "--batch-size", 4]
    else:
        # Cases of the training split choose the epoch, so that the validation split stays unseen.
        choosing = min(60, options.max_validation_images or 60)
        epochs = max(1, options.epochs // 4) if head in COSTLY else options.epochs
        recipe = ["--epochs", epochs, "--held-out-share", 0.1, "--max-validation-images", choosing]
        recipe += ["--max-images", options.max_images] if options.max_images else []
    own = ARGUMENTS.get(head, [])
    words = ["train", *data, "--head", head, "--seed", seed, *recipe, *own, "-o", bundle]
    scored = ["evaluate", *data, "--head", bundle]
    if options.max_validation_images:
        scored += ["--max-images", options.max_validation_images]
    return Run(head, images, seed, tuple(map(str, words)), tuple(map(str, scored)))


def measure(run: Run, work: Path) -> dict[str, Any]:
    """Do a run, or find its result; a head that cannot be trained here is a result too: the sentence that says why."""
    kept = work / f"{run.key}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    # What an interrupted training took before is not known; it goes on from its checkpoint.
    resumed = Path(run.train[-1]).with_suffix(".checkpoint").is_file()
    start = time.process_time()
    problem, _ = call(run.train)
    seconds = time.process_time() - start
    result: dict[str, Any] = {"problem": problem, "seconds": seconds, "resumed": resumed}
    if not problem:
        problem, text = call(run.evaluate)
        result["problem"], result["report"] = problem, None if problem else json.loads(text)
    if not result["problem"]:  # What failed may work after an installation.
        kept.write_text(json.dumps(result), encoding="utf-8")
    return result


def call(words: tuple[str, ...]) -> tuple[str, str]:
    """Run `sampath` with these words; the sentence it failed with, and what it wrote."""
    from napari_sampath.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*words, "--json", "--quiet"])
    return ("" if code == 0 else err.getvalue().strip() or f"exit code {code}"), out.getvalue()


def page(runs: list[tuple[Run, dict[str, Any]]], options: argparse.Namespace) -> str:
    """Write the page of the documentation."""
    whole = [(run, result) for run, result in runs if not run.images]
    few = [(run, result) for run, result in runs if run.images]
    parts = [
        "# Results",
        "Written by `make results`: glands against the rest on the validation split of EBHI-Seg "
        "(Shi et al. 2023, CC BY 4.0; split by case), features of `sampath-tiny`. "
        f"{described(options, whole)}",
        "## All kinds of head",
        table_of_heads(whole),
        verdict(whole),
        "## Label efficiency",
        "Mean Dice per image (mean and range over the seeds), trained on few images; the last epoch is kept, "
        "nothing is chosen on the validation images. Read it with care: the encoder of `sampath-tiny` learned on "
        "the glands of the whole training split, which every head on its features (`forest` too) profits from and "
        "`unet`, which begins from random weights, does not.",
        curve(few, options.sizes),
        curve_verdict(few, options.sizes),
        "## Command lines",
        "```bash\n" + "\n".join(command(run) for run, _ in runs) + "\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def described(options: argparse.Namespace, whole: list[tuple[Run, dict[str, Any]]]) -> str:
    """Say on how many images this was measured."""
    count = next((r["report"]["images"] for _, r in whole if not r["problem"]), 0)
    trained = f"{options.max_images} training images" if options.max_images else "all training images"
    return f"{trained[0].upper()}{trained[1:]}, {count} validation images, {os.cpu_count()} cores."


def table_of_heads(whole: list[tuple[Run, dict[str, Any]]]) -> str:
    """Write a row for each head, then the baselines that need no training."""
    rows = []
    others: dict[str, Any] = {}
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
        others.update(scores)
    rows += [row(name, scores, "") for name, scores in others.items()]
    heading = (
        "| head | Dice | IoU | Dice, pooled | HD95 px | object F1 | calibration error | training, CPU time |"
    )
    return "\n".join([heading, "|---|---|---|---|---|---|---|---|", *rows])


def row(name: str, scores: dict[str, Any], seconds: str) -> str:
    """Write a row; figures are means over the classes but the rest."""
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
    """Say which heads reach the bar."""
    reached = [run.head for run, result in whole if not result["problem"] and dice(result) >= BAR]
    own = [f"`{name}`" for name in reached if name not in BASELINES]
    return f"Heads with a mean Dice of at least {BAR:.2f}: {', '.join(own) or 'none'} (two are asked for)."


def curve(few: list[tuple[Run, dict[str, Any]]], sizes: tuple[int, ...]) -> str:
    """Write a row for each head, a column for each number of images."""
    found = by_size(few)
    rows = []
    for head in dict.fromkeys(run.head for run, _ in few):
        cells = []
        for size in sizes:
            values = found.get((head, size), [])
            spread = (
                f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else "-"
            )
            cells.append(spread)
        rows.append(f"| `{head}` | {' | '.join(cells)} |")
    return "\n".join([f"| head | {' | '.join(map(str, sizes))} |", "|---" * (len(sizes) + 1) + "|", *rows])


def curve_verdict(few: list[tuple[Run, dict[str, Any]]], sizes: tuple[int, ...]) -> str:
    """Say where our best head is above both baselines."""
    found = {key: statistics.mean(values) for key, values in by_size(few).items()}
    sentences = []
    for size in sizes:
        ours = {head: v for (head, s), v in found.items() if s == size and head not in BASELINES}
        theirs = {head: v for (head, s), v in found.items() if s == size and head in BASELINES}
        if not ours or not theirs:
            continue
        best, rival = max(ours, key=lambda head: ours[head]), max(theirs, key=lambda head: theirs[head])
        word = "above" if ours[best] > theirs[rival] else "not above"
        sentences.append(f"{size}: `{best}` {ours[best]:.3f} is {word} `{rival}` {theirs[rival]:.3f}")
    return "; ".join(sentences) + "." if sentences else ""


def by_size(few: list[tuple[Run, dict[str, Any]]]) -> dict[tuple[str, int], list[float]]:
    """Collect the Dice of each head and number of images over the seeds."""
    found: dict[tuple[str, int], list[float]] = {}
    for run, result in few:
        if not result["problem"]:
            found.setdefault((run.head, run.images), []).append(dice(result))
    return found


def dice(result: dict[str, Any]) -> float:
    """Return the mean Dice per image of a run's head."""
    report = result["report"]
    return float(report["scores"][report["head"]]["per_image"]["mean"]["dice"] or 0)


def command(run: Run) -> str:
    """Write the command lines of a run with the folder of the data left open."""
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
    parser.add_argument(
        "--heads", nargs="*", default=list_heads(), help="all that are registered if left out"
    )
    parser.add_argument("--curve", nargs="*", default=list(CURVE), help="heads of the label efficiency curve")
    parser.add_argument(
        "--sizes", nargs="*", type=int, default=list(SIZES), help="training images of the curve"
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--epochs", type=int, default=4, help="of the heads that learn from all images")
    parser.add_argument("--curve-epochs", type=int, default=0, help="of the curve; 0 for the usual number")
    parser.add_argument("--max-images", type=int, default=0, help="training images of the table; 0 for all")
    parser.add_argument("--max-validation-images", type=int, default=0, help="images scored; 0 for all")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "results", help="finished runs and bundles"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results.md")
    options = parser.parse_args()
    if not (options.data / "ebhi_glands").is_dir():
        parser.error(
            f"there is no 'ebhi_glands' in '{options.data}'; name its folder with --data or SAMPATH_DATA"
        )
    options.work.mkdir(parents=True, exist_ok=True)
    runs = []
    for run in plan(options):
        print(command(run).splitlines()[0], file=sys.stderr, flush=True)
        result = measure(run, options.work)
        said = result["problem"] or f"Dice {dice(result):.3f}, trained in {result['seconds']:.0f} CPU seconds"
        print(f"  {said}", file=sys.stderr, flush=True)
        runs.append((run, result))
        # After each run: who interrupts has what was measured so far.
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(page(runs, options), encoding="utf-8")
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
