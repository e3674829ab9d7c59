"""The folder of a run: what is left there, how it is resumed, and when that is refused."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from facevae.data.face_set import FaceSet
from facevae.latents.statistics import LatentStatistics
from facevae.models.vae import FaceVAE
from facevae.training.checkpoints import COLUMNS, CannotResume, read_history
from facevae.training.runs import Interrupted, train
from tests.conftest import QUIET, ROOT
from tests.helpers import one_sentence, snapshot
from tests.unit.tiny_runs import RECIPES, SHARED, TINY, failing


def checkpoint(out):
    return torch.load(out / "checkpoint.pt", weights_only=True)


def without_minutes(state):
    return [{k: v for k, v in row.items() if k != "minutes"} for row in state["history"]]


def assert_same_bits(out, other):
    a, b = checkpoint(out), checkpoint(other)
    assert all(torch.equal(v, b["model"][k]) for k, v in a["model"].items())
    for key, state in a["optimizer"]["state"].items():
        assert all(torch.equal(v, b["optimizer"]["state"][key][k]) for k, v in state.items())
    assert without_minutes(a) == without_minutes(b)
    averages = [state["average"] or {} for state in (a, b)]
    assert all(torch.equal(v, averages[1][k]) for k, v in averages[0].items())
    for name in ("model.safetensors", "studio.safetensors"):
        assert (out / "best" / name).read_bytes() == (other / "best" / name).read_bytes()


def test_a_run_leaves_all_it_promises(small_faces, small_run):
    rows = read_history(small_run)
    assert tuple(rows[0]) == COLUMNS and [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    for row in rows:  # at β = 1 the validation loss is the negative ELBO: its two parts
        assert row["val_loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-4)
    assert sorted(p.name for p in small_run.glob("epoch_*")) == ["epoch_002", "epoch_003"]
    assert FaceVAE.from_pretrained(small_run / "best").config.image_shape == (3, 16, 16)
    assert LatentStatistics.load(small_run / "best").prior.latents == 4
    with Image.open(small_run / "monitor" / "epoch_003.png") as strip:
        assert strip.size == (9 * 16, 16)
    about = json.loads((small_run / "recipe.json").read_text())
    assert about["recipe"]["name"] == "tiny" and about["recipe"]["model"]["latents"] == 4
    assert about["faces"] == {"shape": [120, 16, 16, 3], "source": "synthetic"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_in_two_parts_ends_with_the_same_bits(name, small_faces, tmp_path):
    recipe, parts = RECIPES[name], tmp_path / "parts"
    train(recipe, small_faces, tmp_path / "whole", **QUIET)
    train(recipe.changed(epochs=1), small_faces, parts, **QUIET)
    train(recipe, small_faces, parts, resume=True, **QUIET)
    assert_same_bits(parts, tmp_path / "whole")
    assert len(read_history(parts)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_run_resumes_to_the_same_bits(name, small_faces, tmp_path):
    """kill −9 in the middle of an epoch, then resume."""
    out = tmp_path / "killed"
    train(RECIPES[name], small_faces, tmp_path / "whole", **QUIET)
    program = (
        "import time, sys; from facevae import FaceSet, FaceVAE, train\n"
        "from tests.unit.tiny_runs import RECIPES\n"
        "step = FaceVAE.forward\n"
        "def slow(self, *a, **k): time.sleep(0.05); return step(self, *a, **k)\n"
        "FaceVAE.forward = slow\n"
        "data, out, name = sys.argv[1:]\n"
        "train(RECIPES[name], FaceSet(data), out, device='cpu', progress=False)"
    )
    command = [sys.executable, "-c", program, str(small_faces.folder), str(out), name]
    child = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").is_file():
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)  # now some batches into the next epoch
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert len(checkpoint(out)["history"]) < 3
    train(RECIPES[name], small_faces, out, resume=True, **QUIET)
    assert_same_bits(out, tmp_path / "whole")


def test_an_interrupted_run_says_how_to_go_on_and_does(small_faces, small_run, tmp_path):
    def stop(rows):
        raise KeyboardInterrupt

    steps = len(small_faces.split(0)["train"]) // 16
    with pytest.raises(Interrupted, match="before the first epoch ended: nothing is kept"):
        train(TINY, failing(small_faces, 3, stop), tmp_path, **QUIET)
    with pytest.raises(Interrupted) as caught:
        train(TINY, failing(small_faces, steps + 6, stop), tmp_path, **QUIET)
    one_sentence(caught, "keeps 1 of 3 epochs: the same command with --resume (resume=True) goes")
    with pytest.raises(CannotResume, match=r"add --resume \(resume=True\) to go on"):
        train(TINY, small_faces, tmp_path, **QUIET)
    train(TINY, small_faces, tmp_path, resume=True, **QUIET)
    assert_same_bits(tmp_path, small_run)


def test_a_finished_run_can_be_made_longer_but_not_shorter(small_faces, small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "longer")
    train(TINY.changed(epochs=4), small_faces, tmp_path / "longer", resume=True, **QUIET)
    longer = read_history(tmp_path / "longer")
    assert longer[:3] == read_history(small_run) and longer[3]["epoch"] == 4
    before = snapshot(small_run)
    with pytest.raises(CannotResume) as caught:
        train(TINY.changed(epochs=2), small_faces, small_run, resume=True, **QUIET)
    one_sentence(caught, "holds 3 epochs already, more than the 2 asked for: ask for 3 or more")
    train(TINY, small_faces, small_run, resume=True, **QUIET)  # there is nothing left to do
    assert snapshot(small_run) == before


def test_a_folder_of_another_run_is_not_touched(small_faces, small_run, grey_faces):
    before = snapshot(small_run)
    for recipe, given in ((TINY.changed(lr=1e-2), small_faces), (TINY, grey_faces)):
        with pytest.raises(CannotResume) as caught:
            train(recipe, given, small_run, resume=True, **QUIET)
        one_sentence(caught, "of another recipe or other faces: choose another folder")
    assert snapshot(small_run) == before


class Evil:
    """A pickle that makes a file called `harm` when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch harm",)


