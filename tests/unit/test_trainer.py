"""Training: what an epoch does, what a run leaves, resuming, and what is said when it fails."""

import dataclasses
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

from facevae.config import ModelConfig, Recipe
from facevae.data.face_set import FaceSet
from facevae.latents.statistics import LatentStatistics, encoded
from facevae.models.vae import FaceVAE
from facevae.training.checkpoints import COLUMNS, CannotResume, read_history
from facevae.training.rescaling import rescale
from facevae.training.runs import Interrupted, train
from facevae.training.schedule import learning_rate
from facevae.training.trainer import Diverged
from tests.conftest import QUIET, ROOT
from tests.helpers import one_sentence, snapshot

TINY = Recipe("tiny", "a test", ModelConfig(latents=4, channels=(4, 8), dropout=0.1),
              epochs=3, batch=16, flip=True, keep_every=2, schedule="constant")  # fmt: skip
EVERYTHING = TINY.with_settings(
    ["ema=0.9", "balance=age", "weigh=age", "warmup=2", "augment=true", "tcvae=true", "beta=3",
     "bf16=true", "keep_best=2", "schedule=plateau"]
)  # fmt: skip
RECIPES = {"tiny": TINY, "everything": EVERYTHING}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    from facevae.data.prepare import prepare

    folder = tmp_path_factory.mktemp("faces")
    return prepare("synthetic", out=folder / "drawn", size=16, count=120, progress=False)


