"""Columns of the tables of measurements, with their units."""

from __future__ import annotations

OBJECT_COLUMNS: dict[str, str] = {
    "image": "Name of the image.",
    "id": "Number of the object in the image; 0 for a region without a number.",
    "class": "Name of the class.",
    "source": "How the object was made: click, box, head ...; empty if unknown.",
    "reviewed": "Whether a person has made or accepted the object: yes or no; empty if unknown.",
    "area_px": "Area in pixels.",
    "area_um2": "Area in square micrometres.",
    "perimeter_px": "Length of the outline, with the outlines of holes, in pixels (Crofton's formula, 4 directions).",
    "perimeter_um": "Length of the outline in micrometres.",
    "feret_max_px": "Largest distance between two parallel lines that touch the object on both sides, in pixels.",
    "feret_max_um": "The same in micrometres.",
    "feret_min_px": "Smallest distance between two parallel lines that touch the object on both sides, in pixels.",
    "feret_min_um": "The same in micrometres.",
    "circularity": "4 pi area / perimeter^2, at most 1; 1 for a disc.",
    "mean_red": "Mean red value of the pixels, 0 to 255.",
    "mean_green": "Mean green value of the pixels, 0 to 255.",
    "mean_blue": "Mean blue value of the pixels, 0 to 255.",
    "od_haematoxylin": "Mean optical density of haematoxylin (Ruifrok and Johnston 2001, base 10).",
    "od_eosin": "Mean optical density of eosin (Ruifrok and Johnston 2001, base 10).",
    "centroid_x_px": "Column of the centroid in pixels; the left edge of the image is 0.",
    "centroid_y_px": "Row of the centroid in pixels; the upper edge of the image is 0.",
}
"""Column of the table of objects -> meaning and unit. Columns in micrometres are empty if the pixel size is unknown,
colours if the image is not given."""

CLASS_COLUMNS: dict[str, str] = {
    "image": "Name of the image.",
    "class": "Name of the class.",
    "objects": "Number of objects of the class.",
    "area_px": "Total area of the objects in pixels.",
    "area_um2": "Total area of the objects in square micrometres.",
    "image_mm2": "Area of the image in square millimetres.",
    "share_of_image": "Area of the objects divided by the area of the image, 0 to 1.",
    "density_per_mm2": "Objects per square millimetre of the image.",
    "verified_px": "Verified area of the image in pixels; empty if unknown.",
    "verified_mm2": "Verified area of the image in square millimetres.",
    "verified_objects": "Number of objects whose centre lies in the verified area.",
    "verified_density_per_mm2": "These objects per square millimetre of the verified area.",
}
"""Column of the table of classes -> meaning and unit."""
