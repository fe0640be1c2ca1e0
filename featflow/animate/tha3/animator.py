"""An animator that runs Talking Head Anime 3 with a user's weights."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from featflow.animate.animator import Image, check_image
from featflow.animate.pose import GROUPS, INDEX
from featflow.errors import FeatflowError, OptionError

_BROWS = (slice(64, 192), slice(192, 320))
_FACE = (slice(32, 224), slice(160, 352))
_BROWS_IN_FACE = (slice(32, 160), slice(32, 160))


class StageCache:
    """Results of one stage by the part of the pose that it depends on, within a byte limit.

    Args:
        limit_bytes: most bytes; the least recently used go first.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[bytes, tuple[Tensor, ...]] = OrderedDict()
        self.nbytes = self.hits = self.misses = 0

    def get(self, key: bytes, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The tensors of a key, made where they are not there."""
        found = self._entries.get(key)
        if found is not None:
            self.hits += 1
            self._entries.move_to_end(key)
            return found
        self.misses += 1
        made = make()
        size = _nbytes(made)
        if size <= self._limit:
            while self.nbytes + size > self._limit:
                self.nbytes -= _nbytes(self._entries.popitem(last=False)[1])
            self._entries[key] = made
            self.nbytes += size
        return made

    def clear(self) -> None:
        """Forget everything but the counts."""
        self._entries.clear()
        self.nbytes = 0


def _nbytes(tensors: tuple[Tensor, ...]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


class Tha3Animator:
    """Talking Head Anime 3 (Khungurn 2022) on any torch device.

    What depends on the brows alone, and on the whole face alone, is kept by pose; only the
    192 x 192 crop that changes is kept of the face. Rest is not exactly the still: every network
    runs on it.

    Args:
        networks: the five parts, see :func:`~featflow.animate.tha3.weights.load_networks`.
        device: torch device.
        half: float16 where the device computes in it; CPUs do not, and stay in float32.
        cache_bytes: for each of the two stages together; 0 for none.
    """

    name = "tha3"
    deterministic = True

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        device: torch.device | str = "cpu",
        *,
        half: bool = False,
        cache_bytes: int = 0,
    ) -> None:
        self.device = torch.device(device)
        self.half = half and self.device.type != "cpu"
        self._dtype = torch.float16 if self.half else torch.float32
        self._parts: dict[str, Any] = {
            name: module.to(self.device, self._dtype).eval() for name, module in networks.items()
        }
        # A brow entry is about three times a face crop, but there are far fewer of them.
        self._brow_cache = StageCache(cache_bytes // 10)
        self._face_cache = StageCache(cache_bytes - cache_bytes // 10)
        self._weights = _digest(networks)
        self._image: Tensor | None = None
        self._layers: tuple[Tensor, Tensor] | None = None

    @property
    def fingerprint(self) -> bytes:
        """Digest of the weights and the precision."""
        return self._weights + str(self._dtype).encode()

    def supports(self, name: str) -> bool:
        """Every parameter has an effect in this model."""
        if name not in INDEX:
            raise OptionError(f"no pose parameter is called {name!r}; see POSE_NAMES")
        return True

    def stage_counts(self) -> dict[str, tuple[int, int]]:
        """Hits and misses of the stages."""
        caches = {"eyebrow": self._brow_cache, "face": self._face_cache}
        return {name: (cache.hits, cache.misses) for name, cache in caches.items()}

    def set_image(self, image: Image) -> None:
        """Take a still (512, 512, 4) uint8 BGRA; the head belongs into rows 64 to 192."""
        check_image(image)
        self._image = to_tensor(image).to(self.device, self._dtype)
        self._brow_cache.clear()
        self._face_cache.clear()
        with torch.inference_mode():
            outputs = self._parts["eyebrow_decomposer"](self._image[:, :, *_BROWS])
        self._layers = (outputs[3], outputs[0])

    def render(self, pose: NDArray[np.float32], out: Image) -> None:
        """Draw a clipped pose (45,) into ``out`` (512, 512, 4)."""
        if self._image is None:
            raise FeatflowError("no still yet: call set_image first")
        values = torch.from_numpy(np.array(pose, np.float32)[None])
        parameters = values.to(self.device, self._dtype)
        with torch.inference_mode():
            face = self._face(self._image, pose, parameters)
            whole = self._image.clone()
            whole[:, :, *_FACE] = face
            out[...] = to_image(self._turned(whole, parameters[:, GROUPS["rotation"]]))

    def _face(self, image: Tensor, pose: NDArray[np.float32], parameters: Tensor) -> Tensor:
        def make() -> tuple[Tensor, ...]:
            crop, code = self._brow_cache.get(_key(pose[:12]), make_brows)
            morpher = self._parts["face_morpher"]
            return (morpher.morph(crop, code, parameters[:, GROUPS["face"]])[0],)

        def make_brows() -> tuple[Tensor, ...]:
            return self._brows(image, parameters[:, GROUPS["eyebrow"]])

        return self._face_cache.get(_key(pose[:39]), make)[0]

    def _brows(self, image: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """The face crop with its brows moved, and its code for the face morpher."""
        behind, brows = self._layers or self._missing_layers()
        crop = image[:, :, *_FACE].clone()
        moved = self._parts["eyebrow_morphing_combiner"](behind, brows, pose)
        crop[:, :, *_BROWS_IN_FACE] = moved[2]
        return crop, self._parts["face_morpher"].encode(crop)

    def _missing_layers(self) -> tuple[Tensor, Tensor]:
        raise FeatflowError("no still yet: call set_image first")

    def _turned(self, whole: Tensor, pose: Tensor) -> Tensor:
        small = _resized(whole, 256)
        _, turned, change = self._parts["two_algo_face_body_rotator"](small, pose)
        edited = self._parts["editor"](whole, _resized(turned, 512), _resized(change, 512), pose)
        final: Tensor = edited[0]
        return final


def _key(part: NDArray[np.float32]) -> bytes:
    return (np.asarray(part, np.float32) + np.float32(0.0)).tobytes()  # knows no minus zero


def _digest(networks: Mapping[str, nn.Module]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in sorted(networks):
        for name, tensor in networks[part].state_dict().items():
            digest.update(f"{part}.{name}".encode())
            digest.update(tensor.cpu().float().contiguous().numpy().tobytes())
    return digest.digest()


def _resized(image: Tensor, side: int) -> Tensor:
    return functional.interpolate(image, (side, side), mode="bilinear", align_corners=False)


def to_tensor(image: Image) -> Tensor:
    """BGRA uint8 to (1, 4, H, W) linear RGBA in -1..1; invisible pixels become nothing."""
    rgba = image[..., [2, 1, 0, 3]].astype(np.float32) / 255
    rgba[rgba[..., 3] == 0] = 0
    srgb = rgba[..., :3]
    rgba[..., :3] = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return torch.from_numpy(np.ascontiguousarray(rgba.transpose(2, 0, 1)[None] * 2 - 1))


def to_image(tensor: Tensor) -> Image:
    """Inverse of :func:`to_tensor`, truncated as published, not rounded."""
    rgba = np.clip(tensor[0].float().cpu().numpy().transpose(1, 2, 0) / 2 + 0.5, 0, 1)
    linear = rgba[..., :3]
    srgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    straight = np.concatenate([srgb[..., ::-1], rgba[..., 3:]], -1)
    # Half a thousandth of a level: float32 must not turn an exact 17 into 16.
    return (straight * 255 + 5e-4).astype(np.uint8)
