"""Prompt encoder and mask decoder of sampath-tiny: maps of prompts, and the U-Net that spreads them."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import MaskDecoder, TwoWayTransformer
from torch import Tensor

from napari_sampath.encoders.tiny import tiny
from napari_sampath.encoders.tiny.tiny_prompts import REACH_PX, MapPromptEncoder, SpreadingMaskDecoder


@pytest.fixture(scope="module")
def drawing() -> MapPromptEncoder:
    torch.manual_seed(0)
    return MapPromptEncoder().eval()


def points(*marks: tuple[float, float, int]) -> tuple[Tensor, Tensor]:
    return torch.tensor([[[x, y] for x, y, _ in marks]]), torch.tensor([[label for *_, label in marks]])


@pytest.mark.parametrize("corrected", [False, True])
def test_part_of_the_frame_is_embedded_like_the_whole(corrected: bool) -> None:
    """Training on windows uses the same embeddings as prediction on the whole frame."""
    rows, cols = part = slice(5, 20), slice(30, 62)
    torch.manual_seed(1)
    drawing = MapPromptEncoder().eval()
    torch.nn.init.normal_(drawing.place_embedding.weight)
    marks, boxes = points((399.5, 199.5, 1), (799.5, 599.5, 0)), torch.tensor([[402.0, 200.0, 800.0, 600.0]])
    masks = torch.randn(1, 1, 256, 256) if corrected else None
    inside = None if masks is None else masks[:, :, 20:80, 120:248]
    sparse, dense = drawing(marks, boxes, masks)
    same, there = drawing.embed(marks, boxes, inside, part)
    assert torch.equal(sparse, same)
    assert there.shape == (1, 256, 15, 32)
    assert (dense[:, :, rows, cols] - there).abs().max() < 1e-5


def test_sharp_discs_are_centred_on_their_point(drawing: MapPromptEncoder) -> None:
    maps = drawing.draw(points((399.5, 199.5, 1), (799.5, 599.5, 0)), None)[0]
    for index, (row, col) in enumerate([(50, 100), (50, 100), (150, 200), (150, 200)]):
        disc = maps[2 + index]
        assert disc.amax() == disc[row - 1 : row + 1, col - 1 : col + 1].amax() > 0.8
    assert maps[:2].abs().max() == 0


def test_cells_at_the_edge_of_a_box_are_partly_covered(drawing: MapPromptEncoder) -> None:
    coverage = drawing.draw(None, torch.tensor([[402.0, 200.0, 800.0, 600.0]]))[0, 0]
    assert coverage[100, 100] == 0.5
    assert coverage[100, 101] == 1
    assert coverage[100, 99] == coverage[100, 200] == coverage[49, 150] == 0


def test_vector_points_to_the_nearest_positive_point(drawing: MapPromptEncoder) -> None:
    place = drawing.place(points((199.5, 199.5, 1), (799.5, 199.5, 1), (199.5, 799.5, 0)), None)[0]
    x, y = place[2:4]
    assert x[12, 0] > 0 > x[12, 30], "left of the first point it leads right, right of it left"
    assert x[12, 40] > 0 > x[12, 60], "nearer to the second"
    assert y[60, 12] < 0, "not to the negative point"
    cell = (20 + 0.5) * 16  # a cell straight below the first point, apart from half a cell
    assert float(y[20, 12]) == pytest.approx((200 - cell) / (REACH_PX + cell - 200), abs=0.02)


@pytest.mark.parametrize("label", [0, -1])
def test_without_a_positive_point_there_is_no_vector(drawing: MapPromptEncoder, label: int) -> None:
    place = drawing.place(points((199.5, 199.5, label)), None)
    assert torch.equal(place[:, 2:4], torch.zeros(1, 2, 64, 64))
    assert not place.isnan().any()


def test_position_in_a_box_is_minus_one_to_one_and_clipped_at_two(drawing: MapPromptEncoder) -> None:
    place = drawing.place(None, torch.tensor([[256.0, 512.0, 768.0, 1024.0]]))[0]
    across, down = place[4][0], place[5][:, 0]
    assert across[16].item() == pytest.approx(-1, abs=0.04)
    assert across[47].item() == pytest.approx(1, abs=0.04)
    assert down[0].item() == -2
    assert torch.equal(place[4], across.expand(64, 64))


def test_untrained_additions_give_the_output_of_sam(drawing: MapPromptEncoder) -> None:
    torch.manual_seed(1)
    spreading = SpreadingMaskDecoder().eval()
    plain = MaskDecoder(
        transformer_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
        num_multimask_outputs=3,
    ).eval()
    own = {k: v for k, v in spreading.state_dict().items() if k.split(".")[0] not in ("spread", "join")}
    plain.load_state_dict(own)
    with torch.inference_mode():
        sparse, dense = drawing(points((500.0, 500.0, 1)), None, None)
        given = {
            "image_embeddings": torch.randn(1, 256, 64, 64),
            "image_pe": drawing.get_dense_pe(),
            "sparse_prompt_embeddings": sparse,
            "dense_prompt_embeddings": dense,
            "multimask_output": True,
        }
        before = spreading(**given)
        torch.testing.assert_close(before, plain(**given))
        torch.nn.init.normal_(spreading.join.weight)
        assert not torch.allclose(spreading(**given)[0], before[0])


def test_features_stay_valid_when_only_the_prompt_decoder_changes() -> None:
    state = tiny.SAMPATH_TINY.build().state_dict()
    digest = tiny.SAMPATH_TINY.build().encoder.weights_digest
    prompt_side = {k: v + 1 if k.startswith("mask_decoder.") else v for k, v in state.items()}
    encoder_side = {k: v + 1 if k.startswith("image_encoder.") else v for k, v in state.items()}
    halves = {k: v.half() for k, v in prompt_side.items()}
    assert tiny.load_parts(tiny.SAMPATH_TINY.untrained(), halves, "x").encoder.weights_digest == digest
    assert tiny.load_parts(tiny.SAMPATH_TINY.untrained(), encoder_side, "x").encoder.weights_digest != digest
