"""The examples of docs/py-feat.md run."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "py-feat.md"


def test_examples(capsys):
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, PAGE.name, "exec"), {"__name__": "example"})
    out = capsys.readouterr().out
    assert "Detector(face=retinaface, landmark=mobilefacenet, pose=pose_mlp, au=xgb" in out
    assert out.endswith("pose_mlp\n")
