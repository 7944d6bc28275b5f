"""The trained heads in the package match the shipped encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_sampath.heads import list_bundles, load_head
from napari_sampath.predict import load_model, segment
from napari_sampath.predict.segmentation import check_match


@pytest.fixture(scope="module")
def model():
    return load_model("sampath-tiny", device="cpu")


ATTRIBUTION = {
    "ebhi_glands": ("CC-BY-4.0", "EBHI-Seg"),
    "bcss_tumor": ("CC0-1.0", "BCSS"),
    "hgsc_nest": ("BSD-3-Clause", "histolytics"),
    "bbbc038_nuclei": ("CC0-1.0", "BBBC038"),
    "tnbc_nuclei": ("CC-BY-4.0", "TNBC"),
}


@pytest.mark.parametrize(
    "name", ["gland-cnn", "gland-autosam", "gland-sampath", "nucleus-cnn", "nucleus-instance"]
)
def test_shipped_heads_fit_the_shipped_encoders(name, model):
    assert name in list_bundles()
    loaded = load_head(name)
    own = model if loaded.encoder_name == model.name else load_model(loaded.encoder_name, device="cpu")
    check_match(loaded, own)
    assert sum(p.numel() for p in loaded.head.parameters()) < 6_000_000
    licences, sources = zip(
        *(ATTRIBUTION[name] for name in loaded.metadata.data["name"].split(" + ")), strict=True
    )
    assert loaded.metadata.licence == " AND ".join(licences)
    assert all(source in loaded.metadata.attribution for source in sources)


def test_fastest_head_comes_first():
    """The docks select the first one, which must not run SAM's decoder."""
    assert list_bundles()[0] == "gland-cnn"
    assert list_bundles("gland-*") == ["gland-cnn", *sorted(list_bundles("gland-*")[1:], key=_bytes)]


def _bytes(name):
    return Path(load_head(name).source).stat().st_size


def test_array_is_segmented_in_one_call(model):
    from skimage.data import immunohistochemistry

    result = segment(immunohistochemistry(), "gland-cnn", model)
    assert result.labels.shape == (512, 512)
    assert set(np.unique(result.labels)) <= {0, 1}
    assert (result.confidence >= 0.5).all()
