"""Score `sampath-tiny` and write its model card.

    python -m benchmarks.model_card --data FOLDER --card FILE

The other options are those of `sampath evaluate --prompts`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from napari_sampath.cli.commands.evaluate import add_prompt_arguments, score_prompts
from napari_sampath.cli.output import Output
from napari_sampath.config import overriding
from napari_sampath.encoders.tiny import tiny
from napari_sampath.errors import SampathError, WeightsError
from napari_sampath.files import write_atomically
from napari_sampath.heads import LoadedHead, list_bundles, load_head
from napari_sampath.predict import Model
from napari_sampath.training import evaluate_job
from napari_sampath.training.data.dataset import choose_evenly
from napari_sampath.training.data.instances import read_instances
from napari_sampath.training.evaluation.failures import WorstPredictions
from napari_sampath.training.evaluation.instance_evaluation import InstanceScore, evaluate_instances
from napari_sampath.training.evaluation.prompt_evaluation import MAX_POINTS, POINTS, PromptScore
from napari_sampath.training.evaluation.report import Table, format_score, object_table, prompt_table
from napari_sampath.training.prompts.config import recipe
from napari_sampath.training.prompts.tune import read_training_record

_ATTRIBUTION = """\
| set | used for | licence and attribution |
|---|---|---|
| EBHI-Seg | glands | CC BY 4.0: Shi et al. 2023, Front. Med. 10:1114673, figshare 21540159; JPEG q90 |
| BBBC038v1 | nuclei | CC0: Caicedo et al. 2019, Nat. Methods 16, Broad Bioimage Benchmark Collection |
| TNBC | nuclei, only `nucleus-instance` | CC BY 4.0: Naylor et al. 2019, IEEE TMI 38(2), zenodo 1175282 |
| histolytics 0.3.0 example (HGSC) | nuclei, tumour | BSD-3-Clause; its masks were made by a model, not by hand |
| BCSS (two regions) | tumour nests | CC0: Amgad et al. 2019, Bioinformatics 35(18) |
"""

_NUCLEUS_HEADS = ("nucleus-instance", "nucleus-cnn")
_INSTANCE_SETS = (
    ("nucleus, BBBC038", "bbbc038_nuclei", "nucleus", _NUCLEUS_HEADS),
    ("nucleus, TNBC", "tnbc_nuclei", "", _NUCLEUS_HEADS),
    ("gland, EBHI-Seg", "ebhi_glands", "gland", ()),
)
"""Sets of the table of instances: title, folder, kind in the tissue collection ("" if it is not part of it), heads."""

_LIMITS = """\
- **Not a medical device.** Not for diagnosis, grading, counting or any decision about a patient.
- There is no head for tumour. The one trained by `recipes/heads.sh` was withdrawn, because it failed on tissue that
  it had not learned from: it scored 0.849 on BCSS (calling everything tumour: 0.700), 0.501 on CAMELYON (0.681) and
  0.026 on a third set (0.680). The rows about it are kept.
- Trained on colorectal glands, a few dozen fields of nuclei and two tumour regions; other organs, stains
  (immunohistochemistry, frozen sections) and scanners have not been measured.
- The validation splits are small. Treat differences of a few points as noise.
- One point in a large, irregular gland is ambiguous; add a second point or draw a box. On 50 glands of more than
  5,700 px in 36 validation images, a point at the centre gave a mean IoU of 0.50, and the best of the three
  candidates 0.52. Preferring larger candidates adds 0.01 (chosen on 52 training glands), so it was not adopted.
- Objects should measure 10 to 600 px at the scale of the tile. Very small nuclei are missed in an overview; zoom
  in to see them at twice the scale.
- `nucleus-instance` was trained for 8 minutes on 107 images. A wider network (48 channels, 800 steps, soft targets,
  new variants during training, the HGSC image added, 11 images kept back) was not better: PQ 0.481 on TNBC and 0.512
  on BBBC038, so the weights were kept. They come from an earlier version of the recipe, which gives similar weights
  but not the same. Whole-slide runs separate its objects by their shape, not by the predicted depth.
