"""Runs over several machines with dask.distributed (extra `cluster`)."""

from .running import cluster_encode_job, cluster_slide_job, common_precision
from .spec import EncodeSpec, ModelSpec, SlideSpec

__all__ = [
    "EncodeSpec",
    "ModelSpec",
    "SlideSpec",
    "cluster_encode_job",
    "cluster_slide_job",
    "common_precision",
]
