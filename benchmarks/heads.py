"""SAM-Path's single decoder pass for all classes, compared with one pass of `segment_anything`'s decoder per class."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .table import REPEATS, Row, alternate, timed

CLASSES = 5


def rows(quick: bool = False) -> Iterator[Row]:
    """Time five classes on the features of one tile."""
    from napari_sampath.arrays import ClassInfo, FeatureMap, FeatureSpec
    from napari_sampath.encoders.sam.prompt_parts import build_mask_decoder, build_prompt_encoder
    from napari_sampath.heads import create

    torch.manual_seed(0)
    classes = [ClassInfo(k + 1, f"class {k + 1}", (40 * k, 0, 0)) for k in range(CLASSES)]
    spec = FeatureSpec((FeatureMap("embedding", 256, "sampath-tiny"),))
    embedding = torch.randn(1, 256, 64, 64)
    decoder, prompts = build_mask_decoder().eval(), build_prompt_encoder().eval()

    def one_by_one() -> None:
        sparse, dense = prompts(None, None, None)
        position = prompts.get_dense_pe()
        for _ in classes:
            decoder(embedding, position, sparse, dense, multimask_output=False)

    for variant in ("sam_only", "fusion"):
        head = create("sampath", spec, classes, variant=variant).eval()
        with torch.inference_mode():
            medians = alternate(
                {"theirs": one_by_one, "ours": lambda head=head: head({"embedding": embedding})},
                2 if quick else REPEATS,
            )
        name = (
            f"SAM-Path head ({variant}), {CLASSES} classes, compared with {CLASSES} one-class decoder passes"
        )
        yield timed(name, medians, None if quick else 3.0, "one tile, encoding not included")