- "Everything" misses many small, dense nuclei: on H&E fields with 27 to 295 nuclei, F1 was 0.20 to 0.54, in all no
  better than a watershed on haematoxylin (0.47 and 0.49). On 16 images of glands it outlined 76 of 96 glands (mean IoU
  0.87), but also returned 242 other masks, so F1 was 0.37; delete those before you use the result. The settings were
  chosen on six training images.
- `nucleus-cnn` was trained on fields of nuclei only. In H&E tissue with small nuclei (smaller than about 8 px on
  a tile of 224 px) it outlines glands or nests of tumour instead; check its result, or prompt nuclei one by one.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Score the model and write its card.

    Args:
        argv: Command-line arguments; by default those of this process.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_card", description=__doc__)
    add_prompt_arguments(parser)
    parser.add_argument("--card", type=Path, required=True, metavar="FILE", help="the card to write")
    parser.add_argument(
        "--copy",
        type=Path,
        metavar="FILE",
        help="also write the card, without pictures and links, to this file",
    )
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="HEAD",
        help="also score this head, on the dataset it was trained on; repeatable",
    )
    parser.add_argument(
        "--instances",
        type=int,
        default=0,
        metavar="COUNT",
        help="also segment the objects of at most COUNT images of each set without prompts (default: none)",
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--json", action="store_true", help="print the scores as one JSON object")
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed its error or the help
        return int(stop.code or 0)
    try:
        with overriding(device=args.device):
            _run(args, Output(as_json=args.json))
    except SampathError as error:
        sys.stderr.write(f"model_card: {error}\n")
        return 1
    return 0


def _run(args: argparse.Namespace, output: Output) -> None:
    shipped = tiny.SAMPATH_TINY.weights
    weights: Path = args.weights or shipped
    if args.model not in (None, tiny.INFO.name):
        raise WeightsError(f"The model card describes {tiny.INFO.name}; omit --model {args.model}.")
    beside = [load_head(name) for name in args.beside]
    worst = WorstPredictions()
    model, scores = score_prompts(args, output, worst)
    is_package = weights.samefile(shipped) and not args.images
    packaged = [load_head(name) for name in list_bundles()] if is_package else []
    reports = _score_heads(
        [(head, folder) for head in packaged for folder in _training_data(head, args) if folder.is_dir()]
        + [(head, folder) for head in beside for folder in _training_data(head, args)],
        args,
        model,
        output,
    )
    if args.instances:
        scores.objects.extend(_score_instances(args, model, output))
    write_model_card(args.card, weights, scores.prompts, reports, worst, scores.objects)
    if args.copy:
        args.copy.write_text(as_plain_text(args.card.read_text(encoding="utf-8")), encoding="utf-8")
    output.note(f"Wrote {args.card}.")
    output.result({**scores.as_dict(args.split), "heads": reports}, scores.as_text())


def _score_heads(
    heads: Sequence[tuple[LoadedHead, Path]], args: argparse.Namespace, model: Model, output: Output
) -> list[dict[str, Any]]:
    """Score heads, each on the folder of a dataset that it was trained on."""
    reports = []
    for head, folder in heads:
        own = model if model.name == head.encoder_name else None
        # Scoring the prompts took long, so an unsuitable head must not discard their scores.
        try:
            reports.append(output.run(evaluate_job(folder, head, args.split, own, args.max_images)))
        except SampathError as error:
            output.note(f"'{head.name}' is not on the card: {error}")
    return reports


def _score_instances(args: argparse.Namespace, model: Model, output: Output) -> list[InstanceScore]:
    """Segment the objects of images of each set without prompts, nuclei also with the heads for nuclei."""
    scores = []
    for title, folder, kind, heads in _INSTANCE_SETS:
        path = Path(args.data) / folder
        if not path.is_dir():
            output.note(f"'{title}' is not on the card: {path} does not exist.")
            continue
        every = (
            read_instances(Path(args.data), args.split, (kind,)) if kind else read_instances(path, args.split)
        )
        images = choose_evenly(
            every, args.instances, 0, lambda image: (image.kind.name, image.case or image.name)
        )
        rows = output.run(evaluate_instances(model, [load_head(name) for name in heads], images))
        scores += [dataclasses.replace(row, kind=title) for row in rows]
    return scores


def _training_data(head: LoadedHead, args: argparse.Namespace) -> list[Path]:
    """Return the folders of the datasets that a head was trained on, below the folder given as --data."""
    return [Path(args.data) / name for name in str(head.metadata.data.get("name")).split(" + ")]


def write_model_card(
    path: Path,
    weights: Path,
    scores: Sequence[PromptScore],
    reports: Sequence[Mapping[str, Any]] = (),
    worst: WorstPredictions | None = None,
    instance_scores: Sequence[InstanceScore] = (),
) -> Path:
    """Write the card as Markdown.

    Args:
        path: File to write.
        weights: Weights file that the scores belong to.
        scores: Result of `evaluate_prompts`.
        reports: Results of `evaluate` for trained heads.
        worst: The worst predictions, shown in `images/NAME-failures.jpg` next to the card.
        instance_scores: Result of `evaluate_instances`.

    Returns:
        `path`.
    """
    record = read_training_record(weights)
    text = f"""# Model card: {tiny.INFO.name}

Written by `python -m benchmarks.model_card`; do not edit.

| | |
|---|---|
| task | promptable segmentation of H&E tissue with SAM's interface: 1,024 px in, embedding (256, 64, 64) |
| encoder | timm `{tiny.SAMPATH_TINY.backbone}` fused on the 64 x 64 grid, from random weights |
| decoder | SAM's prompt encoder (prompts also rendered as maps) and mask decoder, from random weights |
| file | `{weights.name}`, {weights.stat().st_size / 1e6:.1f} MB, float16 safetensors |
| sha256 | `{_sha256(weights)}` |
| licence | {tiny.INFO.licence} |
| trained on | {json.dumps(record.get("data", {}))} images (train splits only) |
| training | {_hours(record)} |

## Scores

Mean IoU over all objects of the validation splits, which are made by case or parent field, never by file.
Box: the object's bounding box. Point: the pixel farthest from the object's edge; of the three candidates, the one with
the highest predicted IoU is scored. Nuclei have at least 20 px; glands are connected components of at least 400 px.
"{POINTS}": the number of points until the mask reaches that IoU, each in the middle of the largest error, or
{MAX_POINTS} if it is not reached; measured on a random sample of the objects of each image. "High resolution":
nuclei on tiles of half the side, as in a session after zooming in. "Colours x": saturation and brightness
are multiplied, and the hue is shifted. The 95 % intervals are over cases, which are few: the nuclei come from a few
parent fields, the tumour from one patient.

{_markdown(prompt_table(scores))}
{_heads(reports)}{_instances(instance_scores)}{_failures(path, worst)}## Data

{_ATTRIBUTION}
## Recipe

{_recipe(record, "pretrain")}

{_beside(weights)}## Limits

{_LIMITS}"""
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def as_plain_text(card: str) -> str:
    """Return a card without its pictures and links to other pages, which are in the documentation only."""
    lines = [line for line in card.splitlines(keepends=True) if not line.startswith("![")]
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", "".join(lines))


def _markdown(table: Table) -> str:
    headings, rows = table
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _stages(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the record of each training stage, in order."""
    start = record.get("start")
    before = _stages(start) if isinstance(start, dict) else []
    return [*before, record] if "recipe" in record else before


def _hours(record: dict[str, Any]) -> str:
    """Return the total training time."""
    hours = [float(stage["hours"]) for stage in _stages(record) if "hours" in stage]
    return f"{sum(hours):.1f} h in {len(hours)} stages, see Recipe" if hours else "unknown"


def _recipe(record: dict[str, Any], name: str) -> str:
    """Return the command of each training stage in order, with the options that differ from a recipe."""
    defaults = dataclasses.asdict(recipe(name))
    stages = _stages(record)
    if not stages:
        return "Unknown: the file does not contain it."
    first = stages[0].get("start")
    start = str(first["file"]) if isinstance(first, dict) else str(first)
    lines = []
    for number, stage in enumerate(stages, start=1):
        words = ["sampath", "tune", "--recipe", name, "--data", "FOLDER", "--start", start]
        start = f"stage{number}.safetensors"
        words += ["-o", start]
        if "merged" in stage:
            words += ["--merge", *(f"stage{len(_stages(merged))}.safetensors" for merged in stage["merged"])]
        if stage.get("model", tiny.INFO.name) != tiny.INFO.name:
            words += ["--model", stage["model"]]
        for field, value in stage["recipe"].items():
            flag = f"--{field.replace('_', '-')}"
            if value in ("", defaults.get(field, value)):
                continue
            words += (
                [flag if value else f"--no-{flag[2:]}"] if isinstance(value, bool) else [flag, str(value)]
            )
        notes = [f"{stage[key]}{unit}" for key, unit in (("hours", " h"), ("hardware", "")) if key in stage]
        if "stopped_after" in stage:
            notes.append(f"stopped after {stage['stopped_after']} steps")
        lines += [f"# {', '.join(notes)}", " ".join(words)]
    return "```bash\n" + "\n".join(lines) + "\n```"


def _beside(weights: Path) -> str:
    """Return the section on the other files in the package; empty unless `weights` is the shipped file."""
    second = tiny.MODELS[tiny.PATH_INFO.name].weights
    if not (weights.samefile(tiny.SAMPATH_TINY.weights) and second.is_file()):
        return ""
    files = [second, *(Path(load_head(name).source) for name in list_bundles())]
    rows = [[f"`{file.stem}`", f"{file.stat().st_size / 1e6:.1f} MB", f"`{_sha256(file)}`"] for file in files]
    return (
        "## Other files in the package\n\nHeads are trained by `recipes/heads.sh`. `sampath-tiny-path` (timm "
        f"`{tiny.MODELS[tiny.PATH_INFO.name].backbone}`, fused like the encoder above) was trained only on dense "
        "targets:\n\n"
        f"{_recipe(read_training_record(second), 'dense')}\n\n{_markdown((['file', 'size', 'sha256'], rows))}\n"
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _failures(card: Path, worst: WorstPredictions | None) -> str:
    """Save an image of the worst predictions next to the card, and return the section that describes it."""
    if worst is None or not worst.rows():
        return ""
    file = card.parent / "images" / f"{card.stem}-failures.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(worst.image())
    write_atomically(file, lambda stream: image.save(stream, format="JPEG", quality=85))
    rows = "; ".join(worst.rows())
    return (
        "## Known failures\n\nThe worst predictions of the scores above, with the true outline in green and the "
        f"predicted one in yellow. Rows from the top: {rows}. Images: see Data.\n\n![the worst predictions]"
        f"(images/{file.name})\n\n"
    )


def _heads(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return the section on trained heads; empty if none was scored."""
    if not reports:
        return ""
    rows = []
    for report in reports:
        images = f"{report['images']} of {report['dataset']} ({report['split']})"
        for method, scores in report["scores"].items():
            mean, pooled = scores["per_image"]["mean"], scores["pooled"]["mean"]
            values = map(format_score, (mean["dice"], mean["iou"], pooled["dice"]))
            rows.append([f"`{report['head']}`", images, method, *values])
    headings = ["head", "images", "method", "mean Dice", "mean IoU", "pooled Dice"]
    return (
        "## Heads in the package\n\nMeans are over images; pooled scores count the pixels of all images together. "
        "Background is not counted. `unet` heads are baselines, trained from random weights by `recipes/baselines.sh` "
        "and not shipped. `unet-gland` is trained on as few images as the shipped heads; the [results](results.md) "
        "include a U-Net trained on all images. An image without tumour has no Dice, so read the pooled Dice of "
        "tumour; the weight of tumour pixels in training was chosen on these images.\n\n"
        f"{_markdown((headings, rows))}\n"
    )


def _instances(scores: Sequence[InstanceScore]) -> str:
    """Return the section on instance segmentation; empty if it was not scored."""
    if not scores:
        return ""
    return (
        "## Instance segmentation\n\nNo prompts are given. PQ is the panoptic quality and AJI the aggregated Jaccard "
        'index; objects match at an IoU above 0.5. "Everything" uses the settings of the model. The settings '
        f"that separate touching objects were partly chosen on these images.\n\n{_markdown(object_table(scores))}\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