@pytest.fixture(scope="module")
def whole_run(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(TINY, faces, out, **QUIET)
    return out


class Failing(FaceSet):
    """Faces that cannot be read more than so many times: then `fail` is called."""

    def tensor(self, rows):
        object.__setattr__(self, "left", getattr(self, "left", 0) - 1)
        return super().tensor(rows) if self.left >= 0 else self.fail(rows)


def failing(faces, reads, fail):
    made = Failing(faces.folder)
    object.__setattr__(made, "left", reads)
    object.__setattr__(made, "fail", fail)
    return made


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


def test_a_run_leaves_all_it_promises(faces, whole_run):
    rows = read_history(whole_run)
    assert tuple(rows[0]) == COLUMNS and [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    for row in rows:  # at β = 1 the validation loss is the negative ELBO: its two parts
        assert row["val_loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-4)
    assert sorted(p.name for p in whole_run.glob("epoch_*")) == ["epoch_002", "epoch_003"]
    assert FaceVAE.from_pretrained(whole_run / "best").config.image_shape == (3, 16, 16)
    assert LatentStatistics.load(whole_run / "best").prior.latents == 4
    with Image.open(whole_run / "monitor" / "epoch_003.png") as strip:
        assert strip.size == (9 * 16, 16)
    about = json.loads((whole_run / "recipe.json").read_text())
    assert about["recipe"]["name"] == "tiny" and about["recipe"]["model"]["latents"] == 4
    assert about["faces"] == {"shape": [120, 16, 16, 3], "source": "synthetic"}


def test_the_first_validation_is_of_the_size_of_the_training_loss(whole_run):
    """σ starts at the first batch's optimum: no 33,924 beside −967."""
    first = read_history(whole_run)[0]
    assert abs(first["val_loss"] - first["train_loss"]) < 0.5 * 768  # half a nat a number


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_in_two_parts_ends_with_the_same_bits(name, faces, tmp_path):
    recipe, parts = RECIPES[name], tmp_path / "parts"
    train(recipe, faces, tmp_path / "whole", **QUIET)
    train(recipe.changed(epochs=1), faces, parts, **QUIET)
    train(recipe, faces, parts, resume=True, **QUIET)
    assert_same_bits(parts, tmp_path / "whole")
    assert len(read_history(parts)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_run_resumes_to_the_same_bits(name, faces, tmp_path):
    """kill −9 in the middle of an epoch, then resume."""
    out = tmp_path / "killed"
    train(RECIPES[name], faces, tmp_path / "whole", **QUIET)
    program = (
        "import time, sys; from facevae import FaceSet, FaceVAE, train\n"
        "from tests.unit.test_trainer import RECIPES\n"
        "step = FaceVAE.forward\n"
        "def slow(self, *a, **k): time.sleep(0.05); return step(self, *a, **k)\n"
        "FaceVAE.forward = slow\n"
        "data, out, name = sys.argv[1:]\n"
        "train(RECIPES[name], FaceSet(data), out, device='cpu', progress=False)"
    )
    command = [sys.executable, "-c", program, str(faces.folder), str(out), name]
    child = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").is_file():
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)  # now some batches into the next epoch
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert len(checkpoint(out)["history"]) < 3
    train(RECIPES[name], faces, out, resume=True, **QUIET)
    assert_same_bits(out, tmp_path / "whole")


def test_an_interrupted_run_says_how_to_go_on_and_does(faces, whole_run, tmp_path):
    def stop(rows):
        raise KeyboardInterrupt

    steps = len(faces.split(0)["train"]) // 16
    with pytest.raises(Interrupted, match="before the first epoch ended: nothing is kept"):
        train(TINY, failing(faces, 3, stop), tmp_path, **QUIET)
    with pytest.raises(Interrupted) as caught:
        train(TINY, failing(faces, steps + 6, stop), tmp_path, **QUIET)
    one_sentence(caught, "keeps 1 of 3 epochs: the same command with --resume (resume=True) goes")
    with pytest.raises(CannotResume, match=r"add --resume \(resume=True\) to go on"):
        train(TINY, faces, tmp_path, **QUIET)
    train(TINY, faces, tmp_path, resume=True, **QUIET)
    assert_same_bits(tmp_path, whole_run)


def test_a_finished_run_can_be_made_longer_but_not_shorter(faces, whole_run, tmp_path):
    shutil.copytree(whole_run, tmp_path / "longer")
    train(TINY.changed(epochs=4), faces, tmp_path / "longer", resume=True, **QUIET)
    longer = read_history(tmp_path / "longer")
    assert longer[:3] == read_history(whole_run) and longer[3]["epoch"] == 4
    before = snapshot(whole_run)
    with pytest.raises(CannotResume) as caught:
        train(TINY.changed(epochs=2), faces, whole_run, resume=True, **QUIET)
    one_sentence(caught, "holds 3 epochs already, more than the 2 asked for: ask for 3 or more")
    train(TINY, faces, whole_run, resume=True, **QUIET)  # there is nothing left to do
    assert {p: b for p, b in snapshot(whole_run).items() if "studio" not in p.name}.items() <= (
        before.items()
    )


def test_another_seed_is_another_run(faces, whole_run, tmp_path):
    train(TINY.changed(seed=1), faces, tmp_path, **QUIET)
    assert read_history(whole_run)[0]["train_loss"] != read_history(tmp_path)[0]["train_loss"]


def test_training_leaves_the_global_generator_alone(faces, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(TINY.changed(epochs=1), faces, tmp_path, **QUIET)
    assert torch.equal(torch.rand(1), expected)


def test_divergence_stops_and_keeps_the_last_good_epoch(faces, tmp_path):
    def broken(rows):
        return torch.full((len(rows), 3, 16, 16), float("nan"))

    reads = len(faces.split(0)["train"]) // 16 + 4
    with pytest.raises(Diverged) as caught:
        train(TINY, failing(faces, reads, broken), tmp_path, **QUIET)
    one_sentence(caught, "no longer a number in epoch 2: lower the learning rate (now 0.001)")
    assert str(caught.value).endswith(f"{tmp_path} keeps epoch 1")
    assert len(read_history(tmp_path)) == len(checkpoint(tmp_path)["history"]) == 1


def test_a_folder_of_another_run_is_not_touched(faces, whole_run, grey_faces):
    before = snapshot(whole_run)
    for recipe, given in ((TINY.changed(lr=1e-2), faces), (TINY, grey_faces)):
        with pytest.raises(CannotResume) as caught:
            train(recipe, given, whole_run, resume=True, **QUIET)
        one_sentence(caught, "of another recipe or other faces: choose another folder")
    assert snapshot(whole_run) == before


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
def test_foreign_and_broken_checkpoints_are_refused(harm, faces, whole_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole_run, tmp_path / "run")
    harm(tmp_path / "run" / "checkpoint.pt")
    before = snapshot(tmp_path)
    with pytest.raises(CannotResume) as caught:
        train(TINY, faces, tmp_path / "run", resume=True, **QUIET)
    one_sentence(caught, "checkpoint.pt is no whole checkpoint (")
    assert snapshot(tmp_path) == before  # and no file called harm


def test_a_conditional_model_trains_and_a_missing_label_is_named(tiny_conditional_run, faces):
    found = LatentStatistics.load(tiny_conditional_run / "best")
    assert found.probe.shape == (9, 2) and 0 < found.mean_condition[1] < 1
    recipe = TINY.with_settings(["model.conditions=wealth"])
    with pytest.raises(ValueError, match="no label 'wealth'"):
        train(recipe, faces, tiny_conditional_run.parent / "other", **QUIET)


def test_grey_pictures_of_any_shape_train(grey_run):
    model = FaceVAE.from_pretrained(grey_run / "best")
    assert model.config.image_shape == (1, 28, 20)
    assert LatentStatistics.load(grey_run / "best").framing == "none"


def test_validation_is_the_training_objective_on_unseen_faces(faces, tmp_path):
    """By hand: β and the weights by age as in training, whatever the warm-up is at."""
    recipe = TINY.changed(weigh="age", beta=3.0, warmup=10, keep_every=3)
    train(recipe, faces, tmp_path, **QUIET)
    model = FaceVAE.from_pretrained(tmp_path / "epoch_003")
    split, generator = faces.split(0), torch.Generator().manual_seed(0)
    weights = torch.from_numpy(faces.balanced_weights("age")).float().clamp(max=5.0)
    losses, kls = [], []
    for rows in np.array_split(split["val"], range(16, len(split["val"]), 16)):
        log_likelihood, posterior = model(faces.tensor(rows), None, generator)
        losses.append(3 * posterior.kl() - log_likelihood)
        kls.append(posterior.kl())
    expected = np.average(torch.cat(losses), weights=weights[split["val"]])
    row = read_history(tmp_path)[-1]
    assert row["val_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["kl"] == pytest.approx(np.average(torch.cat(kls), weights=weights[split["val"]]))
    assert abs(torch.cat(losses).mean() - expected) > 3e-5 * abs(expected)  # and not unweighted


def test_the_averaged_weights_are_what_is_kept(faces, tmp_path):
    train(TINY.changed(ema=0.99, keep_every=3), faces, tmp_path, **QUIET)
    kept, state = FaceVAE.from_pretrained(tmp_path / "epoch_003"), checkpoint(tmp_path)
    name = "decoder.dense.weight"
    assert torch.equal(kept.state_dict()[name], state["average"][f"module.{name}"])
    assert not torch.equal(kept.state_dict()[name], state["model"][name])


def test_the_best_models_are_kept_by_validation(faces, tmp_path):
    train(TINY.changed(keep_best=2, epochs=4, rescale=False), faces, tmp_path, **QUIET)
    ranking = sorted(read_history(tmp_path), key=lambda row: row["val_loss"])
    names = [f"epoch_{int(row['epoch']):03d}" for row in ranking[:2]]
    assert sorted(p.name for p in (tmp_path / "top").iterdir()) == sorted(names)
    best = (tmp_path / "best" / "model.safetensors").read_bytes()
    assert (tmp_path / "top" / names[0] / "model.safetensors").read_bytes() == best


def test_the_warm_up_starts_from_no_kl_at_all(faces, tmp_path):
    recipe = TINY.with_settings(["model.sigma=1", "beta=20", "epochs=1"])  # a nat weighs something
    kls = []
    for warmup in (0, 1000):
        train(recipe.changed(warmup=warmup), faces, tmp_path / str(warmup), **QUIET)
        kls.append(read_history(tmp_path / str(warmup))[0]["kl"])
    assert kls[1] > kls[0]


def test_tensorboard_has_the_history_and_the_monitor(grey_faces, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(TINY.changed(epochs=2), grey_faces, tmp_path, **QUIET, tensorboard=True)
    log = EventAccumulator(str(tmp_path / "tensorboard"))
    log.Reload()
    logged = [event.value for event in log.Scalars("val_loss")]
    assert logged == pytest.approx([row["val_loss"] for row in read_history(tmp_path)])
    assert len(log.Images("monitor")) == 2


def test_a_run_may_begin_with_a_trained_model(faces, whole_run, tmp_path):
    start = str(whole_run / "best")
    still = TINY.changed(epochs=1, lr=0.0, start=start, rescale=False)
    again, first = train(still, faces, tmp_path / "a", **QUIET), FaceVAE.from_pretrained(start)
    weights = dict(first.named_parameters())
    assert all(torch.equal(weights[name], one) for name, one in again.named_parameters())
    other = still.with_settings(["model.latents=7"])
    with pytest.raises(ValueError) as caught:
        train(other, faces, tmp_path / "b", **QUIET)
    one_sentence(caught, "has another latents than the recipe: change the recipe by --set")


def test_the_monitor_shows_the_photos_that_are_asked_for(faces, portraits, tmp_path):
    train(TINY.changed(epochs=1), faces, tmp_path, **QUIET, monitor=portraits)
    with Image.open(tmp_path / "monitor" / "epoch_001.png") as strip:
        shown = np.asarray(strip).astype(float)
    from facevae.imaging.alignment import locate
    from facevae.imaging.photo import open_photo

    for photo, part in zip(portraits, (shown[:, :16], shown[:, -16:]), strict=True):
        picture = open_photo(photo)
        crop = np.asarray(locate(picture, "face").alignment.crop(picture, 16))
        assert np.abs(part - crop).max() == 0
    with pytest.raises(ValueError, match="a morph of two photos, not of 1"):
        train(TINY, faces, tmp_path / "other", **QUIET, monitor=portraits[:1])


def test_a_conditional_grey_model_shows_photos_too(grey_faces, portraits, tmp_path):
    faces = FaceSet(grey_faces.folder)
    faces.labels["age"] = np.arange(len(faces)) % 80
    recipe = TINY.with_settings(["epochs=1", "model.conditions=age"])
    train(recipe, faces, tmp_path, **QUIET, monitor=portraits)
    with Image.open(tmp_path / "monitor" / "epoch_001.png") as strip:
        assert strip.size == (9 * 20, 28) and strip.mode == "L"


def test_the_plateau_halves_the_rate_after_four_epochs_without_a_better_loss():
    recipe = TINY.changed(schedule="plateau", lr=0.8)
    assert learning_rate(recipe, []) == 0.8
    assert learning_rate(recipe, [5.0, 4.0, 3.0]) == 0.8
    assert learning_rate(recipe, [5.0, 4.0] + 3 * [4.0]) == 0.8
    assert learning_rate(recipe, [5.0, 4.0] + 4 * [4.0]) == 0.4
    assert learning_rate(recipe, [5.0] + 8 * [6.0]) == 0.2
    assert learning_rate(recipe, [-5.0] + 4 * [-5.0004]) == 0.4  # better by too little
    assert learning_rate(recipe, [-5.0] + 4 * [-5.1]) == 0.8


def test_the_cosine_falls_from_the_whole_rate_to_almost_none():
    recipe = TINY.changed(schedule="cosine", lr=1.0, epochs=4)
    rates = [learning_rate(recipe, [0.0] * done) for done in range(4)]
    assert rates == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert learning_rate(recipe.changed(schedule="constant"), [0.0] * 3) == 1.0


@pytest.mark.parametrize("changes", [{}, {"spread_grid": 2}, {"conditions": ("age",)}])
def test_rescaling_leaves_pictures_and_their_likelihood_as_they_were(changes):
    torch.manual_seed(0)
    model = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8), **changes)).eval()
    images = torch.rand(6, 3, 16, 16)
    condition = torch.rand(6, 1) if "conditions" in changes else None
    before = model.encode(images, condition)
    z = before.sample(torch.Generator().manual_seed(0))
    picture = model.decode(z, condition)
    centre, scale = torch.randn(4), torch.rand(4) + 0.3
    rescale(model, centre, scale)
    after = model.encode(images, condition)
    assert torch.allclose(after.mean, (before.mean - centre) / scale, atol=1e-5)
    assert torch.allclose(after.std, before.std / scale, rtol=1e-4)
    same_z = after.sample(torch.Generator().manual_seed(0))
    assert torch.allclose(model.decode(same_z, condition), picture, atol=1e-5)


def test_a_trained_model_is_rescaled_to_the_prior_and_draws_the_same(drawn_faces, tmp_path):
    recipe = TINY.with_settings(["batch=32", "model.dropout=0", "keep_every=3", "lr=0.003"])
    model = train(recipe, drawn_faces, tmp_path, **QUIET)
    ranking = [row["val_loss"] for row in read_history(tmp_path)]
    assert min(ranking) == ranking[-1]  # so that the last is the best, before it was rescaled
    raw = FaceVAE.from_pretrained(tmp_path / "epoch_003")
    rows = drawn_faces.split(0)["train"]
    before, after = encoded(raw, drawn_faces, rows), encoded(model, drawn_faces, rows)
    assert after.mean.mean(0).abs().max() < 1e-4
    square = (after.mean.square() + after.std.square()).mean(0)
    assert torch.allclose(square, torch.ones(4), atol=1e-3)
    assert after.kl().mean() < before.kl().mean()
    assert torch.allclose(model.decode(after.mean), raw.decode(before.mean), atol=1e-4)
    images = drawn_faces.tensor(rows)
    draws = [m(images, generator=torch.Generator().manual_seed(0))[0] for m in (raw, model)]
    assert torch.allclose(*draws, rtol=1e-4, atol=0.1)  # the reconstruction term, nats
    weights = (tmp_path / "best" / "model.safetensors").read_bytes()
    train(recipe, drawn_faces, tmp_path, resume=True, **QUIET)  # once is enough
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == weights


def test_rescaling_can_be_left_out(drawn_faces, tmp_path):
    recipe = TINY.with_settings(["rescale=false", "epochs=1", "keep_every=1"])
    train(recipe, drawn_faces, tmp_path, **QUIET)
    files = [tmp_path / name / "model.safetensors" for name in ("best", "epoch_001")]
    assert files[0].read_bytes() == files[1].read_bytes()


PROGRAM = """
import sys
from facevae import FaceSet, FaceVAE, train
from tests.unit.test_trainer import SHARED
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
SHARED = dataclasses.replace(
    TINY.with_settings(["ema=0.9", "balance=age", "augment=true"]), epochs=6, batch=15, lr=3e-3
)


@pytest.mark.slow
def test_two_processes_train_one_model(faces, tmp_path):
    """They share each batch, validate all faces, resume, and end about where one would."""
    (tmp_path / "program.py").write_text(PROGRAM)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, tmp_path / "program.py", faces.folder, tmp_path / "two"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("refused") == 2
    train(SHARED, faces, tmp_path / "one", **QUIET)
    one, two = read_history(tmp_path / "one"), read_history(tmp_path / "two")
    assert len(two) == 6 and two[-1]["val_loss"] < two[0]["val_loss"]
    fallen = one[0]["val_loss"] - one[-1]["val_loss"]
    assert abs(one[-1]["val_loss"] - two[-1]["val_loss"]) < 0.3 * fallen
