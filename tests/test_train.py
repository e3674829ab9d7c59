import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.optim.swa_utils import AveragedModel

from facevae import FaceVAE, ModelConfig, Recipe, prepare, read_history, train
from facevae.averages import averaging
from facevae.train import COLUMNS, CannotResume, Diverged, _plateaus, _seeded

TINY = Recipe("tiny", "a test", ModelConfig(latents=4, channels=(4, 8), dropout=0.1),
              epochs=3, batch=16, flip=True, keep_every=2)  # fmt: skip
EVERYTHING = TINY.with_settings(
    ["ema=0.9", "balance=age", "weigh=age", "warmup=2", "augment=true", "tcvae=true", "beta=3",
     "bf16=true", "keep_best=2", "schedule=plateau"]
)  # fmt: skip
RECIPES = {"tiny": TINY, "everything": EVERYTHING}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    return prepare("synthetic", out=folder / "drawn", size=16, count=120, progress=False)


@pytest.fixture(scope="module")
def whole_run(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(TINY, faces, out, device="cpu", progress=False)
    return out


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
    averages = [state.get("average", {}) for state in (a, b)]
    assert all(torch.equal(v, averages[1][k]) for k, v in averages[0].items())


def test_a_run_leaves_all_it_promises(whole_run):
    rows = read_history(whole_run)
    assert tuple(rows[0]) == COLUMNS and [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"]
    for row in rows:  # at β = 1 the validation loss is the negative ELBO: its two parts
        assert row["val_loss"] == pytest.approx(row["reconstruction"] + row["kl"], rel=1e-4)
    assert sorted(p.name for p in whole_run.glob("epoch_*")) == ["epoch_002", "epoch_003"]
    assert FaceVAE.from_pretrained(whole_run / "best").config.image_shape == (3, 16, 16)
    with Image.open(whole_run / "monitor" / "epoch_003.png") as strip:
        assert strip.size == (9 * 16, 16)


@pytest.mark.parametrize("name", RECIPES)
def test_a_killed_run_resumes_to_the_same_bits(name, faces, tmp_path):
    """kill −9 in the middle of an epoch, then resume."""
    out = tmp_path / "killed"
    train(RECIPES[name], faces, tmp_path / "whole", device="cpu", progress=False)
    program = (
        "import time, sys; from facevae import FaceSet, train; from facevae import model as m\n"
        "from tests.test_train import RECIPES\n"
        "step = m.FaceVAE.forward\n"
        "def slow(self, *a, **k): time.sleep(0.05); return step(self, *a, **k)\n"
        "m.FaceVAE.forward = slow\n"
        "data, out, name = sys.argv[1:]\n"
        "train(RECIPES[name], FaceSet(data), out, device='cpu', progress=False)"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(faces.folder), str(out), name])
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").is_file():
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)  # now some batches into the next epoch
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert len(checkpoint(out)["history"]) < 3
    train(RECIPES[name], faces, out, resume=True, device="cpu", progress=False)
    assert_same_bits(out, tmp_path / "whole")
    assert len(read_history(out)) == 3


def test_a_finished_run_can_be_made_longer(faces, whole_run, tmp_path):
    shutil.copytree(whole_run, tmp_path / "longer")
    train(TINY.changed(epochs=4), faces, tmp_path / "longer", resume=True, progress=False)
    longer = read_history(tmp_path / "longer")
    assert longer[:3] == read_history(whole_run) and longer[3]["epoch"] == 4


def test_two_runs_are_equal_and_another_seed_is_not(faces, whole_run, tmp_path):
    train(TINY, faces, tmp_path / "again", device="cpu", progress=False)
    assert_same_bits(tmp_path / "again", whole_run)
    train(TINY.changed(seed=1), faces, tmp_path / "other", device="cpu", progress=False)
    a, b = (read_history(out)[0]["train_loss"] for out in (whole_run, tmp_path / "other"))
    assert a != b


