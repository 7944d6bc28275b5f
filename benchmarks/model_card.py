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

from napari_sampath.cli.commands.dataset import open_instances
from napari_sampath.cli.commands.evaluate import add_prompt_arguments, score_prompts
from napari_sampath.cli.output import Output
from napari_sampath.config import overriding
from napari_sampath.encoders.tiny import tiny
from napari_sampath.errors import SampathError, WeightsError
from napari_sampath.files import write_atomically
from napari_sampath.heads import LoadedHead, list_bundles, load_head
from napari_sampath.jobs import Job
from napari_sampath.predict import Model
from napari_sampath.training import evaluate_job
from napari_sampath.training.data.dataset import choose_evenly
from napari_sampath.training.data.instances import GLAND, InstanceImage, read_instances
from napari_sampath.training.data.readers import open_dataset
from napari_sampath.training.evaluation.failures import WorstPredictions
from napari_sampath.training.evaluation.instance_evaluation import InstanceScore, evaluate_instances
from napari_sampath.training.evaluation.prompt_evaluation import (
    MAX_POINTS,
    POINTS,
    PromptScore,
    evaluate_prompts,
)
from napari_sampath.training.evaluation.report import Table, format_score, object_table, prompt_table
from napari_sampath.training.heads.mosaics import whole_mosaics
from napari_sampath.training.prompts.config import recipe
from napari_sampath.training.prompts.tune import read_training_record

from . import scales
from .scales import ScaleScore, scale_table, score_scales

LARGE_PX = 5700
"""Area of a large gland; about a third of the glands of the validation images are larger."""

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

_FAILURES = """\
**Where it fails.** One point in a large gland gives a mean IoU of 0.66, one point on a nucleus 0.62 to 0.64, and
tumour is not outlined usefully by any prompt (box 0.58). F1 of "everything" is 0.58 to 0.73, that of
`nucleus-instance` 0.69 to 0.76: many small or dense nuclei are missed. The gland heads fail most often on
adenocarcinoma, were trained and measured on images of one set of colorectal tissue only, and are less accurate the
smaller the glands appear on a tile (see "Gland heads by scale"); `gland-autosam` has learned from one scale only.
There is no head for tumour. The rows below say how this was measured.
"""

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
- Objects of `nucleus-instance` whose mean probability is below 0.7 are dropped on images (chosen on 17 training images
  of 16 patients or fields, on which PQ rose from 0.434 to 0.510 on TNBC and from 0.504 to 0.513 on BBBC038). Most of
  its other mistakes are missed nuclei, false ones and rough outlines, also on the training images. Not better there:
  tiles of half the side, alone (PQ 0.299 and 0.475) or averaged with whole ones (0.362 and 0.517), another threshold or
  depth, and the decoder's outlines only where its predicted IoU is high (at most 0.007 more).
- Choosing another of the three answers to a point would help nuclei more than glands: on 568 objects of training
  images, a perfect choice would raise the mean IoU from 0.804 to 0.825 on glands, from 0.673 to 0.749 on nuclei of
  BBBC038 and from 0.570 to 0.702 on those of TNBC. No rule found it: by area, stability, or a regression on these
  and the predicted IoU, cross-validated over cases.
- If the component of the best answer to a single point covers more than 0.08 of the tile, the point is decoded again,
  with the bounding box of that component, and the best of three answers replaces it. This limit was chosen on training
  images: 50 large glands rose from 0.646 to 0.689 (component), 305 smaller ones from 0.868 to 0.870, and none of 92
  nuclei was large enough. On 40 validation images of 40 cases, 49 large glands rose from 0.591 to 0.662 (component:
  0.620 to 0.657), and 229 smaller ones from 0.884 to 0.889 (0.892 to 0.894); no mask changed of 639 nuclei of BBBC038,
  260 of TNBC (2 of 7 images) and 55 tumour nests (18 images). The rows of single points above were measured before
  this was done. The points needed for IoU 0.80 did not change on training images (23 large glands: 2.57, 60 others:
  1.57). A second decoding of all answers lowers nuclei by 0.02 to 0.03.
- The grid of 256 x 256 logits does not limit the outlines of nuclei: the published masks of training images, put on
  that grid and enlarged again, reach an IoU of 0.996 on 2,533 nuclei of BBBC038 and HGSC, and 0.993 on 1,387 of TNBC.
  The nuclei are small (median area 295 and 354 px): a shift of the published mask by 1 px lowers its IoU to 0.859 and
  0.868, dilation by 1 px to 0.807 and 0.828, erosion to 0.768 and 0.801. Boxes reach 0.787 and 0.813 on the
  validation images, about as much as masks that are 1 px too wide or too narrow.
- It is not known whether features at stride 4 sharpen masks. A network that corrects the logits from the features of
  the stem at stride 4 and the image at stride 2 was trained on 338 prompts for only 237 steps, with the model frozen.
  On 16 nuclei of TNBC in training images that were kept back, boxes fell from 0.819 to 0.738, and on 6 glands they
  stayed at 0.956 and 0.957. That is too short a training to decide.
- Training the prompt encoder and mask decoder of `sampath-tiny` for 450 more steps, also on TNBC, with the encoder
  frozen, was not adopted: one point rose from 0.642 to 0.666 on TNBC and from 0.615 to 0.619 on BBBC038, but fell from
  0.833 to 0.823 on glands and from 0.591 to 0.577 on large ones; boxes changed by less than 0.005.
