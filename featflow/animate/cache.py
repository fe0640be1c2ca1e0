"""Frames that were drawn before, by still, animator and rounded pose."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featflow.animate.codecs import Codec, DamagedFrameError, RegionCodec
from featflow.animate.store import Store

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class CacheStats:
    """Counts since the cache was made.

    Attributes:
        hits, misses: look-ups that found a frame, and that did not.
        evictions: frames dropped to stay within the limit.
        refused: frames larger than the whole limit.
        entries: frames kept now.
        nbytes: bytes that they occupy with their keys.
        limit_bytes: most that they may.
    """

    hits: int
    misses: int
    evictions: int
    refused: int
    entries: int
    nbytes: int
    limit_bytes: int


def frame_key(scope: bytes, codes: NDArray[np.int16]) -> bytes:
    """Key of a frame: still and animator (``scope``) and the rounded pose in its order."""
    return hashlib.blake2b(scope + codes.tobytes(), digest_size=20).digest()


def still_digest(image: Image) -> bytes:
    """Digest of a still and its size."""
    shape = repr(image.shape).encode()
    return hashlib.blake2b(shape + np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


class FrameCache:
    """Keeps drawn frames, packed, within a byte limit.

    Args:
        store: where they are kept.
        codec: how they are packed; lossless by default.
    """

    def __init__(self, store: Store, codec: Codec | None = None) -> None:
        self.codec: Codec = codec or RegionCodec()
        self._store = store
        self._hits = self._misses = self._refused = 0

    def _key(self, key: bytes) -> bytes:
        return key + self.codec.name.encode()

    def get(self, key: bytes, still: Image, out: Image) -> bool:
        """Write the frame of ``key`` into ``out``; False where there is none."""
        packed = self._store.get(self._key(key))
        if packed is not None:
            try:
                self.codec.unpack(packed, still, out)
            except DamagedFrameError:
                self._store.drop(self._key(key))  # drawn again and replaced
            else:
                self._hits += 1
                return True
        self._misses += 1
        return False

    def put(self, key: bytes, still: Image, frame: Image) -> None:
        """Keep a frame; where the codec is lossy, ``frame`` becomes what a hit will give."""
        packed = self.codec.pack(frame, still)
        if not self._store.put(self._key(key), packed):
            self._refused += 1
        elif not self.codec.lossless:
            self.codec.unpack(packed, still, frame)

    def stats(self) -> CacheStats:
        """Counts so far."""
        store = self._store
        return CacheStats(
            self._hits,
            self._misses,
            store.evictions,
            self._refused,
            len(store),
            store.nbytes,
            store.limit_bytes,
        )

    def close(self) -> None:
        """Close the store."""
        self._store.close()