def test_training_leaves_the_global_generator_alone(faces, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(TINY.changed(epochs=1), faces, tmp_path / "run", device="cpu", progress=False)
    assert torch.equal(torch.rand(1), expected)


def test_divergence_stops_and_keeps_the_last_good_epoch(faces, tmp_path):
    train(TINY.changed(epochs=1), faces, tmp_path / "run", device="cpu", progress=False)
    good = (tmp_path / "run" / "checkpoint.pt").read_bytes()
    from facevae.train import _Run

    run = _Run(TINY.changed(epochs=1), faces, tmp_path / "run", torch.device("cpu"), False)
    run.load(resume=True)
    with torch.no_grad():
        next(run.model.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match=r"epoch 2; epoch 1 is kept .* lower the learning rate"):
        run.epoch(2, progress=False)
    assert (tmp_path / "run" / "checkpoint.pt").read_bytes() == good


def test_a_folder_of_another_run_is_not_touched(faces, whole_run, tmp_path):
    with pytest.raises(CannotResume, match="already holds a run"):
        train(TINY, faces, whole_run, progress=False)
    with pytest.raises(CannotResume, match="another recipe"):
        train(TINY.changed(lr=1e-2), faces, whole_run, resume=True, progress=False)
    (tmp_path / "checkpoint.pt").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(CannotResume, match="no whole checkpoint"):
        train(TINY, faces, tmp_path, resume=True, progress=False)


def test_a_conditional_model_trains_and_a_missing_label_is_named(faces, tmp_path):
    config = dataclasses.replace(TINY.model, conditions=("age", "gender"))
    recipe = TINY.changed(model=config, epochs=1)
    assert train(recipe, faces, tmp_path / "run", progress=False).config.conditions
    recipe = TINY.changed(model=dataclasses.replace(config, conditions=("race",)))
    with pytest.raises(ValueError, match="no label 'race'"):
        train(recipe, faces, tmp_path / "other", progress=False)


def test_validation_is_the_training_objective_on_unseen_faces(faces, tmp_path):
    """By hand: β and the weights by age as in training, whatever the warm-up is at."""
    recipe = TINY.changed(weigh="age", beta=3.0, warmup=10, keep_every=3)
    train(recipe, faces, tmp_path / "run", device="cpu", progress=False)
    model = FaceVAE.from_pretrained(tmp_path / "run" / "epoch_003")
    split, generator = faces.split(0), torch.Generator().manual_seed(0)
    weights = torch.from_numpy(faces.balanced_weights("age")).float().clamp(max=5.0)
    losses, kls = [], []
    for rows in np.array_split(split["val"], range(16, len(split["val"]), 16)):
        log_likelihood, posterior = model(faces.tensor(rows), None, generator)
        losses.append(3 * posterior.kl() - log_likelihood)
        kls.append(posterior.kl())
    expected = np.average(torch.cat(losses), weights=weights[split["val"]])
    row = read_history(tmp_path / "run")[-1]
    assert row["val_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["kl"] == pytest.approx(np.average(torch.cat(kls), weights=weights[split["val"]]))
    assert abs(torch.cat(losses).mean() - expected) > 3e-5 * expected  # and not unweighted


def test_each_process_draws_its_own_dropout():
    draws = []
    for rank in (0, 1, 0):
        with _seeded(3, 5, rank):
            draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])


def test_the_averaged_weights_are_what_is_kept(faces, tmp_path):
    out = tmp_path / "run"
    kept = train(TINY.changed(ema=0.99), faces, out, device="cpu", progress=False)
    state = checkpoint(out)
    rows = read_history(out)
    assert rows[-1]["val_loss"] == min(row["val_loss"] for row in rows)
    name = "decoder.dense.weight"
    assert torch.equal(kept.state_dict()[name], state["average"][f"module.{name}"])
    assert not torch.equal(kept.state_dict()[name], state["model"][name])


