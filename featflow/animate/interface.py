"""``get_core``: the documented way to make a core, argument by argument."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate.animator import Animator, Image
from featflow.animate.cache import FrameCache
from featflow.animate.codecs import codec_for_quality
from featflow.animate.core import AnimationCore, AnimatorSource
from featflow.animate.interpolate import (
    FlowInterpolator,
    Interpolator,
    PoseInterpolator,
    check_scale,
)
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.quantize import PoseQuantizer
from featflow.animate.rig import Rig
from featflow.animate.store import RamStore, SqliteStore, Store
from featflow.animate.upscale import LanczosUpscaler, Upscaler
from featflow.errors import FeatflowError, OptionError

_log = logging.getLogger(__name__)

RigLike = Rig | str | Path | NDArray[np.floating[Any]]

_shown: set[str] = set()


def get_core(
    device_id: int = 0,
    use_tensorrt: bool = True,
    model_seperable: bool = True,
    model_half: bool = True,
    model_cache: bool = True,
    model_vram_cache: bool = True,
    model_cache_size: float = 1,
    use_cacher: bool = True,
    cacher_on_database: bool = False,
    cacher_quality: int = 85,
    cacher_ram_size: float = 2,
    cacher_db_path: str | Path = "./cacher.sqlite",
    use_interpolation: bool = True,
    interpolation_scale: int = 2,
    interpolation_half: bool = True,
    use_sr: bool = False,
    sr_x4: bool = True,
    sr_half: bool = True,
    sr_noise: int = 1,
    *,
    rig: RigLike | None = None,
    tha3_weights: str | Path | None = None,
    rife_weights: str | Path | None = None,
    interpolator: str | Interpolator = "auto",
    upscaler: Upscaler | None = None,
    quantizer: PoseQuantizer | None = None,
    cacher_db_size: float = 2,
    strict: bool = False,
) -> AnimationCore:
    """Make a core. Arguments up to ``sr_noise`` are those of the published interface.

    Without ``tha3_weights`` the still is warped on the CPU by its landmarks, which needs no
    weights. What was asked for and is not there (TensorRT, a GPU) is named in
    ``core.info["ignored"]`` and in one warning; ``strict`` makes it an error.

    Args:
        device_id: GPU for THA3.
        use_tensorrt: not available in featflow; torch is used.
        model_seperable: separable or standard THA3 networks (the spelling is the published one).
        model_half: THA3 in float16 where the device computes in it.
        model_cache: keep intermediate results of THA3.
        model_vram_cache: keep them on the device; they always are.
        model_cache_size: gigabytes of them.
        use_cacher: keep drawn frames.
        cacher_on_database: in an SQLite file, which outlives the process, not in memory.
        cacher_quality: 0 to 99 JPEG quality of what changed, alpha exact; 100 uncompressed.
        cacher_ram_size: gigabytes of frames in memory.
        cacher_db_path: the SQLite file.
        use_interpolation: return frames in between too.
        interpolation_scale: 2, 3 or 4 frames for each pose.
        interpolation_half: RIFE in float16 where the device computes in it.
        use_sr: enlarge frames.
        sr_x4: four times, not twice.
        sr_half, sr_noise: for learned enlargement; they have no effect on the one here.
        rig: of the still: a :class:`Rig`, a JSON file, or 68 landmarks; found if None.
        tha3_weights: folder of Talking Head Anime 3 weights.
        rife_weights: ``flownet.pkl`` of RIFE 4.25 lite, to interpolate with it.
        interpolator: ``"pose"`` draws the poses in between, ``"flow"`` moves pixels, ``"auto"``
            is RIFE with ``rife_weights``, else ``"pose"`` for a deterministic animator; or one of
            your own.
        upscaler: one of your own, such as a learned model.
        quantizer: rounds poses.
        cacher_db_size: gigabytes of frames in the SQLite file.
        strict: raise on anything that is not available and on poses out of range.

    Raises:
        OptionError: an argument is out of range, or under ``strict`` not available.
        MissingInputError: there are no such weights.
        WeightsError: the weights cannot be used.
    """
    check_scale(interpolation_scale)
    codec = codec_for_quality(cacher_quality)
    ignored: dict[str, str] = {}
    source, details = _animator_source(
        rig, tha3_weights, device_id, model_seperable, model_half, ignored,
        _gigabytes("model_cache_size", model_cache_size) if model_cache else 0,
    )  # fmt: skip
    if use_tensorrt:
        ignored["use_tensorrt"] = "featflow has no TensorRT; torch runs THA3, OpenCV the rest"
    between: Interpolator | None = None
    if use_interpolation and rife_weights is not None:
        half = interpolation_half
        between = _rife(rife_weights, interpolation_scale, device_id, half, ignored)
    elif use_interpolation:
        between = _interpolator(interpolator, interpolation_scale, source)
    _report(ignored, strict)
    cacher = None
    if use_cacher:
        store = _store(cacher_on_database, cacher_db_path, cacher_ram_size, cacher_db_size)
        cacher = FrameCache(store, codec)
    return AnimationCore(
        source,
        cacher=cacher,
        interpolator=between,
        upscaler=(upscaler or LanczosUpscaler(4 if sr_x4 else 2)) if use_sr else None,
        quantizer=quantizer,
        strict=strict,
        info={**details, "ignored": ignored},
    )


def _name_unused(device_id: int, separable: bool, ignored: dict[str, str]) -> None:
    """Say what was asked for and means nothing to the default animator."""
    reason = "without tha3_weights the still is warped by its landmarks, on the CPU"
    if device_id != 0:
        ignored["device_id"] = reason
    if not separable:
        ignored["model_seperable"] = reason


def _gigabytes(name: str, value: float) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise OptionError(f"{name} is a number of gigabytes, 0 or more, got {value!r}")
    return int(value * 2**30)


def _store(on_database: bool, path: str | Path, ram_size: float, db_size: float) -> Store:
    if on_database:
        return SqliteStore(path, _gigabytes("cacher_db_size", db_size))
    return RamStore(_gigabytes("cacher_ram_size", ram_size))


def _report(ignored: Mapping[str, str], strict: bool) -> None:
    if not ignored:
        return
    reasons = "; ".join(f"{name}: {reason}" for name, reason in ignored.items())
    if strict:
        raise OptionError(f"not available: {reasons}")
    warnings.warn(f"get_core goes on without: {reasons}", stacklevel=3)


def _interpolator(
    wanted: str | Interpolator, scale: int, source: Animator | AnimatorSource
) -> Interpolator:
    if not isinstance(wanted, str) and hasattr(wanted, "between"):
        check_scale(wanted.scale)
        return wanted
    if wanted not in ("auto", "pose", "flow"):
        raise OptionError(f"interpolator is 'auto', 'pose' or 'flow', got {wanted!r}")
    exact = not isinstance(source, Animator) or source.deterministic
    pose = wanted == "pose" or (wanted == "auto" and exact)
    return PoseInterpolator(scale) if pose else FlowInterpolator(scale)


def _animator_source(
    rig: RigLike | None,
    weights: str | Path | None,
    device_id: int,
    separable: bool,
    half: bool,
    ignored: dict[str, str],
    cache_bytes: int,
) -> tuple[Animator | AnimatorSource, dict[str, Any]]:
    if isinstance(device_id, bool) or not isinstance(device_id, int) or device_id < 0:
        raise OptionError(f"device_id is the number of a GPU, 0 or more, got {device_id!r}")
    if weights is None:
        _name_unused(device_id, separable, ignored)
        given = None if rig is None else _as_rig(rig)
        return lambda image: _puppet(image, given), {"device": "cpu", "precision": "float32"}
    from featflow.animate.tha3.animator import Tha3Animator
    from featflow.animate.tha3.weights import ATTRIBUTION, load_networks

    device = _device(device_id, ignored)
    animator = Tha3Animator(
        load_networks(weights, separable=separable), device, half=half, cache_bytes=cache_bytes
    )
    if half and not animator.half:
        ignored["model_half"] = "CPUs do not compute in float16; float32 is used"
    if ATTRIBUTION not in _shown:
        _shown.add(ATTRIBUTION)
        _log.warning(ATTRIBUTION)
    precision = "float16" if animator.half else "float32"
    return animator, {"device": device, "precision": precision, "attribution": ATTRIBUTION}


def _device(device_id: int, ignored: dict[str, str]) -> str:
    import torch

    if torch.cuda.is_available() and 0 <= device_id < torch.cuda.device_count():
        return f"cuda:{device_id}"
    ignored["device_id"] = f"there is no GPU {device_id}; networks run on the CPU, slowly"
    return "cpu"


def _rife(
    weights: str | Path, scale: int, device_id: int, half: bool, ignored: dict[str, str]
) -> Interpolator:
    from featflow.animate.rife import RifeInterpolator, load_rife

    made = RifeInterpolator(load_rife(weights), scale, _device(device_id, ignored), half=half)
    if half and not made.half:
        ignored["interpolation_half"] = "CPUs do not compute in float16; float32 is used"
    return made


def _as_rig(rig: RigLike) -> Rig | NDArray[np.float64]:
    if isinstance(rig, Rig):
        return rig
    if isinstance(rig, str | Path):
        return Rig.load(rig)
    if not isinstance(rig, np.ndarray) or rig.shape != (68, 2):
        raise OptionError("rig is a Rig, a JSON file, or an array of 68 landmarks x, y")
    return np.asarray(rig, np.float64)


def _puppet(image: Image, rig: Rig | NDArray[np.float64] | None) -> MeshWarpAnimator:
    size = (image.shape[0], image.shape[1])
    if rig is None:
        from featflow.animate.find import find_rig

        return MeshWarpAnimator(find_rig(image))
    made = rig if isinstance(rig, Rig) else Rig(rig, size)
    if made.size_px != size:
        raise FeatflowError(
            f"the rig belongs to a still of {made.size_px[0]} x {made.size_px[1]} pixels, "
            f"this one has {size[0]} x {size[1]}"
        )
    return MeshWarpAnimator(made)