- `gland-autosam`, trained for two epochs with 225 mosaics as `gland-sampath` was, was not adopted: pooled Dice of 0.922
  on 208 single images (the shipped file: 0.930). After the first of them it was 0.922, and 0.929 and 0.877 on 2 x 2 and
  4 x 4 images in one tile.
- "Everything" is prompted with the boxes of the objects of a head, too, because points alone missed many small, dense
  nuclei (F1 0.47 on TNBC, a watershed on haematoxylin has 0.49; 0.57 on BBBC038). The head is `gland-cnn` if the image
  is like its training images, because it finds false glands elsewhere (with it, F1 on six training images of TNBC was
  0.53 instead of 0.73), and otherwise `nucleus-instance`. Boxes were chosen on 38 training images: masks of the heads
  without the decoder gave the same F1 on nuclei (0.74 and 0.67, boxes 0.73 and 0.68), but lowered glands more where
  `gland-cnn` is not used (from 0.61 to 0.40, boxes: 0.57). Where solid adenocarcinoma, in the reference one region of
  over half the image, is not like the training images, nuclei and parts of it are outlined. The other settings were
  chosen on six training images.
- The worst predictions on the validation images, two of each kind. Gland, box: thin strips along the edge of the
  tissue, of which the mask outlines the neighbouring glands instead (both). Gland, point: solid adenocarcinoma that
  fills the image; the mask is one lumen, or nearly nothing. Nucleus of TNBC, box: the reference is a sliver along a
  spindle-shaped nucleus, the mask the whole nucleus (both). Nucleus of TNBC, point: a large pale nucleus, of which the
  mask is one nucleolus (both). Nucleus of BBBC038, box: a nucleus out of focus, hardly visible, of which the mask has a
  few pixels (both). Nucleus of BBBC038, point: the same; the mask is pieces of its neighbours, or nothing. Tumour: the
  mask outlines single nuclei, not the nest.
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
    images = large_objects(
        choose_evenly(
            open_instances(args, args.split),
            args.max_images,
            0,
            lambda image: (image.kind.name, image.case or image.name),
        )
    )
    images += _tnbc(args)
    if images:
        scores.prompts.extend(output.run(evaluate_prompts(model, images, baselines=False)))
    scale_scores: list[ScaleScore] = []
    try:
        scale_scores = output.run(_scale_job(packaged, args))
    except SampathError as error:
        output.note(f"The gland heads by scale are not on the card: {error}")
    if args.instances:
        scores.objects.extend(_score_instances(args, model, output))
    write_model_card(args.card, weights, scores.prompts, reports, worst, scores.objects, scale_scores)
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


def large_objects(images: Sequence[InstanceImage]) -> list[InstanceImage]:
    """Return the images with large glands, of which only these are prompted for."""
    large = [
        dataclasses.replace(
            image,
            kind=dataclasses.replace(image.kind, name=f"gland of {LARGE_PX:,} px or more"),
            min_area_px=LARGE_PX,
        )
        for image in images
        if image.kind.name == GLAND.name
    ]
    return [image for image in large if image.objects()]


def _tnbc(args: argparse.Namespace) -> list[InstanceImage]:
    """Return the images of TNBC, which is not part of the collection that the model was trained on."""
    folder = Path(args.data or "") / "tnbc_nuclei"
    if not args.data or not folder.is_dir():
        return []
    images = read_instances(folder, args.split)
    return [
        dataclasses.replace(image, kind=dataclasses.replace(image.kind, name="nucleus, TNBC"))
        for image in images
    ]


def _scale_job(heads: Sequence[LoadedHead], args: argparse.Namespace) -> Job[list[ScaleScore]]:
    """Score the gland heads at several scales, if there are enough images."""
    folder = Path(args.data) / scales.FOLDER
    if not (heads and folder.is_dir()):
        return []
    dataset = open_dataset(folder)
    if not whole_mosaics(dataset.split(args.split), 1, scales.IMAGES):
        return []
    rows = []
    for head in heads:
        if head.metadata.data.get("name") == dataset.name:
            rows += yield from score_scales(head, dataset, args.split)
    return rows


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
    scale_scores: Sequence[ScaleScore] = (),
) -> Path:
    """Write the card as Markdown.

    Args:
        path: File to write.
        weights: Weights file that the scores belong to.
        scores: Result of `evaluate_prompts`.
        reports: Results of `evaluate` for trained heads.
        worst: The worst predictions, shown in `images/NAME-failures.jpg` next to the card.
        instance_scores: Result of `evaluate_instances`.
        scale_scores: Results of `score_scales`.

    Returns:
        `path`.
    """
    record = read_training_record(weights)
    text = f"""# Model card: {tiny.INFO.name}

{_FAILURES}
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
are multiplied, and the hue is shifted. The patients of TNBC were not trained on. The 95 % intervals are over cases,
which are few: the nuclei come from a few parent fields or patients, the tumour from one patient.

{_markdown(prompt_table(scores))}
{_heads(reports)}{_scales(scale_scores)}{_instances(instance_scores)}{_failures(path, worst)}## Data

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


def _scales(scores: Sequence[ScaleScore]) -> str:
    """Return the section on gland heads at several scales; empty if they were not scored."""
    if not scores:
        return ""
    return (
        "## Gland heads by scale\n\nThe same tissue of the validation split as single images, and as mosaics of 2 x 2 "
        "and 4 x 4 neighbouring images, each as one tile (`python -m benchmarks.scales`). Scale: pixels of the "
        f"encoder's input for each pixel of the image.\n\n{_markdown(scale_table(scores))}\n"
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
