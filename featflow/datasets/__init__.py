"""What feeds a flow and a trainer: photos, clips, arrays, tables.

Names are imported on first use, so that importing this package brings in neither torch nor
a decoder.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featflow.datasets.decoders import ClipInfo, ClipReport, Decoder, probe_clip
    from featflow.datasets.faces import FaceDataset
    from featflow.datasets.facesets import FaceLoader, FaceSets
    from featflow.datasets.frame import Frame
    from featflow.datasets.loader import frame_batches
    from featflow.datasets.options import ReadOptions
    from featflow.datasets.samples import SampleClip, sample_clip, sample_photo
    from featflow.datasets.source import Source, open_source
    from featflow.datasets.splits import split_by
    from featflow.datasets.torchsets import (
        FrameDataset,
        ImageDataset,
        TensorDataset,
        VideoDataset,
        collate,
    )

_HOME = {
    "ClipInfo": "decoders",
    "ClipReport": "decoders",
    "Decoder": "decoders",
    "probe_clip": "decoders",
    "FaceDataset": "faces",
    "FaceLoader": "facesets",
    "FaceSets": "facesets",
    "Frame": "frame",
    "frame_batches": "loader",
    "ReadOptions": "options",
    "SampleClip": "samples",
    "sample_clip": "samples",
    "sample_photo": "samples",
    "Source": "source",
    "open_source": "source",
    "split_by": "splits",
    "FrameDataset": "torchsets",
    "ImageDataset": "torchsets",
    "TensorDataset": "torchsets",
    "VideoDataset": "torchsets",
    "collate": "torchsets",
}

__all__ = [
    "ClipInfo",
    "ClipReport",
    "Decoder",
    "FaceDataset",
    "FaceLoader",
    "FaceSets",
    "Frame",
    "FrameDataset",
    "ImageDataset",
    "ReadOptions",
    "SampleClip",
    "Source",
    "TensorDataset",
    "VideoDataset",
    "collate",
    "frame_batches",
    "open_source",
    "probe_clip",
    "sample_clip",
    "sample_photo",
    "split_by",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
