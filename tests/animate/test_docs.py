"""The examples of docs/animate.md, run as they stand."""

from pathlib import Path

import numpy as np

PAGE = Path(__file__).parents[2] / "docs" / "animate.md"


def examples():
    """Code blocks of the page; the one with a user's weights cannot run here."""
    blocks = [part.split("```")[0] for part in PAGE.read_text().split("```python\n")[1:]]
    return [block for block in blocks if "tha3_weights" not in block]


def test_the_examples_of_the_page_run(tmp_path, monkeypatch, landmarks, still):
    monkeypatch.chdir(tmp_path)
    np.save("landmarks.npy", landmarks)
    names = {"img": still}
    counts = []
    for example in examples():
        exec(compile(example, str(PAGE), "exec"), names)
        counts.append(names["core"].stats().inferences)
    assert counts == [3, 18]
