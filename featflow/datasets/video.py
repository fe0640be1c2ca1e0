"""Reading a clip: which frames are wanted, at which size, and how it went."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

from featflow.datasets.decoders import ClipReport, Decoder, Picture, open_decoder
from featflow.datasets.frame import Frame
from featflow.datasets.options import ReadOptions
from featflow.datasets.scaling import scale_between, working_size
from featflow.errors import VideoError

_log = logging.getLogger("featflow")


def read_clip(path: str, container: str, options: ReadOptions) -> Iterator[Frame | ClipReport]:
    """The wanted frames of a clip, then one report.

    Frames that nobody wants are decoded, because the ones after them need them, but never
    converted. There is no seeking: the position of a frame in the full decode cannot be told
    exactly from where a seek lands.

    Args:
        path: the file.
        container: FFmpeg's name of its container, as ``sniff`` tells.
        options: what is wanted.

    Yields:
        frames in presentation order; one failed frame where the decoder gave up, carrying the
        index at which it did; the report last. A clip that cannot be opened has no report.
    """
    try:
        decoder = open_decoder(options.decoder_name, path, container)
    except VideoError as error:
        yield Frame.failed(path, error)
        return
    with closing(decoder):
        try:
            yield from _wanted(decoder, path, options)
        except VideoError as error:
            yield Frame.failed(path, error, index=decoder.report().decoded)
        report = decoder.report()
    if report.status != "complete":
        _log.warning("%s: %s: %s", path, report.status, report.reason)
    yield report


def _wanted(decoder: Decoder, path: str, options: ReadOptions) -> Iterator[Frame]:
    with closing(decoder.pictures()) as pictures:
        for picture in pictures:
            if options.is_over(picture.time_s):
                return
            if options.wants(picture.index, picture.time_s):
                yield _to_frame(picture, path, options.output_size)


def _to_frame(picture: Picture, path: str, output_size: int | None) -> Frame:
    size_px = picture.size_px
    working_px = working_size(size_px, output_size)
    return Frame(
        picture.rgb(working_px),
        path,
        picture.index,
        picture.time_s,
        size_px,
        scale_between(size_px, working_px),
    )


def expected_frames(path: str, container: str, options: ReadOptions) -> int | None:
    """About how many frames :func:`read_clip` will give, from the header alone."""
    try:
        with closing(open_decoder("av", path, container)) as decoder:
            info = decoder.info
    except VideoError:
        return 1
    total = info.expected_frames
    if total is None:
        return None
    if info.rate_hz:
        last = total if options.stop is None else min(total, int(options.stop * info.rate_hz))
        total = max(0, last - int((options.start or 0.0) * info.rate_hz))
    return -(-total // options.step)
