"""The examples of docs/extract.md, run as they stand, and the names in its tables."""

import re
from pathlib import Path

import featflow.extract
import featflow.identity
from featflow import Detector, flow
from featflow.extract import realign, refeed, rotate
from featflow.fex import build
from featflow.flow import batch, node, session
from featflow.geometry import centring, crop, mask_ops, similarity
from featflow.tuning import compiled, profile, search, warmup

PAGE = (Path(__file__).parents[2] / "docs" / "extract.md").read_text(encoding="utf-8")
HOMES = (
    featflow, Detector, featflow.identity, featflow.extract, flow, realign, refeed, rotate,
    compiled, profile, search, warmup, build, batch, node, session, centring, crop,
    crop.CropRule, mask_ops, similarity, session.Session, batch.Batch,
    batch.FrameBatch, node.Node, flow.Flow,
)  # fmt: skip


def test_the_examples(capsys):
    space = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(block, space)
    assert capsys.readouterr().out == (
        "face/tiny+rotate landmark/tiny+clahe+refeed+realign filter/marks\n"
        "landmark/tiny+refeed+realign\n[True] 0.45\n4\nTrue True\n2.667\n"
        "1 True\n(2, 3) (128, 128, 3)\n"
    )


def test_every_name_of_ours_exists():
    rows = PAGE.split("| there | here |")[1].splitlines()[2:]
    here = [row.split("|")[2] for row in rows if row.startswith("|")]
    names = {n for cell in here for n in re.findall(r"`([A-Za-z_][\w.]*)", cell)}
    options = {"passthrough", "share", "count", "np.bincount", "pose", "fex", "Keep"}
    options |= {"FilterReason", "flow.nodes", "flow.levels", "profile", "mask"}
    known = {name.rsplit(".", 1)[-1] for home in HOMES for name in dir(home)}
    known |= {*featflow.extract.__all__, *flow.__all__}
    missing = [n for n in names - options if n.rsplit(".", 1)[-1] not in known | {"sizes_px"}]
    assert missing == []
    assert len(names) > 40
