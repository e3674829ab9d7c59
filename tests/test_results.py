import json
import os
import shutil
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest

import facevae
from facevae import ModelConfig, Recipe, prepare, results, train
from facevae.__main__ import main

TINY = Recipe("tiny", "a | test", ModelConfig(latents=4, channels=(4, 8)), epochs=2, batch=16)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    return prepare("synthetic", out=folder / "drawn", size=16, count=120, progress=False)


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(TINY, faces, out, device="cpu", progress=False)
    return out


@pytest.fixture(autouse=True)
def known_mig(monkeypatch):
    """The metric is tested with itself; here is seen that its figure arrives."""
    fake = SimpleNamespace(scores=lambda codes, factors, seed: {"mig": 0.25 if factors else 0.0})
    monkeypatch.setitem(sys.modules, "facevae.disentanglement", fake)
    monkeypatch.setattr(facevae, "disentanglement", fake, raising=False)


def curve(*losses):
    return [{"val_loss": loss} for loss in losses]


@pytest.mark.parametrize(
    "losses, share, verdict",
    [
        ((100, 50, 0, 0, 0), 0.0, "flat"),
        ((100, 0.5, 0.5, 0.5, 0), 0.005, "flat"),
        ((100, 80, 60, 40, 20), 0.25, "still falling"),
        ((100, 0, 90, 90, 90, 90, 90, 90, 90, 90), 0.0, "flat"),  # the best counts, not the last
        ((100, 60, 50, 40, 30, 20, 0), 0.3, "still falling"),  # a fifth of 7 is 2 epochs
        ((100, 50), 1.0, "too short to say"),
        ((1, 2, 3, 4, 5), None, "never fell"),
    ],
)
def test_the_end_of_known_curves(losses, share, verdict):
    if share is not None:
        assert results.tail_share(curve(*losses)) == pytest.approx(share)
    assert results.settled(curve(*losses)) == verdict


def test_a_run_tells_its_recipe_from_either_file(folder, faces, tmp_path):
    run = results.read_run(folder)
    assert run.recipe["why"] == "a | test" and run.recipe["model"]["latents"] == 4
    assert run.recipe["model"]["image_shape"] == [3, 16, 16]  # as trained, not the default
    assert run.shape == (120, 16, 16, 3) and len(run.history) == 2
    for name in ("history.csv", "best"):
        (tmp_path / name).symlink_to(folder / name)
    bare = results.read_run(tmp_path)
    assert bare.name == tmp_path.name and bare.shape == (0, 16, 16, 3)
    about = {"recipe": asdict(TINY), "faces": {"shape": [120, 16, 16, 3], "source": "elsewhere"}}
    (tmp_path / "recipe.json").write_text(json.dumps(about))
    told = results.read_run(tmp_path)
    assert (told.name, told.shape, told.source) == ("tiny", run.shape, "elsewhere")


def test_faces_are_told_by_number_size_and_source(folder, faces, tmp_path):
    other = prepare("synthetic", out=tmp_path / "other", size=16, count=30, progress=False)
    run = results.read_run(folder)
    assert results.faces_of(run, [other, faces]) is faces
    assert results.faces_of(run, [other]) is None


def test_figures_are_kept_until_the_model_is_newer(folder, faces):
    run = results.read_run(folder)
    first = results.figures(run, faces, machine="an abacus")
    assert first["psnr"] > 0 and first["mig"] == 0.25 and len(first["kl_per_latent"]) == 4
    assert first["kl"] == pytest.approx(sum(first["kl_per_latent"]), abs=1e-3)  # rounded each
    path = folder / "figures.json"
    path.write_text(path.read_text().replace('"an abacus"', '"two"'))
    assert results.figures(run)["machine"] == "two"  # read, not evaluated, and no data needed
    assert results.figures(run, faces, "three")["machine"] == "three"
    os.utime(path, ns=(0, 0))
    with pytest.raises(ValueError, match="--data"):
        results.figures(run)
    again = results.figures(run, faces)
    assert again == first | {"machine": "three"}  # the machine does not grow stale


def test_the_table_has_a_row_a_run_and_its_rules(folder, faces, capsys):
    data = ["--data", str(faces.folder)]
    assert main(["results", str(folder), *data, "--machine", "1 core"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| tiny | synthetic, 120 faces | 16×16 | 4")
    assert "| under 1 min, 1 core |" in lines[2] and "| 0.250 | too short to say |" in lines[2]
    assert lines[2].count("|") == lines[0].count("|") == lines[1].count("|")
    assert results.RULE in lines and results.NOTES in lines
    assert main(["results", str(folder / "best")]) == 2
    assert "no run with a finished epoch" in capsys.readouterr().err


def test_cells_cannot_break_the_table():
    text = results.table([{"recipe": "a|<b>", "command": "train `x` | y"}])
    assert text.splitlines()[2] == "| a\\|&lt;b&gt; | `train x \\| y` |"


def test_the_command_names_what_differs_from_the_recipe(folder):
    run = results.read_run(folder)
    assert results.command_of(run, "drawn") == "a recipe made in code: tiny"
    known = json.loads(json.dumps(asdict(facevae.RECIPES["drawn"])))
    named = results.Run(folder, known | {"seed": 3}, run.shape, "", run.history)
    command = "python -m facevae train drawn --data data/d --out runs/tiny --seed 3"
    assert results.command_of(named, "d") == f"{command} --set epochs=2"
    changed = results.Run(folder, known | {"beta": 9.0}, run.shape, "", run.history)
    assert results.command_of(changed, "d").endswith("--set beta=9.0 --set epochs=2")
    narrow = known | {"model": known["model"] | {"channels": [8, 16], "sigma": None}}
    settings = results.settings_of(results.Run(folder, narrow, run.shape, "", run.history))
    assert settings == ["epochs=2", "model.channels=8,16"]
    again = facevae.RECIPES["drawn"].with_settings(settings)  # what is printed can be typed
    assert again.epochs == 2 and again.model.channels == (8, 16)


def test_runs_of_other_seeds_are_one_row_with_their_spread(folder, faces, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    about = json.loads((other / "recipe.json").read_text())
    about["recipe"]["seed"] = 7
    (other / "recipe.json").write_text(json.dumps(about))
    found = results.figures(results.read_run(folder), faces)
    moved = found | {"psnr": found["psnr"] + 2.0}
    (other / "figures.json").write_text(json.dumps(moved))
    (one,) = results.rows_of([folder, other])
    mean, spread = (float(x) for x in one["PSNR"].split(" ± "))
    assert mean == pytest.approx(found["psnr"] + 1, abs=0.01) and spread == pytest.approx(
        2**0.5, abs=0.01
    )
    assert one["recipe"] == "tiny, 2 seeds" and one["SSIM"].endswith("± 0.000")
