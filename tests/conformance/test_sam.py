"""SAM, as loaded and run by this package, against the reference implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from segment_anything.modeling.image_encoder import get_rel_pos, window_partition, window_unpartition

from napari_sampath.arrays import Prompts
from napari_sampath.encoders import EncoderInfo, EncoderParts
from napari_sampath.encoders.base import resize_longest_side
from napari_sampath.encoders.sam.sam import OFFICIAL, assemble
from napari_sampath.encoders.sam.sam_format import deduce, sam_keys
from napari_sampath.geometry import Frame, whole
from napari_sampath.predict import Model
from napari_sampath.predict.decoder.mask_upscaling import image_logits, local_mask
from support.golden import assert_matches, load_procweights, uniform

if TYPE_CHECKING:
    from support.golden import Golden

INFO = EncoderInfo("golden-sam", "Procedural weights.", "none", "", True, 0.0)
SMALL = whole((180, 300), input_px=256)
PROMPTS = ["none", "point1", "points3", "points_pad", "box", "box2", "box_points", "mask", "point_mask_b2"]


def parts_of(golden: Golden, case: str) -> EncoderParts:
    recipe = golden.case(case)["weights"]
    state = sam_keys(golden.weights(recipe["manifest"], recipe["seed"], recipe.get("scale")), case)
    return assemble(state, deduce(state, case), INFO)


@pytest.fixture(scope="module")
def small(golden: Golden) -> Model:
    """The reduced SAM of the golden cases: input of 256 px, 16 x 16 grid."""
    return Model(parts_of(golden, "sam.encoder"), torch.device("cpu"))


def inputs(golden: Golden, case: str) -> dict[str, torch.Tensor]:
    described: dict[str, Any] = golden.case(case)["inputs"]
    return {
        name: golden.build(recipe)
        for name, recipe in described.items()
        if isinstance(recipe, dict) and "kind" in recipe
    }


@pytest.mark.parametrize("shape", [(), (7,), (3, 70_000)])
def test_weights_are_those_of_the_golden_cases(golden: Golden, shape: tuple[int, ...]) -> None:
    """The tests generate them in chunks."""
    expected = load_procweights(golden.folder).uniform("blocks.0.weight", shape, 3, -0.2, 0.7)
    assert torch.equal(uniform("blocks.0.weight", shape, 3, -0.2, 0.7), expected)
    assert golden.make.uniform is uniform


def test_small_architecture_is_deduced_from_the_weights(golden: Golden) -> None:
    described = golden.case("sam.encoder")["model"]["image_encoder"]
    found = deduce(golden.weights("sam_small", 1), "sam_small")
    assert found.embed_dim == described["embed_dim"]
    assert found.depth == described["depth"]
    assert found.heads == described["num_heads"]
    assert found.window == described["window_size"]
    assert list(found.global_blocks) == described["global_attn_indexes"]
    assert found.input_px == described["img_size"]


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_official_architectures_are_deduced_from_shapes(golden: Golden, name: str) -> None:
    manifest = golden.make.load_json(golden.folder / "manifests" / f"sam_{name}.json")
    state = {key: torch.empty(shape, device="meta") for key, (shape, _) in manifest.items()}
    assert deduce(sam_keys(state, name), name) == OFFICIAL[name]


def test_resize_rules(golden: Golden) -> None:
    given = inputs(golden, "sam.resize_rules")
    sizes = [whole((int(h), int(w))).input_hw for h, w in given["sizes_hw"]]
    assert_matches(golden, "sam.resize_rules", "new_sizes_hw", np.array(sizes))
    assert_matches(golden, "sam.resize_rules", "points_xy", SMALL.to_input(given["points_xy"].numpy()))


def test_encoder(golden: Golden, small: Model) -> None:
    case = "sam.encoder"
    image = inputs(golden, case)["image_u8"].numpy()
    assert_matches(golden, case, "resized_u8", resize_longest_side(image, SMALL))
    assert_matches(golden, case, "preprocessed", small.encoder.preprocess(image, SMALL)[None])
    vit = small.encoder.image_encoder
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        block.register_forward_hook(lambda _m, _i, out, name=f"block{index}": seen.update({name: out}))
        for index, block in enumerate(vit.blocks)
    ]
    hooks.append(vit.blocks[0].register_forward_pre_hook(lambda _m, args: seen.update(after_pos=args[0])))
    features = small.encode(image)
    for hook in hooks:
        hook.remove()
    assert features.frame == SMALL
    for name in ("after_pos", "block0", "block1", "block2", "block3"):
        assert_matches(golden, case, name, seen[name])
    assert_matches(golden, case, "embedding", features.maps["embedding"][None])
    np.testing.assert_array_equal(features.maps["tokens"], seen["block3"][0].permute(2, 0, 1))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts(golden: Golden, small: Model, prompt: str) -> None:
    case = f"sam.prompt.{prompt}"
    given = inputs(golden, case)
    points = (given["point_coords_xy"], given["point_labels"]) if "point_coords_xy" in given else None
    boxes, masks = given.get("boxes_xyxy"), given.get("mask_logits")
    decoder = small.decoder
    assert decoder is not None
    with torch.inference_mode():
        sparse, dense = decoder.prompt_encoder(points, boxes, masks)
        assert_matches(golden, case, "sparse", sparse)
        assert_matches(golden, case, "dense", dense)
        active = decoder.activate(given["image_embedding"][0])
        for multimask, suffix in ((True, "multi"), (False, "single")):
            logits, scores = decoder(active, points, boxes, masks, multimask)
            assert_matches(golden, case, f"low_res_{suffix}", logits)
            assert_matches(golden, case, f"iou_{suffix}", scores)


def test_dense_position(golden: Golden, small: Model) -> None:
    assert small.decoder is not None
    assert_matches(golden, "sam.dense_pe", "dense_pe", small.decoder.position)


def test_transformer(golden: Golden, small: Model) -> None:
    assert small.decoder is not None
    mask_decoder = small.decoder.mask_decoder
    tokens = torch.cat([mask_decoder.iou_token.weight, mask_decoder.mask_tokens.weight])[None]
    embedding = inputs(golden, "sam.transformer")["image_embedding"]
    queries, keys = mask_decoder.transformer(embedding, small.decoder.position, tokens)
    assert_matches(golden, "sam.transformer", "queries", queries)
    assert_matches(golden, "sam.transformer", "keys", keys)


def test_postprocess(golden: Golden) -> None:
    case = "sam.postprocess"
    low = inputs(golden, case)["low_res"][0].numpy()
    for height, width in golden.case(case)["inputs"]["original_hw"]:
        frame = whole((height, width), input_px=256)
        assert list(frame.input_hw) == golden.case(case)["inputs"]["input_hw"]
        enlarged = np.stack([image_logits(frame, one) for one in low])
        assert_matches(golden, case, f"masks_{height}x{width}", enlarged[None])


def test_forward(golden: Golden, small: Model) -> None:
    # The reference gets the resized image and prompts in its coordinates; its masks have the original size.
    case = "sam.forward"
    image = golden.build(golden.case("sam.encoder")["inputs"]["image_u8"]).numpy()
    features = small.encode(image)
    described = golden.case(case)["inputs"]
    point = golden.build(described["item0"]["point_coords_xy"])[0].numpy()
    box = golden.build(described["item1"]["boxes_xyxy"])[0].numpy().reshape(2, 2)
    answers = (
        small.predict(features, points=SMALL.to_image(point), labels=[1]),
        small.predict(features, box=SMALL.to_image(box).reshape(4)),
    )
    for index, answer in enumerate(answers):
        assert_matches(golden, case, f"item{index}_masks", answer.masks[None])
        assert_matches(golden, case, f"item{index}_iou", answer.scores[None])
        assert_matches(golden, case, f"item{index}_low_res", answer.logits[None])


def test_predictor(golden: Golden, small: Model) -> None:
    case = "sam.predictor"
    given = inputs(golden, case)
    features = small.encode(given["image_u8"].numpy())
    masks = small.predict(
        features, given["point_coords_xy"], given["point_labels"], given["box_xyxy"], multimask=False
    )
    assert_matches(golden, case, "low_res", masks.logits)
    assert_matches(golden, case, "iou", masks.scores)
    enlarged = image_logits(SMALL, masks.logits[0])
    assert_matches(golden, case, "mask_logits", enlarged[None])
    np.testing.assert_array_equal(masks.masks[0], enlarged > 0)


def test_predictor_with_previous_logits(golden: Golden, small: Model) -> None:
    case = "sam.predictor_mask"
    given = inputs(golden, case)
    features = small.encode(given["image_u8"].numpy())
    # Not `Prompts.make`: this reduced model has logits of 64 x 64.
    prompts = Prompts(
        given["point_coords_xy"].double().numpy(),
        given["point_labels"].numpy(),
        mask_logits=given["mask_input"][0].numpy(),
    )
    logits, scores = small.decode(features, prompts)
    assert_matches(golden, case, "low_res", logits)
    assert_matches(golden, case, "iou", scores)
    dense = np.stack([local_mask(SMALL, one).to_dense((180, 300)) for one in logits])
    assert_matches(golden, case, "masks", dense)


def test_relative_position(golden: Golden) -> None:
    case = "sam.relative_position"
    table = inputs(golden, case)["table"]
    for queries, keys in ((16, 16), (14, 14), (20, 10), (10, 20)):
        assert_matches(golden, case, f"q{queries}_k{keys}", get_rel_pos(queries, keys, table))


def test_windows(golden: Golden) -> None:
    given = inputs(golden, "sam.windows")["x"]
    windows, padded_hw = window_partition(given, 14)
    assert_matches(golden, "sam.windows", "windows", windows)
    assert_matches(golden, "sam.windows", "padded_hw", torch.tensor(padded_hw))
    assert torch.equal(window_unpartition(windows, 14, padded_hw, given.shape[1:3]), given)


def test_epsilons(golden: Golden) -> None:
    case = "eps_stress.sam"
    model = Model(parts_of(golden, case), torch.device("cpu"))
    given = inputs(golden, case)
    resized = given["resized_u8"].numpy()
    features = model.encode(resized, Frame(0, 0, *resized.shape[:2], 256))
    assert_matches(golden, case, "embedding", features.maps["embedding"][None])
    decoder = model.decoder
    assert decoder is not None
    with torch.inference_mode():
        assert_matches(golden, case, "dense", decoder.prompt_encoder(None, None, given["mask_logits"])[1])
        logits, scores = decoder.mask_decoder(
            image_embeddings=given["image_embedding"],
            image_pe=decoder.position,
            sparse_prompt_embeddings=torch.zeros(1, 0, 256),
            dense_prompt_embeddings=torch.zeros(1, 256, 16, 16),
            multimask_output=True,
        )
    assert_matches(golden, case, "low_res", logits)
    assert_matches(golden, case, "iou", scores)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 20 s on two idle cores
def test_vit_b_at_full_size(golden: Golden) -> None:
    case = "sam.vit_b_full"
    model = Model(parts_of(golden, case), torch.device("cpu"))
    given = inputs(golden, case)
    image = given["image_u8"].numpy()
    vit = model.encoder.image_encoder
    seen: dict[str, torch.Tensor] = {}
    for index in (0, 2, 5, 8, 11):
        vit.blocks[index].register_forward_hook(
            lambda _m, _i, out, name=f"block{index}": seen.update({name: out})
        )
    features = model.encode(image)
    for name, values in seen.items():
        assert_matches(golden, case, name, values)
    assert_matches(golden, case, "pre_neck", features.maps["tokens"][None])
    assert_matches(golden, case, "embedding", features.maps["embedding"][None])
    answer = model.predict(features, given["point_coords_xy"][0], given["point_labels"][0])
    assert_matches(golden, case, "low_res", answer.logits[None])
    assert_matches(golden, case, "iou", answer.scores[None])
    larger = whole((1536, 2048))
    assert larger.input_hw == (768, 1024)
    enlarged = np.stack([image_logits(larger, one) for one in answer.logits])
    assert_matches(golden, case, "masks_1536x2048", enlarged[None])
