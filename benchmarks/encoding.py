"""Time of a ViT-B encoder compared with `segment_anything`, and accuracy of masks in reduced precision.

    python -m benchmarks encoding

Timings use random weights, including position embeddings. Masks are compared with the trained weights of sampath-tiny,
on the validation images of SAMPATH_DATA.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from segment_anything.modeling import ImageEncoderViT
from torch.overrides import TorchFunctionMode

from napari_sampath import load_model
from napari_sampath.config import cpu_has_bfloat16
from napari_sampath.encoders.sam.image_encoder import ImageEncoder
from napari_sampath.encoders.sam.sam import OFFICIAL
from napari_sampath.encoders.sam.sam_format import Architecture
from napari_sampath.predict import Model

from .table import Row, alternate, limited, timed

if TYPE_CHECKING:
    from napari_sampath.arrays import BoolArray
    from napari_sampath.training.data.instances import InstanceImage

SMALL = Architecture(64, 3, 2, (1,), window=5, input_px=256)
DATA = Path(os.environ.get("SAMPATH_DATA") or Path(__file__).parent.parent / "../shared/data").resolve()
GOLDEN = Path(os.environ.get("SAMPATH_GOLDEN") or Path(__file__).parent.parent / "../shared/golden").resolve()
IMAGES = 40
"""Number of validation images of each kind of tissue, spread over the split."""


def rows(quick: bool = False) -> Iterator[Row]:
    """Time the encoder, then compare masks; `quick` uses a small network and few images."""
    architecture = SMALL if quick else OFFICIAL["vit_b"]
    ours, theirs = networks(architecture)
    pixels = torch.randn(1, 3, architecture.input_px, architecture.input_px)
    with torch.inference_mode():
        yield from on_cpu(ours, theirs, pixels)
    yield from masks(quick)


def networks(architecture: Architecture) -> tuple[ImageEncoder, ImageEncoderViT]:
    """Build both encoders with the same random weights."""
    torch.manual_seed(0)
    theirs = ImageEncoderViT(
        img_size=architecture.input_px,
        embed_dim=architecture.embed_dim,
        depth=architecture.depth,
        num_heads=architecture.heads,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=architecture.window,
        global_attn_indexes=architecture.global_blocks,
    )
    for name, parameter in theirs.requires_grad_(False).named_parameters():
        if "pos" in name:
            parameter.normal_(0, 0.3)
    ours = ImageEncoder(architecture, 256).requires_grad_(False)
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


def on_cpu(ours: ImageEncoder, theirs: ImageEncoderViT, pixels: torch.Tensor) -> Iterator[Row]:
    calls: dict[str, Callable[[], object]] = {"ours": lambda: ours(pixels), "theirs": lambda: theirs(pixels)}
    threads = torch.get_num_threads()
    yield timed(
        f"encode ViT-B, {pixels.shape[-1]:,} px, CPU float32", alternate(calls), 1.25, f"{threads} threads"
    )
    difference = (ours(pixels)[0] - theirs(pixels)).abs().max().item()
    yield limited("largest difference of the embedding", difference, 1e-4, "(absolute)")


def masks(quick: bool) -> Iterator[Row]:
    """Compare masks from bfloat16 and float32 features for box prompts."""
    from napari_sampath.training.data.instances import SETS

    if not DATA.is_dir():
        missing = f"no images in {DATA}; set SAMPATH_DATA to their folder"
        yield Row("masks in bfloat16", "not measured", "IoU at least 0.99", None, None, missing)
        return
    exact = load_model("sampath-tiny", device="cpu", precision="float32")
    for kind in dict.fromkeys(image_set.kind for image_set in SETS):
        yield compare_masks(exact, kind, 2 if quick else IMAGES, 1.0)
    if not quick and (GOLDEN / "procweights.py").exists():
        # Untrained weights give small logits, which makes masks sensitive to rounding, so no target is set.
        yield compare_masks(procedural_vit_b(), "nucleus", 2, None)


def compare_masks(exact: Model, kind: str, images: int, bar: float | None) -> Row:
    from napari_sampath.training.data.instances import read_instances

    available = read_instances(DATA, "val", (kind,))
    chosen = available[:: max(1, len(available) // images)][:images]
    ious = np.concatenate([agreement(exact, image) for image in chosen])
    note = f"{len(ious)} objects of {len(chosen)} images; 1 in 100 below {np.quantile(ious, 0.01):.3f}"
    if not cpu_has_bfloat16():
        note += "; bfloat16 emulated by rounding, since this CPU does not support it"
    mean = float(ious.mean())
    what = f"masks in bfloat16 and float32, {exact.name}, {kind}"
    return Row(what, f"IoU {mean:.4f}", "at least 0.99", mean / 0.99, bar, note)


def procedural_vit_b() -> Model:
    """Build a ViT-B with the procedural weights of the golden cases."""
    from napari_sampath.encoders import EncoderInfo
    from napari_sampath.encoders.sam.sam import assemble

    source = importlib.util.spec_from_file_location("procweights", GOLDEN / "procweights.py")
    if source is None or source.loader is None:
        raise FileNotFoundError(GOLDEN / "procweights.py")
    make = importlib.util.module_from_spec(source)
    source.loader.exec_module(make)
    recipe = make.load_json(GOLDEN / "cases.json")["cases"]["sam.vit_b_full"]["weights"]
    manifest = make.load_json(GOLDEN / "manifests" / f"{recipe['manifest'].removesuffix('.json')}.json")
    state = make.state_dict(manifest, recipe["seed"], scale=recipe.get("scale"))
    info = EncoderInfo("vit_b with procedural weights", "", "none", "", True, 0.0)
    return Model(assemble(state, OFFICIAL["vit_b"], info))


def agreement(exact: Model, image: InstanceImage) -> list[float]:
    """Prompt every object by its box; return the IoU between the masks from bfloat16 and float32 features."""
    from napari_sampath.training.evaluation.prompt_evaluation import bounding_box, iou

    boxes = [bounding_box(image.instances == index) for index in image.objects()]
    if not boxes:
        return []

    def answers() -> list[BoolArray]:
        masks = exact.predict_boxes(exact.encode(image.pixels), boxes)
        return [local.to_dense(image.instances.shape) for local, _ in masks]

    reference = answers()
    with Reduced(exact):
        reduced = answers()
    return [iou(mask, expected) for mask, expected in zip(reduced, reference, strict=True)]


class Reduced(TorchFunctionMode):
    """Run the encoder in bfloat16, or emulate it by rounding on a CPU without bfloat16.

    Operands and results of matrix products and convolutions are rounded; devices accumulate their sums in float32.
    Everything else runs in float32, as under `torch.autocast`.
    """

    names = frozenset(
        ("linear", "conv2d", "matmul", "bmm", "einsum", "__matmul__", "scaled_dot_product_attention")
    )

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.inside = False
        self.hooks: list[Any] = []

    def __enter__(self) -> Reduced:
        encoder = self.model.encoder
        self.hooks = [
            encoder.register_forward_pre_hook(lambda *_: setattr(self, "inside", True)),
            encoder.register_forward_hook(lambda *_: setattr(self, "inside", False)),
        ]
        super().__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        for hook in self.hooks:
            hook.remove()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not (self.inside and function.__name__ in self.names):
            return function(*args, **kwargs)
        if cpu_has_bfloat16():
            with torch.autocast("cpu", torch.bfloat16):
                return function(*args, **kwargs).float()
        rounded = [_round(value) for value in args]
        return _round(function(*rounded, **{key: _round(value) for key, value in kwargs.items()}))


def _round(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.bfloat16().float()
    return value
