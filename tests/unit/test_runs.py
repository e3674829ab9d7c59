"""The folder of a run: what is left there, how it is resumed, and when that is refused."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from facevae import RECIPES, FaceSet, FaceVAE, read_history, train
from facevae.__main__ import main
from facevae.imaging.alignment import locate
from facevae.imaging.photo import open_photo
from facevae.latents.diagnostics import LatentStatistics
from tests.helpers import HARM, QUIET, TINY, content, failing, python, refused, snapshot


def test_a_run_leaves_all_it_promises(small_run):
    rows = read_history(small_run)
    assert {"train_loss", "grad_norm", "lr", "minutes"} < {*rows[0]}
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    for row in rows:  # at β = 1 the validation loss is the negative ELBO: its two parts
        assert row["val_loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-4)
    # σ starts at the first batch's optimum: at most half a nat a number, no 33,924 beside −967
    assert abs(rows[0]["val_loss"] - rows[0]["train_loss"]) < 0.5 * 768
    assert sorted(p.name for p in small_run.glob("epoch_*")) == ["epoch_002", "epoch_003"]
    assert FaceVAE.from_pretrained(small_run / "best").config.image_shape == (3, 16, 16)
    assert LatentStatistics.load(small_run / "best").prior.means.shape[1] == 4
    with Image.open(small_run / "monitor" / "epoch_003.png") as strip:
        assert strip.size == (9 * 16, 16)
    about = json.loads((small_run / "recipe.json").read_text())
    assert about["recipe"]["model"]["latents"] == 4
    assert about["faces"] == {"shape": [120, 16, 16, 3], "source": "synthetic"}


def test_best_is_of_the_lowest_validation_loss(small_faces, tmp_path):
    recipe = TINY.with_settings(["keep_every=1", "lr=0.03", "epochs=4", "rescale=false"])
    train(recipe, small_faces, tmp_path, **QUIET)
    best = min(read_history(tmp_path), key=lambda row: row["val_loss"])["epoch"]
    folders = (tmp_path / "best", tmp_path / f"epoch_{int(best):03d}")
    assert len({(folder / "model.safetensors").read_bytes() for folder in folders}) == 1


def test_a_run_of_all_options_in_two_parts_ends_with_the_same_bits(small_faces, tmp_path):
    options = ["balance=age", "weigh=age", "warmup=2", "augment=true", "tcvae=true", "beta=3",
               "bf16=true", "schedule=plateau"]  # fmt: skip
    recipe, parts = TINY.with_settings(options), tmp_path / "parts"
    train(recipe, small_faces, tmp_path / "whole", **QUIET)
    train(recipe.changed(epochs=1), small_faces, parts, **QUIET)
    train(recipe, small_faces, parts, resume=True, **QUIET)
    whole, found = content(tmp_path / "whole"), content(parts)
    assert whole == {name: found[name] for name in whole} and len(read_history(parts)) == 3


def test_an_interrupted_run_says_how_to_go_on_and_does(small_faces, small_run, tmp_path):
    def stop(rows):
        raise KeyboardInterrupt

    steps = len(small_faces.split(0)["train"]) // 16
    said = "keeps 1 of 3 epochs: the same command with --resume (resume=True) goes"
    with refused(KeyboardInterrupt, said):
        train(TINY, failing(small_faces, steps + 6, stop), tmp_path, **QUIET)
    with pytest.raises(ValueError, match=r"add --resume \(resume=True\)"):
        train(TINY, small_faces, tmp_path, **QUIET)
    train(TINY, small_faces, tmp_path, resume=True, **QUIET)
    assert content(tmp_path) == content(small_run)


def test_a_finished_run_can_be_made_longer_only(small_faces, grey_faces, small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "longer")
    train(TINY.changed(epochs=4), small_faces, tmp_path / "longer", resume=True, **QUIET)
    longer = read_history(tmp_path / "longer")
    assert longer[:3] == read_history(small_run) and longer[3]["epoch"] == 4
    assert LatentStatistics.load(tmp_path / "longer" / "best").prior.means.shape[1] == 4
    before, said = snapshot(small_run), "of another recipe or other faces: choose another folder"
    for recipe, given, words in (
        (TINY.changed(epochs=2), small_faces, "holds 3 epochs already: ask for as many, or more"),
        (TINY.changed(lr=1e-2), small_faces, said), (TINY, grey_faces, said),
    ):  # fmt: skip
        with refused(ValueError, words):
            train(recipe, given, small_run, resume=True, **QUIET)
    train(TINY, small_faces, small_run, resume=True, **QUIET)  # there is nothing left to do
    assert snapshot(small_run) == before


def test_foreign_and_broken_checkpoints_are_refused(small_faces, small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, whole = tmp_path / "checkpoint.pt", (small_run / "checkpoint.pt").read_bytes()
    for held in (HARM, whole[:-500], b"", {"identity": tmp_path}, [1, 2]):
        path.write_bytes(held) if isinstance(held, bytes) else torch.save(held, path)
        before = snapshot(tmp_path)
        with refused(ValueError, "checkpoint.pt is no whole checkpoint ("):
            train(TINY, small_faces, tmp_path, resume=True, **QUIET)
        assert snapshot(tmp_path) == before  # and no file called harm


def test_a_run_may_begin_with_a_trained_model(small_faces, small_run, tmp_path):
    start = str(small_run / "best")
    still = TINY.changed(epochs=1, lr=0.0, start=start, rescale=False)
    again = train(still, small_faces, tmp_path / "a", **QUIET)
    weights = dict(FaceVAE.from_pretrained(start).named_parameters())
    assert all(torch.equal(weights[name], one) for name, one in again.named_parameters())
    with refused(ValueError, "has another latents than the recipe: change it by --set"):
        train(still.with_settings(["model.latents=7"]), small_faces, tmp_path / "b", **QUIET)


def test_the_monitor_shows_the_photos_asked_for(small_faces, grey_faces, portraits, tmp_path):
    train(TINY.changed(epochs=1), small_faces, tmp_path / "colour", **QUIET, monitor=portraits)
    with Image.open(tmp_path / "colour" / "monitor" / "epoch_001.png") as strip:
        shown = np.asarray(strip).astype(float)
    for photo, part in zip(portraits, (shown[:, :16], shown[:, -16:]), strict=True):
        picture = open_photo(photo)
        assert np.abs(part - locate(picture, "face").alignment.crop(picture, 16)).max() == 0
    with pytest.raises(ValueError, match="a morph of two photos, not of 1"):
        train(TINY, small_faces, tmp_path / "other", **QUIET, monitor=portraits[:1])
    grey = FaceSet(grey_faces.folder)
    grey.labels["age"] = np.arange(len(grey)) % 80
    recipe = TINY.with_settings(["epochs=1", "model.conditions=age"])
    train(recipe, grey, tmp_path / "grey", **QUIET, monitor=portraits)
    with Image.open(tmp_path / "grey" / "monitor" / "epoch_001.png") as strip:
        assert strip.size == (9 * 20, 28) and strip.mode == "L"


def test_a_grid_trains_each_combination_once_and_names_the_best(small_faces, tmp_path, capsys):
    command = ["train", "drawn", "--data", str(small_faces.folder), "--out", str(tmp_path), "--set",
               "epochs=1", "--set", "model.channels=4,8", "--set", "model.blocks=0", "--device",
               "cpu", "--grid", "batch=16,32", "--grid", "model.latents=2,3"]  # fmt: skip
    assert main(command) == 0 and capsys.readouterr().out.count("validation loss") == 4
    with open(tmp_path / "grid.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    pairs = [row["batch"] + row["model.latents"] for row in rows]
    assert pairs == ["162", "163", "322", "323"] and rows[0]["best_epoch"] == "1"
    folder = tmp_path / "batch=16_latents=2"
    assert rows[0]["command"] == (
        f"python -m facevae train drawn --data {small_faces.folder} --out {folder} --set epochs=1 "
        "--set model.channels=4,8 --set model.blocks=0 --set batch=16 --set model.latents=2"
    )
    ranking = [row["folder"] for row in sorted(rows, key=lambda row: float(row["val_loss"]))]
    assert (tmp_path / "best.txt").read_text().split() == ranking[:2]
    before = snapshot(folder)
    assert main(command) == 0  # there is nothing left to do
    assert snapshot(folder) == before


@pytest.mark.slow
def test_two_processes_train_one_model(small_faces, tmp_path):
    """They share each batch, validate all faces, resume, and end about where one would."""
    settings = ["balance=age", "augment=true", "batch=15", "lr=0.003", "model.latents=4",
                "model.channels=4,8", "schedule=constant"]  # fmt: skip
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m",
               "facevae", "train", "drawn", "--data", str(small_faces.folder), "--out",
               str(tmp_path / "two"), "--resume", "--device", "cpu"]  # fmt: skip
    for epochs in ("epochs=2", "epochs=6"):
        given = [text for setting in (*settings, epochs) for text in ("--set", setting)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = python(*command, *given, env=environment, timeout=240)
        assert done.returncode == 0, done.stderr[-3000:]
    recipe = RECIPES["drawn"].with_settings([*settings, "epochs=6"])
    train(recipe, small_faces, tmp_path / "one", **QUIET)
    one, two = ([row["val_loss"] for row in read_history(tmp_path / n)] for n in ("one", "two"))
    assert len(two) == 6 and two[-1] < two[0]
    assert abs(one[-1] - two[-1]) < 0.3 * (one[0] - one[-1])
