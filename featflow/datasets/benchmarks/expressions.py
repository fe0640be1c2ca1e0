"""Expressions that people named: AffectNet and RAF-DB."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from featflow.datasets.benchmarks.files import first_folder, lines_of, numbers_of, present
from featflow.datasets.benchmarks.sets import FaceSet, of_photographs
from featflow.errors import InputError
from featflow.fex.schema import EMOTIONS

AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
"""Codes 0 to 6; 7 is contempt, 8 to 10 are no expression, and none of them is ours."""

RAF = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""Codes 1 to 7."""


def affectnet(root: Path) -> FaceSet:
    """The validation part of AffectNet, without contempt and what is no expression.

    Either ``val_set/images/0.jpg`` with ``val_set/annotations/0_exp.npy`` (crops of 224 pixels),
    or ``validation.csv``, in ``root`` or ``Manually_Annotated_file_lists/``, with the pictures in
    ``Manually_Annotated_Images/`` and the box of each face.
    """
    codes = sorted((root / "val_set" / "annotations").glob("*_exp.npy"), key=_number)
    return _affectnet_arrays(root, codes) if codes else _affectnet_table(root)


def _number(path: Path) -> tuple[int, str]:
    head = path.name.split("_")[0]
    return (int(head) if head.isdecimal() else -1, path.name)


def _affectnet_arrays(root: Path, codes: list[Path]) -> FaceSet:
    pictures, labels = [], []
    for path in codes:
        code = _scalar(path)
        if code < len(AFFECTNET):
            name = path.name.removesuffix("_exp.npy") + ".jpg"
            pictures.append(root / "val_set" / "images" / name)
            labels.append(EMOTIONS.index(AFFECTNET[code]))
    return of_photographs(present(pictures), emotions=np.array(labels, np.int64))


def _scalar(path: Path) -> int:
    """The code in a file of one number, which may be written as text."""
    try:
        return int(np.load(path, allow_pickle=False).item())
    except (ValueError, OSError) as error:
        raise InputError(str(path), f"does not hold one number: {error}") from error


def _affectnet_table(root: Path) -> FaceSet:
    path = first_folder(root, "Manually_Annotated_file_lists") / "validation.csv"
    pictures, boxes, labels = [], [], []
    for row in csv.reader(lines_of(path)):
        if row[0] == "subDirectory_filePath":  # some releases have a first row of names
            continue
        if len(row) < 7:
            raise InputError(str(path), f"expected 9 columns, got {len(row)}: {row}")
        code = int(numbers_of(path, row[6:7])[0])
        if code < len(AFFECTNET):
            x, y, width, height = numbers_of(path, row[1:5])
            pictures.append(root / "Manually_Annotated_Images" / row[0])
            boxes.append([x, y, x + width, y + height])
            labels.append(EMOTIONS.index(AFFECTNET[code]))
    return of_photographs(
        present(pictures), np.array(boxes).reshape(-1, 4), emotions=np.array(labels, np.int64)
    )


def raf_db(root: Path) -> FaceSet:
    """The test part of RAF-DB's basic expressions.

    ``EmoLabel/list_patition_label.txt`` has rows ``test_0001.jpg 4``; the pictures are
    ``Image/original/test_0001.jpg`` with ``Annotation/boundingbox/test_0001_boundingbox.txt``,
    or, without the originals, ``Image/aligned/test_0001_aligned.jpg``.
    """
    path = root / "EmoLabel" / "list_patition_label.txt"
    originals = (root / "Image" / "original").is_dir()
    pictures, boxes, labels = [], [], []
    for line in lines_of(path):
        name, _, code = line.partition(" ")
        if not name.startswith("test_"):
            continue
        stem = Path(name).stem
        number = int(numbers_of(path, [code])[0])
        if not 1 <= number <= len(RAF):
            raise InputError(str(path), f"has a label that is not 1 to 7: {line!r}")
        original, aligned = f"original/{name}", f"aligned/{stem}_aligned.jpg"
        pictures.append(root / "Image" / (original if originals else aligned))
        boxes.append(_raf_box(root, stem) if originals else [np.nan] * 4)
        labels.append(EMOTIONS.index(RAF[number - 1]))
    return of_photographs(
        present(pictures), np.array(boxes).reshape(-1, 4), emotions=np.array(labels, np.int64)
    )


def _raf_box(root: Path, stem: str) -> list[float]:
    """Corners of a face, or NaN where the folder of boxes was left out."""
    path = root / "Annotation" / "boundingbox" / f"{stem}_boundingbox.txt"
    if not path.is_file():
        return [np.nan] * 4
    return numbers_of(path, " ".join(lines_of(path)).split(), 4)
