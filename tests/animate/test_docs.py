"""The example of docs/animate.md, run as it stands."""

from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "animate.md"


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, landmarks, still):
    monkeypatch.chdir(tmp_path)
    np.save("landmarks.npy", landmarks)
    example = PAGE.read_text().split("```python\n")[1].split("```")[0]
    names = {"img": still}
    exec(compile(example, str(PAGE), "exec"), names)
    assert names["core"].stats().inferences == 3
