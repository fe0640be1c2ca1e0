"""Batches, in this process and from workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from featflow.datasets import (
    FrameDataset,
    ImageDataset,
    TensorDataset,
    VideoDataset,
    collate,
    frame_batches,
    open_source,
)
from featflow.errors import ImageError, InputError, OptionError, VideoError


@pytest.fixture
def inputs(tmp_path, plain_clip, plain_mkv):
    """Clips, photos of different sizes, failures, an array: eleven inputs, 130 frames."""
    parts = [plain_clip]
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((5 + number, 7, 3), number, np.uint8)).save(path)
        parts.append(path)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(plain_clip.read_bytes()[:-2000])
    array = np.full((2, 6, 6, 3), 9, np.uint8)
    return [*parts, tmp_path / "missing.jpg", array, plain_mkv, cut]


def described(batches):
    return [
        (f.source, f.index, f.image.shape, int(f.image.sum()), repr(f.error), repr(f.time_s))
        for batch in batches
        for f in batch
    ]


@pytest.mark.parametrize(
    ("workers", "context"), [(1, "fork"), (2, "fork"), (3, "fork"), (1, "spawn")]
)
@pytest.mark.parametrize("decoder", ["av", "decord"])
def test_workers_give_the_same_frames_in_the_same_order(inputs, workers, context, decoder):
    if context == "spawn" and decoder == "decord":
        pytest.skip("spawned processes start slowly; fork is the hard case for decord")
    source = open_source(inputs, decoder=decoder, skip_frames=2)
    list(source)  # the parent has used its decoders before it forks
    inline = list(frame_batches(source, 7))
    reports = source.reports
    assert {len(batch) for batch in inline[:-1]} == {7}
    spread = list(frame_batches(source, 7, workers, context))
    assert described(spread) == described(inline)
    assert [len(batch) for batch in spread] == [len(batch) for batch in inline]
    assert source.reports == reports
    assert [report.status for report in reports] == ["complete", "complete", "truncated"]


def test_errors_survive_the_way_from_the_worker(tmp_path):
    ((frame,),) = frame_batches(open_source(tmp_path / "a.jpg"), 4, 1, "fork")
    assert frame.error.source == str(tmp_path / "a.jpg")
    assert isinstance(frame.error, FileNotFoundError)


def test_abandoned_workers_end(plain_clip):
    import multiprocessing

    batches = frame_batches(open_source([plain_clip] * 4), 4, 2, "fork")
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    batches.close()
    assert multiprocessing.active_children() == []


def test_random_state_is_left_alone(plain_clip):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    list(frame_batches(open_source(plain_clip), 16, 1, "fork"))
    assert torch.equal(torch.get_rng_state(), state)


def test_iterators_are_refused_a_second_time_with_workers_too():
    source = open_source(iter([np.zeros((2, 2, 3), np.uint8)]))
    assert len(list(frame_batches(source, 2, 1, "fork"))) == 1
    with pytest.raises(InputError, match="read already"):
        list(frame_batches(source, 2, 1, "fork"))


@pytest.mark.parametrize("arguments", [(0,), (4, -1), (4, 1, "thread")])
def test_arguments_out_of_range(arguments):
    with pytest.raises(OptionError):
        frame_batches(open_source(np.zeros((2, 2, 3), np.uint8)), *arguments)


@pytest.mark.parametrize("workers", [0, 2])
def test_image_dataset_in_a_plain_loader(inputs, workers):
    photos = inputs[1:6]
    loader = DataLoader(ImageDataset(photos), 2, num_workers=workers, collate_fn=collate)
    frames = [frame for batch in loader for frame in batch]
    assert [f.size_px for f in frames] == [(5, 7), (6, 7), (7, 7), (8, 7), (0, 0)]
    assert [int(f.image.flat[0]) for f in frames[:4]] == [0, 1, 2, 3]
    assert frames[4].error is not None


def test_video_dataset_deals_out_clips(plain_clip, plain_mkv):
    data = VideoDataset([plain_clip, plain_mkv], skip_frames=10, output_size=80)
    alone = list(data)
    assert [f.index for f in alone] == [*range(0, 60, 10)] * 2
    assert alone[0].image.shape == (60, 80, 3)
    loader = DataLoader(data, 6, num_workers=2, collate_fn=collate)
    batches = list(loader)
    assert [{f.source for f in batch} for batch in batches] == [{str(plain_clip)}, {str(plain_mkv)}]


def test_wrong_medium(inputs):
    assert isinstance(ImageDataset([inputs[0]])[0].error, ImageError)
    (frame,) = VideoDataset([inputs[1]])
    assert isinstance(frame.error, VideoError)
    with pytest.raises(OptionError, match="paths"):
        ImageDataset(np.zeros((2, 2, 3), np.uint8))


def test_tensor_and_frame_datasets():
    stack = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    data = TensorDataset(torch.from_numpy(stack).permute(0, 3, 1, 2), name="scan")
    assert len(data) == 5
    loader = DataLoader(data, 2, shuffle=False, collate_fn=collate)
    frames = [frame for batch in loader for frame in batch]
    assert np.array_equal(np.stack([f.image for f in frames]), stack)
    assert [(f.source, f.index) for f in frames] == [("scan", i) for i in range(5)]
    held = FrameDataset([stack[0], Image.fromarray(stack[1]), frames[2]])
    assert np.array_equal(np.stack([held[i].image for i in range(3)]), stack[:3])
    assert np.array_equal(held[-1].image, stack[2])
    with pytest.raises(IndexError):
        held[3]
    with pytest.raises(OptionError):
        FrameDataset([stack])
    with pytest.raises(OptionError):
        TensorDataset(stack[0])
