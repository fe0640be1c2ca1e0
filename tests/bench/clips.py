"""Clips to measure on: the shared one where it is there, otherwise the sample."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np

from featflow.datasets import sample_clip


def one_face() -> Path:
    """A 640 by 360 clip with a face."""
    default = Path(__file__).parents[2].parent / "shared"
    shared = Path(os.environ.get("FEATFLOW_SHARED", default)) / "media" / "single_face.mp4"
    return shared if shared.is_file() else sample_clip().path


def four_faces(folder: Path) -> Path:
    """A clip of the size of :func:`one_face` that shows it four times, at half its size."""
    target = folder / "four-faces.mp4"
    with av.open(str(one_face())) as file, av.open(str(target), "w") as out:
        stream = file.streams.video[0]
        width, height = stream.width // 4 * 4, stream.height // 4 * 4
        new = out.add_stream("libx264", rate=stream.average_rate)
        new.width, new.height, new.pix_fmt = width, height, "yuv420p"
        for frame in file.decode(stream):
            small = frame.to_ndarray(format="rgb24", width=width // 2, height=height // 2)
            sheet = av.VideoFrame.from_ndarray(np.tile(small, (2, 2, 1)), format="rgb24")
            out.mux(new.encode(sheet))
        out.mux(new.encode())
    return target


def looped(folder: Path, frames: int) -> Path:
    """The clip of :func:`one_face` repeated to at least ``frames`` frames, not re-encoded."""
    source = one_face()
    target = folder / f"looped-{frames}.mp4"
    if target.is_file():
        return target
    with av.open(str(source)) as file:
        stream = file.streams.video[0]
        packets = [p for p in file.demux(stream) if p.dts is not None]
        step = packets[1].dts - packets[0].dts
        length = packets[-1].dts - packets[0].dts + step
        with av.open(str(target), "w") as out:
            copy = out.add_stream_from_template(stream)
            for turn in range(-(-frames // len(packets))):
                for packet in packets:
                    again = av.Packet(bytes(packet))
                    again.dts, again.pts = packet.dts + turn * length, packet.pts + turn * length
                    again.duration, again.time_base = packet.duration, packet.time_base
                    again.is_keyframe = packet.is_keyframe
                    again.stream = copy
                    out.mux(again)
    return target
