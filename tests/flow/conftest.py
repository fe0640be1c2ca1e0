"""Nodes of pure arithmetic, whose every value can be told from the frame that holds the face."""

import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from featflow.datasets.frame import EMPTY_IMAGE, Frame
from featflow.errors import ImageError
from featflow.flow.batch import FaceBatch
from featflow.flow.node import InputSpec, Node
from featflow.geometry.crop import CropRule

RULE = CropRule(size=4)


def frame(index: int, faces: int, source: str = "clip.mp4", size: int = 8) -> Frame:
    """A frame whose first pixel says how many faces it holds; -1 faces: it cannot be read."""
    if faces < 0:
        return Frame(EMPTY_IMAGE, source, index, error=ImageError(source, "broken"))
    image = np.full((size, size, 3), index % 251, np.uint8)
    image[0, 0, 0] = faces
    return Frame(image, source, index, index / 25, (size, size))


class Detector(Node):
    """As many faces as the first pixel says; the least sure first, to be sorted by the flow."""

    kind, name, unit = "face", "toy", "frame"
    provides = ("box", "score")

    def pre_process(self, batch):
        assert all(image.size for image in batch.frames.images), "shown an unreadable frame"
        return [int(image[0, 0, 0]) for image in batch.frames.images]

    def process(self, inputs):
        return inputs

    def post_process(self, batch, outputs):
        uid = np.repeat(batch.frames.uids, outputs)
        rank = np.concatenate([np.arange(n)[::-1] for n in outputs] or [np.zeros(0)])
        at = np.repeat(batch.frames.indices, outputs)
        box = np.stack([at, rank, at + 8, rank + 8], 1).astype(np.float32)
        return FaceBatch(uid, {"box": box, "score": (1 - rank / 100).astype(np.float32)})


class Arithmetic(Node):
    """``value = sum of the required fields (first number) * factor``."""

    unit = "face"
    kind = "toy"
    batch_size = 8

    def __init__(self, name="a", requires=("box",), factor=2.0, crop=None, reads=False):
        super().__init__()
        self.name = name
        self.requires = requires
        self.provides = (name,)
        self.shapes = {name: ()}
        self.factor = factor
        self.spec = InputSpec(crop=crop)
        self.reads_frames = reads
        self.seen = []

    def pre_process(self, batch):
        self.seen.append(len(batch.faces))
        fields = [batch.faces.fields[n].reshape(len(batch.faces), -1)[:, 0] for n in self.requires]
        total = np.sum(fields, axis=0, dtype=np.float64)
        if self.spec.crop is not None:
            total = total + (batch.crops(self.spec.crop).shape[1] == self.spec.crop.size)
        if self.reads_frames:
            rows = batch.frame_rows
            total = total + [int(batch.frames.images[row][1, 1, 0]) for row in rows]
        return total

    def process(self, inputs):
        return inputs * self.factor

    def post_process(self, batch, outputs):
        return {self.name: outputs}


def chunks(frames, size):
    """Lists of frames, as a source gives them."""
    for start in range(0, len(frames), size):
        yield frames[start : start + size]


def rows(batches):
    """(index, rank of the face in its frame) and every frame, in the order they came out."""
    frames, faces = [], []
    for batch in batches:
        frames += list(zip(batch.frames.sources, batch.frames.indices.tolist(), strict=True))
        at = batch.frames.indices[batch.frame_rows]
        faces += list(zip(at.tolist(), batch.faces.box[:, 1].astype(int).tolist(), strict=True))
    return frames, faces


def flow_threads():
    """Threads of the engine that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("featflow")]


def open_files():
    """Number of open file descriptors."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="session")
def toys():
    return SimpleNamespace(
        RULE=RULE,
        frame=frame,
        Detector=Detector,
        Arithmetic=Arithmetic,
        chunks=chunks,
        rows=rows,
        flow_threads=flow_threads,
        open_files=open_files,
    )


@pytest.fixture(autouse=True)
def no_thread_left():
    """Every test of the engine must leave no thread behind."""
    yield
    until = time.monotonic() + 5  # after an error a thread may be about to end on a busy machine
    while flow_threads() and time.monotonic() < until:
        time.sleep(0.01)
    assert flow_threads() == []