CHECKPOINTS = {
    "code in a pickle": lambda p: p.write_bytes(pickle.dumps(Evil())),
    "code in torch's own file": lambda p: torch.save({"identity": Evil()}, p),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-500]),
    "no bytes": lambda p: p.write_bytes(b""),
    "a list": lambda p: torch.save([1, 2], p),
}


@pytest.mark.parametrize("harm", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_foreign_and_broken_checkpoints_are_refused(
    harm, small_faces, small_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_run, tmp_path / "run")
    harm(tmp_path / "run" / "checkpoint.pt")
    before = snapshot(tmp_path)
    with pytest.raises(CannotResume) as caught:
        train(TINY, small_faces, tmp_path / "run", resume=True, **QUIET)
    one_sentence(caught, "checkpoint.pt is no whole checkpoint (")
    assert snapshot(tmp_path) == before  # and no file called harm


def test_a_conditional_model_trains_and_a_missing_label_is_named(tiny_conditional_run, small_faces):
    found = LatentStatistics.load(tiny_conditional_run / "best")
    assert found.probe.shape == (9, 2) and 0 < found.mean_condition[1] < 1
    recipe = TINY.with_settings(["model.conditions=wealth"])
    with pytest.raises(ValueError, match="no label 'wealth'"):
        train(recipe, small_faces, tiny_conditional_run.parent / "other", **QUIET)


def test_grey_pictures_of_any_shape_train(grey_run):
    model = FaceVAE.from_pretrained(grey_run / "best")
    assert model.config.image_shape == (1, 28, 20)
    assert LatentStatistics.load(grey_run / "best").framing == "none"


def test_the_best_models_are_kept_by_validation(small_faces, tmp_path):
    train(TINY.changed(keep_best=2, epochs=4, rescale=False), small_faces, tmp_path, **QUIET)
    ranking = sorted(read_history(tmp_path), key=lambda row: row["val_loss"])
    names = [f"epoch_{int(row['epoch']):03d}" for row in ranking[:2]]
    assert sorted(p.name for p in (tmp_path / "top").iterdir()) == sorted(names)
    best = (tmp_path / "best" / "model.safetensors").read_bytes()
    assert (tmp_path / "top" / names[0] / "model.safetensors").read_bytes() == best


def test_tensorboard_has_the_history_and_the_monitor(grey_faces, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(TINY.changed(epochs=2), grey_faces, tmp_path, **QUIET, tensorboard=True)
    log = EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    logged = [event.value for event in log.Scalars("val_loss")]
    assert logged == pytest.approx([row["val_loss"] for row in read_history(tmp_path)])
    assert len(log.Images("monitor")) == 2


def test_a_run_may_begin_with_a_trained_model(small_faces, small_run, tmp_path):
    start = str(small_run / "best")
    still = TINY.changed(epochs=1, lr=0.0, start=start, rescale=False)
    again, first = (
        train(still, small_faces, tmp_path / "a", **QUIET),
        FaceVAE.from_pretrained(start),
    )
    weights = dict(first.named_parameters())
    assert all(torch.equal(weights[name], one) for name, one in again.named_parameters())
    other = still.with_settings(["model.latents=7"])
    with pytest.raises(ValueError) as caught:
        train(other, small_faces, tmp_path / "b", **QUIET)
    one_sentence(caught, "has another latents than the recipe: change the recipe by --set")


def test_the_monitor_shows_the_photos_that_are_asked_for(small_faces, portraits, tmp_path):
    train(TINY.changed(epochs=1), small_faces, tmp_path, **QUIET, monitor=portraits)
    with Image.open(tmp_path / "monitor" / "epoch_001.png") as strip:
        shown = np.asarray(strip).astype(float)
    from facevae.imaging.alignment import locate
    from facevae.imaging.photo import open_photo

    for photo, part in zip(portraits, (shown[:, :16], shown[:, -16:]), strict=True):
        picture = open_photo(photo)
        crop = np.asarray(locate(picture, "face").alignment.crop(picture, 16))
        assert np.abs(part - crop).max() == 0
    with pytest.raises(ValueError, match="a morph of two photos, not of 1"):
        train(TINY, small_faces, tmp_path / "other", **QUIET, monitor=portraits[:1])


def test_a_conditional_grey_model_shows_photos_too(grey_faces, portraits, tmp_path):
    faces = FaceSet(grey_faces.folder)
    faces.labels["age"] = np.arange(len(faces)) % 80
    recipe = TINY.with_settings(["epochs=1", "model.conditions=age"])
    train(recipe, faces, tmp_path, **QUIET, monitor=portraits)
    with Image.open(tmp_path / "monitor" / "epoch_001.png") as strip:
        assert strip.size == (9 * 20, 28) and strip.mode == "L"


PROGRAM = """
import sys
from facevae import FaceSet, FaceVAE, train
from tests.unit.tiny_runs import SHARED
from facevae.training.checkpoints import CannotResume

data, out = sys.argv[1:]
faces, options = FaceSet(data), {"device": "cpu", "progress": False}
train(SHARED.changed(epochs=2), faces, out, **options)
model = train(SHARED, faces, out, resume=True, **options)
assert isinstance(model, FaceVAE)
try:
    train(SHARED, faces, out, **options)
except CannotResume:  # the first process sees it, and both stop
    print("refused", flush=True)
"""


@pytest.mark.slow
def test_two_processes_train_one_model(small_faces, tmp_path):
    """They share each batch, validate all faces, resume, and end about where one would."""
    (tmp_path / "program.py").write_text(PROGRAM)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, tmp_path / "program.py", small_faces.folder, tmp_path / "two"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("refused") == 2
    train(SHARED, small_faces, tmp_path / "one", **QUIET)
    one, two = read_history(tmp_path / "one"), read_history(tmp_path / "two")
    assert len(two) == 6 and two[-1]["val_loss"] < two[0]["val_loss"]
    fallen = one[0]["val_loss"] - one[-1]["val_loss"]
    assert abs(one[-1]["val_loss"] - two[-1]["val_loss"]) < 0.3 * fallen
