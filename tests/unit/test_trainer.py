"""The training loop: what an epoch does, the schedule of its rate, and a loss that diverges."""

import numpy as np
import pytest
import torch

from facevae.models.vae import FaceVAE
from facevae.training.runs import read_history, train
from facevae.training.trainer import Diverged, learning_rate
from tests.conftest import QUIET
from tests.helpers import one_sentence
from tests.unit.tiny_runs import TINY, failing


def test_the_first_validation_is_of_the_size_of_the_training_loss(small_run):
    """σ starts at the first batch's optimum: no 33,924 beside −967."""
    first = read_history(small_run)[0]
    assert abs(first["val_loss"] - first["train_loss"]) < 0.5 * 768  # half a nat a number


def test_another_seed_is_another_run_of_its_own_noise(small_faces, small_run, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(TINY.changed(epochs=1, seed=1), small_faces, tmp_path, **QUIET)
    assert torch.equal(torch.rand(1), expected)
    assert read_history(small_run)[0]["train_loss"] != read_history(tmp_path)[0]["train_loss"]


def test_divergence_stops_and_keeps_the_last_good_epoch(small_faces, tmp_path):
    def broken(rows):
        return torch.full((len(rows), 3, 16, 16), float("nan"))

    reads = len(small_faces.split(0)["train"]) // 16 + 4
    with pytest.raises(Diverged) as caught:
        train(TINY, failing(small_faces, reads, broken), tmp_path, **QUIET)
    one_sentence(caught, "no longer a number in epoch 2: lower the learning rate (now 0.001)")
    state = torch.load(tmp_path / "checkpoint.pt")
    assert len(read_history(tmp_path)) == len(state["history"]) == 1


def test_validation_is_the_training_objective_on_unseen_faces(small_faces, tmp_path):
    """By hand: β and the weights by age as in training, whatever the warm-up is at."""
    recipe = TINY.changed(weigh="age", beta=3.0, warmup=10, keep_every=3, batch=8)
    train(recipe, small_faces, tmp_path, **QUIET)
    model, val = FaceVAE.from_pretrained(tmp_path / "epoch_003"), small_faces.split(0)["val"]
    weights = torch.from_numpy(small_faces.balanced_weights("age")).float().clamp(max=5.0)[val]
    generator, losses, kls = torch.Generator().manual_seed(0), [], []
    for rows in np.array_split(val, max(1, len(val) // 8)):
        log_likelihood, posterior = model(small_faces.tensor(rows), None, generator)
        losses += (3 * posterior.kl() - log_likelihood).tolist()
        kls += posterior.kl().tolist()
    expected, row = np.average(losses, weights=weights), read_history(tmp_path)[-1]
    assert row["val_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["kl"] == pytest.approx(np.average(kls, weights=weights))
    assert abs(np.mean(losses) - expected) > 3e-5 * abs(expected)  # and not unweighted


def test_the_warm_up_starts_from_no_kl_at_all(small_faces, tmp_path):
    recipe = TINY.with_settings(["model.sigma=1", "beta=20", "epochs=1"])  # a nat weighs something
    kls = []
    for warmup in (0, 1000):
        train(recipe.changed(warmup=warmup), small_faces, tmp_path / str(warmup), **QUIET)
        kls.append(read_history(tmp_path / str(warmup))[0]["kl"])
    assert kls[1] > kls[0]


def test_the_plateau_halves_the_rate_after_four_epochs_without_a_better_loss():
    rates = {
        0.8: ([], [5, 4, 3], [5, 4, 4, 4, 4], [-5] + 4 * [-5.0006]),
        0.4: ([5, 4, 4, 4, 4, 4], [5] + 7 * [6], [-5] + 4 * [-5.0004]),  # better by too little
        0.2: ([5] + 8 * [6],),
    }
    recipe = TINY.changed(schedule="plateau", lr=0.8)
    assert all(learning_rate(recipe, one) == rate for rate, many in rates.items() for one in many)


def test_the_cosine_falls_from_the_whole_rate_to_almost_none():
    recipe = TINY.changed(schedule="cosine", lr=1.0, epochs=4)
    rates = [learning_rate(recipe, [0.0] * done) for done in range(4)]
    assert rates == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert learning_rate(recipe.changed(schedule="constant"), [0.0] * 3) == 1.0
