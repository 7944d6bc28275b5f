"""Runs over several machines with dask.distributed (extra `cluster`)."""

from .connection import common_precision
from .running import cluster_encode_job, cluster_images_job, cluster_slide_job
from .spec import EncodeSpec, ModelSpec, SlideSpec

__all__ = [
    "EncodeSpec",
    "ModelSpec",
    "SlideSpec",
    "cluster_encode_job",
    "cluster_images_job",
    "cluster_slide_job",
    "common_precision",
]
