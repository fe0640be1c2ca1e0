"""The benchmarks that are known, and where each must lie; nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from featflow.datasets.benchmarks import (
    action_units,
    expressions,
    gaze,
    head_pose,
    landmarks,
    pairs,
    wider_face,
)
from featflow.datasets.benchmarks.sets import AnySet
from featflow.errors import FeatflowError, InputError, MissingInputError, OptionError

ROOT_VARIABLE = "FEATFLOW_DATA"
"""Environment variable of the folder that holds data sets, each in a folder of its name."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A data set of the field that a user may have.

    Attributes:
        name: as in ``featflow evaluate --data``, and of its folder in the catalogue ``datasets/``.
        title: what its authors call it.
        url: their page.
        kinds: kinds of nodes that are measured on it.
        expected: patterns of files below its root that must be there; `` or `` between
            those of which one is enough.
        load: reads it from its root.
    """

    name: str
    title: str
    url: str
    kinds: tuple[str, ...]
    expected: tuple[str, ...]
    load: Callable[[Path], AnySet]


_ALL = (
    Benchmark(
        "disfa",
        "DISFA",
        "http://mohammadmahoor.com/disfa/",
        ("au",),
        ("ActionUnit_Labels/SN*/SN*_au*.txt", "Videos_LeftCamera/LeftVideoSN*_comp.avi"),
        action_units.disfa,
    ),
    Benchmark(
        "disfa_plus",
        "DISFA+",
        "http://mohammadmahoor.com/disfa/",
        ("au",),
        ("Labels/SN*/*/AU*.txt", "Images/SN*/*/*.jpg"),
        action_units.disfa_plus,
    ),
    Benchmark(
        "bp4d",
        "BP4D",
        "http://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
        ("au",),
        (
            "AUCoding/AU_OCC/*_T*.csv",
            "[FM][0-9][0-9][0-9]/T[0-9]/*.jpg or */[FM][0-9][0-9][0-9]/T[0-9]/*.jpg",
        ),
        action_units.bp4d,
    ),
    Benchmark(
        "affectnet",
        "AffectNet",
        "http://mohammadmahoor.com/affectnet/",
        ("emotion",),
        (
            "val_set/annotations/*_exp.npy or validation.csv or "
            "Manually_Annotated_file_lists/validation.csv",
            "val_set/images/*.jpg or Manually_Annotated_Images/*/*",
        ),
        expressions.affectnet,
    ),
    Benchmark(
        "raf_db",
        "RAF-DB",
        "http://www.whdeng.cn/RAF/model1.html",
        ("emotion",),
        (
            "EmoLabel/list_patition_label.txt",
            "Image/original/test_*.jpg or Image/aligned/test_*_aligned.jpg",
        ),
        expressions.raf_db,
    ),
    Benchmark(
        "lfw",
        "LFW",
        "http://vis-www.cs.umass.edu/lfw/",
        ("identity",),
        ("pairs.txt", "lfw/*/*.jpg or lfw-deepfunneled/*/*.jpg or lfw_funneled/*/*.jpg or */*.jpg"),
        pairs.lfw,
    ),
    Benchmark(
        "calfw",
        "CALFW",
        "http://whdeng.cn/CALFW/",
        ("identity",),
        (
            "pairs_CALFW.txt",
            "images&landmarks/images&landmarks/images/*.jpg or images&landmarks/images/*.jpg "
            "or images/*.jpg or aligned images/*.jpg",
        ),
        pairs.calfw,
    ),
    Benchmark(
        "cplfw",
        "CPLFW",
        "http://whdeng.cn/CPLFW/",
        ("identity",),
        (
            "pairs_CPLFW.txt",
            "images&landmarks/images&landmarks/images/*.jpg or images&landmarks/images/*.jpg "
            "or images/*.jpg or aligned images/*.jpg",
        ),
        pairs.cplfw,
    ),
    Benchmark(
        "300w",
        "300W",
        "https://ibug.doc.ic.ac.uk/resources/300-W/",
        ("landmark",),
        (
            "01_Indoor/*.pts or 02_Outdoor/*.pts or ibug/*.pts or helen/testset/*.pts "
            "or lfpw/testset/*.pts",
        ),
        landmarks.three_hundred_w,
    ),
    Benchmark(
        "wider_face",
        "WIDER FACE",
        "http://shuoyang1213.me/WIDERFACE/",
        ("face",),
        (
            "wider_face_split/wider_face_val_bbx_gt.txt or eval_tools/ground_truth/wider_*_val.mat "
            "or ground_truth/wider_*_val.mat or wider_*_val.mat",
            "WIDER_val/images/*/*.jpg",
        ),
        wider_face.wider_face,
    ),
    Benchmark(
        "gaze360",
        "Gaze360",
        "http://gaze360.csail.mit.edu",
        ("gaze",),
        ("metadata.mat or test.txt", "imgs/*/head/*/*.jpg"),
        gaze.gaze360,
    ),
    Benchmark(
        "mpiifacegaze",
        "MPIIFaceGaze",
        "https://www.perceptualui.org/research/datasets/MPIIFaceGaze/",
        ("gaze",),
        ("p[0-9][0-9]/p[0-9][0-9].txt", "p[0-9][0-9]/day*/*.jpg"),
        gaze.mpiifacegaze,
    ),
    Benchmark(
        "columbia_gaze",
        "Columbia Gaze",
        "https://www.cs.columbia.edu/CAVE/databases/columbia_gaze/",
        ("gaze",),
        ("**/*_2m_*P_*V_*H.jpg",),
        gaze.columbia_gaze,
    ),
    Benchmark(
        "biwi",
        "BIWI Kinect Head Pose",
        "https://data.vision.ee.ethz.ch/cvl/gfanelli/head_pose/head_forest.html",
        ("pose",),
        (
            "[0-9][0-9]/frame_*_pose.txt",
            "[0-9][0-9]/frame_*_rgb.png",
            "[0-9][0-9]/rgb.cal",
        ),
        head_pose.biwi,
    ),
    Benchmark(
        "aflw2000",
        "AFLW2000-3D",
        "http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
        ("landmark", "pose"),
        ("image*.mat", "image*.jpg"),
        head_pose.aflw2000,
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({each.name: each for each in _ALL})
"""Name to benchmark."""


def benchmark(name: str) -> Benchmark:
    """A benchmark by its name.

    Raises:
        OptionError: it is not known; the message lists those that are.
    """
    if name not in BENCHMARKS:
        raise OptionError(f"no data set is called {name!r}; known: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def load_benchmark(name: str, root: str | Path | None = None) -> AnySet:
    """Read a benchmark from a folder of this machine.

    Args:
        name: one of :data:`BENCHMARKS`.
        root: the set's folder; ``$FEATFLOW_DATA/<name>`` if None.

    Raises:
        OptionError: no such benchmark.
        MissingInputError: the set is not there, or not as a whole; says what was looked for and
            where the catalogue says how to get it.
        InputError: a file is not what the set's authors publish.
    """
    found = benchmark(name)
    folder = _folder(found, root)
    missing = [each for each in found.expected if not _any(folder, each)]
    if missing:
        raise MissingInputError(
            str(folder), f"does not hold {found.title}: no {'; no '.join(missing)}", _page(found)
        )
    try:
        loaded = found.load(folder)
    except FeatflowError:
        raise
    except (IndexError, KeyError, ValueError, OverflowError) as error:
        what = f"is not {found.title} as its authors publish it: {error}"
        raise InputError(str(folder), what, _page(found)) from error
    if not len(loaded):
        raise InputError(str(folder), f"holds no labelled picture of {found.title}", _page(found))
    return loaded


def _folder(found: Benchmark, root: str | Path | None) -> Path:
    base = os.environ.get(ROOT_VARIABLE)
    if root is None and not base:
        raise MissingInputError(
            found.title,
            f"its folder is not known; name it (--root), or set {ROOT_VARIABLE} to the folder that "
            f"holds {found.name}/ with {', '.join(found.expected)}",
            _page(found),
        )
    return Path(root) if root is not None else Path(str(base)) / found.name


def _any(folder: Path, patterns: str) -> bool:
    return any(next(folder.glob(each), None) is not None for each in patterns.split(" or "))


def _page(found: Benchmark) -> str:
    page = f"datasets/{found.name}/README.md"
    return f"{page} says how to get it from {found.url}; featflow does not download it"
