"""Import of CVAT, ASAP and ImageScope files, and of CVAT's colour masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import SampathError, UnknownNameError
from napari_sampath.formats import Objects, import_labels, import_objects
from napari_sampath.formats.format import ReadOptions
from support.annotation_files import (
    HW,
    TRIANGLE,
    asap,
    box,
    cvat,
    cvat_image,
    disc,
    imagescope,
    inside,
    write,
    write_zip,
)
from support.label_maps import check_sentence


def read(tmp_path: Path, content: bytes, **options: Any) -> Objects:
    return import_objects(write(tmp_path / "annotations.xml", content), **{"hw": HW, **options})


def dense(objects: Objects) -> list[Any]:
    return [obj.mask.to_dense(objects.hw) for obj in objects.items]


def names(objects: Objects) -> list[str]:
    table = {info.id: info.name for info in objects.classes}
    return [table[obj.class_id] for obj in objects.items]


def points(ring: Any) -> str:
    return ";".join(f"{x},{y}" for x, y in ring)


LABELS = (
    "<label><name>tumour</name><color>#fa3253</color></label>"
    "<label><name>stroma</name><color>#33ddff</color></label>"
)


def test_cvat_shapes_have_the_pixels_inside_them(tmp_path: Path) -> None:
    bitmap = np.random.default_rng(1).random((5, 8)) > 0.5
    bitmap[0, 0] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bitmap.ravel().astype(int)])))
    runs = np.diff(np.concatenate([[0], edges, [bitmap.size]]))
    shapes = f"""
      <polygon label="tumour" occluded="0" points="{points(TRIANGLE)}" z_order="0">
        <attribute name="grade">2</attribute>
      </polygon>
      <box label="stroma" occluded="0" xtl="40.10" ytl="20.80" xbr="50.50" ybr="30.20" z_order="0"/>
      <box label="stroma" xtl="30" ytl="30" xbr="46" ybr="36" rotation="30.0" z_order="1"/>
      <ellipse label="tumour" cx="50" cy="8" rx="6.5" ry="3.5" rotation="20" z_order="2"/>
      <mask label="tumour" rle="{", ".join(map(str, runs))}" left="2" top="30" width="8" height="5" z_order="0"/>
      <polyline label="tumour" points="1,1;2,2"/><points label="tumour" points="1,1"/><tag label="tumour"/>
    """
    objects = read(tmp_path, cvat(cvat_image(shapes), LABELS))
    assert names(objects) == ["tumour", "stroma", "tumour", "stroma", "tumour"]
    assert objects.classes[:2] == (
        ClassInfo(1, "tumour", (250, 50, 83)),
        ClassInfo(2, "stroma", (51, 221, 255)),
    )
    polygon, rectangle, mask, turned, ellipse = dense(objects)
    np.testing.assert_array_equal(polygon, inside(TRIANGLE))
    np.testing.assert_array_equal(rectangle, box(40.1, 20.8, 50.5, 30.2))
    np.testing.assert_array_equal(mask[30:35, 2:10], bitmap)
    corners = (np.array([-8, 8, 8, -8]) + 1j * np.array([-3, -3, 3, 3])) * np.exp(1j * np.radians(30))
    np.testing.assert_array_equal(turned, inside([(38 + z.real, 33 + z.imag) for z in corners]))
    np.testing.assert_array_equal(ellipse, disc(50, 8, 6.5, 3.5, 20))
    text = " ".join(objects.notes)
    for kind in ("polyline", "points", "tag"):
        assert f"1 shape without an area, of the type '{kind}'" in text


def test_cvat_groups_are_one_object_and_the_z_order_is_kept(tmp_path: Path) -> None:
    small, large = (
        points([(10, 10), (20, 10), (20, 20), (10, 20)]),
        points([(5, 5), (30, 5), (30, 30), (5, 30)]),
    )
    shapes = f"""<polygon label="large" points="{large}" z_order="3"/>
    <polygon label="small" points="{small}" z_order="1"/>
    <polygon label="pair" points="{points([(40, 2), (44, 2), (44, 6), (40, 6)])}" group_id="5"/>
    <polygon label="pair" points="{points([(50, 2), (54, 2), (54, 6), (50, 6)])}" group_id="5"/>"""
    labels = import_labels(write(tmp_path / "a.xml", cvat(cvat_image(shapes))), hw=HW)
    by_name = {info.name: info.id for info in labels.classes}
    assert (labels.class_map[10:20, 10:20] == by_name["large"]).all()
    assert labels.instance_map[3, 41] == labels.instance_map[3, 51] > 0


def test_cvat_chooses_the_image_and_reads_the_zip(tmp_path: Path) -> None:
    shape = '<box label="a" xtl="1" ytl="1" xbr="9" ybr="5"/>'
    content = cvat(
        cvat_image("", "b.png", (9, 9)) + cvat_image(shape, "folder/tissue.png") + cvat_image(shape, "c.png")
    )
    archive = write_zip(tmp_path / "task.zip", {"annotations.xml": content, "images/tissue.png": b""})
    for path in (write(tmp_path / "a.xml", content), archive):
        assert import_objects(path, name="tissue", hw=HW).items[0].mask.area_px == 32
        with pytest.raises(SampathError, match=r"3 images .*b.png") as caught:
            import_objects(path, hw=HW)
        check_sentence(str(caught.value))
        with pytest.raises(UnknownNameError, match=r"b.png"):
            import_objects(path, name="other", hw=HW)
    with pytest.raises(SampathError, match=r"is for a video \(1 track\)"):
        read(tmp_path, cvat('<track id="0" label="a"><box frame="0"/></track>'))


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ('<polygon label="a" points="1,2;3,nan;5,6"/>', "nan is not between"),
        ('<polygon label="a" points="1,2;3,4"/>', "at least 3 points, and it has 2"),
        ('<polygon label="a" points="1,2;x,4;1,1"/>', "'x' is not a number"),
        ('<box label="a" xtl="1" ytl="1" xbr="1e308" ybr="5"/>', "1e308 is not between"),
        ('<box label="a" xtl="1" ytl="1" xbr="9"/>', "'None' is not a number"),
        ('<mask label="a" rle="3, 99" left="0" top="0" width="8" height="5"/>', "longer than its rectangle"),
        ('<mask label="a" rle="3, 9" left="0" top="0" width="8" height="5"/>', "run lengths sum to 12"),
        ('<mask label="a" rle="3, x" left="0" top="0" width="8" height="5"/>', "not whole numbers"),
        (
            '<mask label="a" rle="3" left="0" top="0" width="90000" height="90000"/>',
            "its mask has 90000 x 90000 px",
        ),
    ],
)
def test_malformed_cvat_shapes_are_named(tmp_path: Path, shape: str, match: str) -> None:
    with pytest.raises(
        SampathError, match=rf"\(1 that cannot be read, such as shape of the type '\w+' 1: .*{match}"
    ) as caught:
        read(tmp_path, cvat(cvat_image(shape)))
    check_sentence(str(caught.value))


def test_asap_groups_are_classes(tmp_path: Path) -> None:
    groups = '<Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group>'
    square = [(40, 20), (50, 20), (50, 30), (40, 30)]
    content = asap(
        [
            ("Polygon", "Tumor", TRIANGLE),
            ("Rectangle", "Normal", square),
            ("Spline", "None", [(2, 30), (9, 30), (6, 38)]),
            ("Dot", "Tumor", [(1, 1)]),
        ],
        groups,
    )
    objects = read(tmp_path, content, options=ReadOptions(overlap="file-order"))
    assert names(objects)[:2] == ["Tumor", "Normal"]
    polygon, rectangle, spline = dense(objects)
    np.testing.assert_array_equal(polygon, inside(TRIANGLE))
    np.testing.assert_array_equal(rectangle, box(40, 20, 50, 30))
    assert spline.any()
    colors = {info.name: info.color for info in objects.classes}
    assert (colors["Tumor"], colors["Normal"]) == ((0x64, 0xFE, 0x2E), (0xF4, 0xFA, 0x58))
    assert any("Read as polygons through their points: 1 spline." in note for note in objects.notes)
    assert any("1 shape without an area, of the type 'dot'" in note for note in objects.notes)


def test_imagescope_layers_are_classes_and_negative_regions_holes(tmp_path: Path) -> None:
    square = [(4, 4), (24, 4), (24, 24), (4, 24)]
    hole = [(10, 10), (30, 10), (30, 18), (10, 18)]
    content = imagescope(
        [
            (
                'Id="1" Name="Tumour" Type="4" LineColor="65280"',
                [
                    ('Id="1" Type="0" NegativeROA="0"', square),
                    ('Id="2" Type="0" NegativeROA="1"', hole),
                    ('Id="3" Type="1" NegativeROA="0"', [(50, 30), (40, 20)]),
                ],
            ),
            (
                'Id="2" Name="" LineColor="255"',
                [
                    ('Id="1" Type="2" Text="vessel"', [(42, 2), (58, 12)]),
                    ('Id="2" Type="0" Text=""', TRIANGLE),
                    ('Id="3" Type="3" Text=""', [(1, 1), (5, 5)]),
                ],
            ),
        ]
    )
    objects = read(tmp_path, content, options=ReadOptions(overlap="file-order"))
    assert names(objects) == ["Tumour", "Tumour", "vessel", "layer 2"]
    assert objects.classes[0].color == (0, 255, 0)
    assert objects.classes[1].color == (255, 0, 0)
    expected = (
        box(4, 4, 24, 24) & ~box(10, 10, 30, 18),
        box(40, 20, 50, 30),
        disc(50, 7, 8, 5),
        inside(TRIANGLE),
    )
    for mask, pixels in zip(dense(objects), expected, strict=True):
        np.testing.assert_array_equal(mask, pixels)
    assert any("'arrow'" in note for note in objects.notes)


def test_regions_of_halo_and_holes_outside_the_regions_of_their_layer(tmp_path: Path) -> None:
    def region(kind: str, points: list[tuple[int, int]], negative: int = 0) -> str:
        corners = "".join(f'<V X="{x}" Y="{y}" />' for x, y in points)
        opening = f'<Region Type="{kind}" HasEndcaps="0" NegativeROA="{negative}">'
        return f"{opening}<Vertices>{corners}</Vertices><Comments /></Region>"

    square, hole = [(4, 4), (24, 4), (24, 24), (4, 24)], [(10, 10), (18, 10), (18, 18), (10, 18)]
    regions = (
        region("Polygon", square)
        + region("Polygon", hole, 1)
        + region("Polygon", [(x + 20, y) for x, y in hole], 1)
        + region("Ellipse", [(42, 2), (58, 12)])
        + region("Rectangle", [(50, 30), (40, 20)])
        + region("Ruler", [(1, 1), (5, 5)])
    )
    layer = f'<Annotation LineColor="65280" Name="Tumour" Visible="True"><Regions>{regions}</Regions></Annotation>'
    objects = read(tmp_path, f"<Annotations>{layer}</Annotations>".encode())
    expected = (box(4, 4, 24, 24) & ~box(10, 10, 18, 18), disc(50, 7, 8, 5), box(40, 20, 50, 30))
    for mask, pixels in zip(dense(objects), expected, strict=True):
        np.testing.assert_array_equal(mask, pixels)
    left_out = next(note for note in objects.notes if note.startswith("Left out"))
    assert "1 hole outside the regions of their layer" in left_out
    assert "'ruler'" in left_out


def test_xml_that_could_read_other_files_or_never_end_is_refused(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>'
    external = b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><Annotations>&a;</Annotations>'
    for content, match in (
        (bomb, "declares a document type"),
        (external, "declares a document type"),
        (
            b'<Annotations><a b="' + b"x" * 9_000_000 + b'"/></Annotations>',
            "has a tag of more than 8,388,608 bytes",
        ),
        (b"<Annotations>" + b"<a>" * 40 + b"</a>" * 40 + b"</Annotations>", "nested more than 32 deep"),
        (asap([("Polygon", "a", TRIANGLE)])[:-30], "is not XML or is damaged"),
        (b'<?xml version="1.0" encoding="no-such"?><Annotations/>', "none of the formats|is not XML"),
    ):
        with pytest.raises(SampathError, match=match) as caught:
            read(tmp_path, content)
        check_sentence(str(caught.value))


# Colour masks

COLORS = {"background": (0, 0, 0), "tumour": (250, 50, 83), "stroma": (51, 221, 255)}
LABEL_MAP = "# label:color_rgb:parts:actions\n" + "".join(
    f"{name}:{red},{green},{blue}::\n" for name, (red, green, blue) in COLORS.items()
)


def mask_files() -> tuple[dict[str, bytes], Any, Any]:
    import io

    classes = np.zeros(HW, np.uint8)
    classes[3:12, 4:30], classes[20:30, 4:30] = 1, 2
    objects = np.zeros(HW, np.uint8)
    objects[3:12, 4:15], objects[3:12, 15:30], objects[20:30, 4:30] = 1, 2, 3
    palette = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], np.uint8)
    files = {"labelmap.txt": LABEL_MAP.encode(), "ImageSets/Segmentation/default.txt": b"tissue\n"}
    for folder, values in (
        ("SegmentationClass", np.array(list(COLORS.values()), np.uint8)[classes]),
        ("SegmentationObject", palette[objects]),
    ):
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, format="PNG")
        files[f"{folder}/tissue.png"] = stream.getvalue()
    return files, classes, objects


@pytest.mark.parametrize("given", ["folder", "labelmap.txt", "SegmentationClass/tissue.png", "zip"])
def test_cvat_colour_masks(tmp_path: Path, given: str) -> None:
    files, classes, objects = mask_files()
    for name, content in files.items():
        write(tmp_path / "masks" / name, content)
    path = {"folder": tmp_path / "masks", "zip": tmp_path / "masks.zip"}.get(
        given, tmp_path / "masks" / given
    )
    if given == "zip":
        write_zip(path, files)
    labels = import_labels(path, hw=HW)
    np.testing.assert_array_equal(labels.class_map, classes)
    np.testing.assert_array_equal(labels.instance_map, objects)
    assert labels.classes == (ClassInfo(1, "tumour", (250, 50, 83)), ClassInfo(2, "stroma", (51, 221, 255)))


def test_unlisted_colours_are_refused(tmp_path: Path) -> None:
    files, _, _ = mask_files()
    files["labelmap.txt"] = b"background:0,0,0::\ntumour:250,50,83::\n"
    with pytest.raises(
        SampathError, match=r"has 1 colour that labelmap.txt does not list \(51,221,255\)"
    ) as caught:
        import_labels(write_zip(tmp_path / "masks.zip", files), hw=HW)
    check_sentence(str(caught.value))


def test_damaged_masks_in_a_zip_are_named_by_their_place_in_it(tmp_path: Path) -> None:
    files, _, _ = mask_files()
    files["SegmentationObject/tissue.png"] = files["SegmentationObject/tissue.png"][:60]
    with pytest.raises(SampathError, match=r"masks.zip/SegmentationObject/tissue.png") as caught:
        import_labels(write_zip(tmp_path / "masks.zip", files), hw=HW)
    check_sentence(str(caught.value))
