"""py-feat's ``Detectorv1``, as its documentation of version 2.0.3 has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from featflow.compat.inputs import checked_inputs
from featflow.detector import Detector
from featflow.errors import OptionError
from featflow.fex.schema import GROUPS
from featflow.identity.vectors import check_threshold

if TYPE_CHECKING:
    from featflow.fex.table import Fex

EMBEDDING_COLUMNS = tuple(f"Identity_{number}" for number in range(1, 513))
_ALIASES = {"arcface_r50": "arcface"}


class Detectorv1:
    """Runs py-feat scripts: the same constructor, the same ``detect``, the same columns.

    The networks are py-feat's. What they see is what they were trained on and not what py-feat
    2.0.3 feeds them; ``Detector.reference(preprocessing="reference")`` does that. Boxes are the
    detection itself and not the crop around it.

    Example:
        >>> from featflow.compat import Detectorv1
        >>> Detectorv1(au_model=None, emotion_model=None, identity_model=None, gaze_model=None)
        Detectorv1(face_model=retinaface, landmark_model=mobilefacenet, au_model=None, ...)

    Args:
        face_model, landmark_model, au_model, emotion_model, identity_model, gaze_model: see
            :attr:`SUPPORTED_MODELS`. None leaves out what may be left out.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, ``"auto"`` or a torch device.

    Attributes:
        info: the models that run.

    Raises:
        OptionError: a model is none of the options.
        UnmetNeedsError: a model needs landmarks, and ``landmark_model`` is None.
    """

    SUPPORTED_MODELS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
        {
            "face_model": {"options": ["retinaface", "img2pose"], "default": "retinaface"},
            "facepose_model": {"options": ["pose_mlp", "img2pose"], "default": "pose_mlp"},
            "landmark_model": {
                "options": ["mobilefacenet", "mobilenet", "pfld"],
                "default": "mobilefacenet",
            },
            "au_model": {"options": ["xgb", "svm", None], "default": "xgb"},
            "emotion_model": {"options": ["resmasknet", "svm", None], "default": "resmasknet"},
            "identity_model": {"options": ["arcface", "facenet", None], "default": "arcface"},
            "gaze_model": {"options": ["l2cs", None], "default": "l2cs"},
        }
    )

    def __init__(
        self,
        face_model: str = "retinaface",
        landmark_model: str | None = "mobilefacenet",
        au_model: str | None = "xgb",
        emotion_model: str | None = "resmasknet",
        identity_model: str | None = "arcface",
        gaze_model: str | None = "l2cs",
        device: Any = "cpu",
    ) -> None:
        given = {
            "face_model": face_model,
            "landmark_model": landmark_model,
            "au_model": au_model,
            "emotion_model": emotion_model,
            "identity_model": _ALIASES.get(str(identity_model), identity_model),
            "gaze_model": gaze_model,
        }
        for name, model in given.items():
            _check_model(name, model)
        pose = None
        if face_model != "img2pose" and landmark_model is not None:
            pose = "pose_mlp"
        self.info: dict[str, str | None] = {**given, "facepose_model": pose or "img2pose"}
        if pose is None and face_model != "img2pose":
            self.info["facepose_model"] = None
        nodes = {name.removesuffix("_model"): model for name, model in given.items()}
        self._detector = Detector(**nodes, pose=pose, device=str(device))  # type: ignore[arg-type]

    @property
    def device(self) -> str:
        """Where the networks run."""
        return self._detector.device

    def __repr__(self) -> str:
        order = ("face", "landmark", "au", "emotion", "facepose", "identity", "gaze")
        inside = ", ".join(f"{name}_model={self.info[f'{name}_model']}" for name in order)
        return f"Detectorv1({inside})"

    def detect(
        self,
        inputs: Any,
        data_type: str = "image",
        output_size: int | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        face_identity_threshold: float = 0.8,
        face_detection_threshold: float = 0.5,
        skip_frames: int | None = None,
        progress_bar: bool = True,
        save: str | Path | None = None,
        **kwargs: Any,
    ) -> Fex:
        """Detect faces.

        Args:
            inputs: path or list of paths of photos, path of a clip, or tensor (B, C, H, W) of
                0..255.
            data_type: ``"image"``, ``"video"`` or ``"tensor"``.
            output_size: bound on the longer side of the working picture. Pictures of different
                sizes need none.
            batch_size: frames at a time.
            num_workers: processes that decode.
            pin_memory: has no effect here.
            face_identity_threshold: least cosine of two faces of one person.
            face_detection_threshold: least score of a face, 0..1; it is honoured below 0.5 too.
            skip_frames: take every n-th frame of a clip.
            progress_bar: show frames a second and time left.
            save: file to write as the run goes on, and once more with the labels of people.
            **kwargs: none; py-feat takes any and does nothing with them.

        Returns:
            py-feat's columns, then those that featflow adds. Columns of a model that is None
            are NaN.

        Raises:
            OptionError: an argument is unknown or contradicts another one.
            InputError: an input cannot be read.
        """
        if kwargs:
            raise OptionError(f"detect has no arguments {', '.join(sorted(kwargs))}")
        if not isinstance(pin_memory, bool):
            raise OptionError(f"pin_memory is True or False, got {pin_memory!r}")
        check_threshold(face_identity_threshold)
        kind, checked = checked_inputs(inputs, data_type)
        if skip_frames is not None and kind != "video":
            raise OptionError(f"skip_frames is for data_type='video', not {kind!r}")
        fex = self._detector.detect(
            list(dict.fromkeys(checked)) if kind == "image" else checked,
            batch_size=batch_size,
            num_workers=num_workers,
            face_detection_threshold=face_detection_threshold,
            skip_frames=skip_frames,
            output_size=output_size,
            save=save,
            progress_bar=progress_bar,
        )
        if EMBEDDING_COLUMNS[0] in fex.columns:
            fex = fex.compute_identities(face_identity_threshold)
        fex = as_pyfeat(fex, kind, checked)
        if save is not None:
            fex.save(save)
        return fex


def as_pyfeat(fex: Fex, kind: str, inputs: Any) -> Fex:
    """A table with the columns, and the meaning of ``frame``, that py-feat's scripts know.

    Args:
        fex: what a detector gave.
        kind: ``"image"``, ``"video"`` or ``"tensor"``.
        inputs: with images their paths, in the order of the wanted rows; one may come twice.
    """
    import pandas as pd

    if kind == "image":
        parts = [fex[fex["input"] == path].assign(frame=at) for at, path in enumerate(inputs)]
        fex = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
    elif kind == "tensor":
        fex = fex.assign(input="tensor")
    else:
        fex = fex.assign(approx_time=[_clock(seconds) for seconds in fex["time"]])
    wanted = pyfeat_columns(kind)
    added = [name for name in fex.columns if name not in wanted]
    return fex.reindex(columns=[*wanted, *added])


def pyfeat_columns(kind: str) -> list[str]:
    """Columns of py-feat's table in its order: 694, and for a clip 695."""
    groups = ("facebox", "landmark", "pose", "au", "emotion")
    described = [name for group in groups for name in GROUPS[group].names()]
    gaze = GROUPS["gaze"].names()
    frame = ["FrameHeight", "FrameWidth", "input", "frame"]
    clock = ["approx_time"] if kind == "video" else []
    return [*described, *EMBEDDING_COLUMNS, *gaze, *frame, *clock, "Identity"]


def _check_model(name: str, model: Any) -> None:
    options = Detectorv1.SUPPORTED_MODELS[name]["options"]
    if name == "landmark_model" and model is None:
        return  # the constructor takes it, though the list of models does not say so
    if model not in options:
        listed = ", ".join(repr(option) for option in options)
        raise OptionError(f"{name} is one of {listed}; got {model!r}")


def _clock(seconds: float) -> str:
    """Minutes and seconds, as ``03:07``; py-feat's clock also has no hours."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