def test_an_average_of_few_steps_is_not_mostly_of_the_first_weights():
    first, then = torch.zeros(3), torch.ones(3)
    model = torch.nn.Linear(1, 1)
    averaged = AveragedModel(model, multi_avg_fn=averaging(0.9))
    for weight in [0.0] + 40 * [1.0]:
        model.weight.data.fill_(weight)
        averaged.update_parameters(model)
        if averaged.n_averaged == 9:  # eight steps: a plain average of decay 0.9 gives 0.57
            assert averaged.module.weight.item() > 0.95
    assert averaged.module.weight.item() > 0.99
    slow = first.clone()
    averaging(0.9)([slow], [then], torch.tensor(10**6))
    assert torch.allclose(slow, torch.full((3,), 0.1))


def test_the_best_models_are_kept_by_validation(faces, tmp_path):
    out = tmp_path / "run"
    train(TINY.changed(keep_best=2, epochs=4), faces, out, device="cpu", progress=False)
    ranking = sorted(read_history(out), key=lambda row: row["val_loss"])
    names = [f"epoch_{int(row['epoch']):03d}" for row in ranking[:2]]
    assert sorted(p.name for p in (out / "top").iterdir()) == sorted(names)
    best = (out / "best" / "model.safetensors").read_bytes()
    assert (out / "top" / names[0] / "model.safetensors").read_bytes() == best


def test_the_warm_up_starts_from_no_kl_at_all(faces, tmp_path):
    config = dataclasses.replace(TINY.model, sigma=1.0)  # so that a nat of KL weighs something
    recipe = TINY.changed(model=config, beta=20.0, epochs=1)
    kls = []
    for warmup in (0, 1000):
        train(recipe.changed(warmup=warmup), faces, tmp_path / str(warmup), progress=False)
        kls.append(read_history(tmp_path / str(warmup))[0]["kl"])
    assert kls[1] > kls[0]


def test_bfloat16_trains_to_about_the_same_loss(faces, whole_run, tmp_path):
    train(TINY.changed(bf16=True), faces, tmp_path / "run", device="cpu", progress=False)
    a, b = (read_history(out)[-1]["val_loss"] for out in (whole_run, tmp_path / "run"))
    assert a == pytest.approx(b, rel=0.1)


def test_the_run_says_what_it_was(faces, whole_run):
    about = json.loads((whole_run / "recipe.json").read_text())
    assert about["recipe"]["name"] == "tiny" and about["recipe"]["model"]["latents"] == 4
    assert about["faces"] == {"shape": [120, 16, 16, 3], "source": "synthetic"}


def test_tensorboard_has_the_history_and_the_monitor(faces, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    train(TINY.changed(epochs=2), faces, out, device="cpu", progress=False, tensorboard=True)
    log = EventAccumulator(str(out / "tensorboard"))
    log.Reload()
    logged = [event.value for event in log.Scalars("val_loss")]
    assert logged == pytest.approx([row["val_loss"] for row in read_history(out)])
    assert len(log.Images("monitor")) == 2


def test_plateau_halves_after_patience():
    assert _plateaus([5.0, 4.0, 3.0]) == 0
    assert _plateaus([5.0, 4.0, 4.0, 4.0, 4.0, 4.0]) == 1
    assert _plateaus([5.0] + [6.0] * 8) == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [("schedule=cosin", "'cosin' is not one of"), ("ema=1.0", "0 or more and under 1"),
     ("keep_best=0", "1 or more"), ("warmup=-1", "0 or more"), ("beta=-1", "0 or more")],
)  # fmt: skip
def test_a_recipe_that_cannot_be_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        TINY.with_settings([setting])


def test_a_run_may_begin_with_a_trained_model(faces, tmp_path):
    first = train(TINY.changed(epochs=1), faces, tmp_path / "first", progress=False)
    still = TINY.changed(epochs=1, lr=0.0, start=str(tmp_path / "first" / "best"))
    again = train(still, faces, tmp_path / "again", progress=False)
    weights = dict(first.named_parameters())
    assert all(torch.equal(weights[name], one) for name, one in again.named_parameters())
    other = still.changed(model=dataclasses.replace(TINY.model, latents=7))
    with pytest.raises(ValueError, match="of the same make as"):
        train(other, faces, tmp_path / "other", progress=False)
