"""Where a training run puts what it made."""

from __future__ import annotations


def test_overrides_on_the_command_line_never_ship(monkeypatch, tmp_path):
    from featflow.cli import app, fitting

    seen = {}

    def fit(recipe, folder, **options):
        seen.update(options, steps=recipe.optim.steps)
        return {"training": {"validation": {}}}

    monkeypatch.setattr(fitting, "fit_node", fit)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[node]\nid = "face/tiny"\n[optim]\nsteps = 5\nbatch_size = 1\n')
    assert app.run(["train", str(recipe), "--work", str(tmp_path)]) == 0
    assert seen["ship"] is True
    assert app.run(["train", str(recipe), "--set", "optim.steps=3"]) == 0
    assert (seen["ship"], seen["steps"]) == (False, 3)
