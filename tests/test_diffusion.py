from types import SimpleNamespace

import numpy as np
import pytest
import torch

import facevae
from facevae import metrics, prepare
from facevae.__main__ import main
from facevae.diffusion import Denoiser, DiffusionPrior
from facevae.diffusion_lessons import Codes, gathered, taught
from facevae.guide import ATTRIBUTES
from facevae.judge import Judge, JudgeConfig
from facevae.latent import GaussianPrior, MixturePrior, load_prior
from facevae.model import FaceVAE, ModelConfig


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def mixture():
    torch.manual_seed(0)
    factors = torch.linalg.cholesky(torch.tensor([[[2.0, 0.8], [0.8, 1]], [[0.5, 0], [0, 3]]]))
    return MixturePrior(torch.tensor([0.25, 0.75]), torch.tensor([[4.0, 0], [-1, 2]]), factors)


def ring(n, seed):
    """Codes on a ring about 5, −3: of a Gaussian's mean and covariance, and no Gaussian at all."""
    angle = 2 * torch.pi * torch.rand(n, generator=seeded(seed))
    return torch.stack([5 + 4 * angle.cos(), -3 + 2 * angle.sin()], dim=1)


def off_ring(codes):
    return (((codes - torch.tensor([5.0, -3])) / torch.tensor([4.0, 2])).norm(dim=1) - 1).abs()


@pytest.fixture(scope="module")
def ringed():
    codes, kinds = ring(4000, 1), torch.zeros(4000, dtype=torch.long)
    gaussian = MixturePrior.of_groups(codes, kinds)
    unseen = Codes(ring(500, 2), kinds[:500])
    return gaussian, *taught(gaussian, Codes(codes, kinds), unseen, 500, width=48)


def test_untaught_it_is_the_mixture(mixture):
    torch.manual_seed(0)
    prior = DiffusionPrior(mixture, Denoiser(2, 2, 16))
    draws = prior.sample(20_000, seeded(), temperature=1.0)
    mean, covariance = mixture.moments()
    assert torch.allclose(draws.mean(0), mean, atol=0.06)  # 0.02 is chance, the rest is steps
    assert torch.allclose(draws.T.cov(), covariance, atol=0.25)
    # apart, too: as many are to the right of 2 as the mixture itself draws there
    plain = mixture.sample(20_000, seeded(1), 1.0)
    right = [float((codes[:, 0] > 2).float().mean()) for codes in (draws, plain)]
    assert right[0] == pytest.approx(right[1], abs=0.02)


def test_what_a_gaussian_expects_is_the_mean_given_the_noisy_code(mixture):
    """By sampling: among draws whose noisy code lies near a point, the mean of the clean ones."""
    prior = DiffusionPrior(mixture, Denoiser(2, 2, 16))
    clean = prior.framed(
        mixture.means[1] + torch.randn(400_000, 2, generator=seeded()) @ mixture.factors[1].T
    )
    noisy = clean + 0.7 * torch.randn(clean.shape, generator=seeded(1))
    point = noisy.mean(0) + 0.5
    near = (noisy - point).norm(dim=1) < 0.1
    expected = prior.expected(point[None], torch.tensor([[0.7]]), torch.tensor([1]))
    assert near.sum() > 1000
    assert torch.allclose(expected[0], clean[near].mean(0), atol=0.05)


def test_it_learns_what_no_gaussian_holds(ringed):
    gaussian, prior, left = ringed
    plain, better = (off_ring(one.sample(500, seeded(3), 1.0)).mean() for one in (gaussian, prior))
    assert left < 0.9 and better < 0.5 * plain
    draws = prior.sample(500, seeded(3), 1.0)
    assert float((draws[:, 0] > 5).float().mean()) == pytest.approx(0.5, abs=0.1)  # all round
    assert float((draws[:, 1] > -3).float().mean()) == pytest.approx(0.5, abs=0.1)
    near = prior.sample(500, seeded(3), 0.3)
    assert near.std() < draws.std()  # plainer


def test_draws_and_lessons_hang_on_the_seed_alone(ringed):
    gaussian, prior, _ = ringed
    state = torch.random.get_rng_state()
    assert torch.equal(prior.sample(4, seeded(5)), prior.sample(4, seeded(5)))
    assert not torch.equal(prior.sample(4, seeded(5)), prior.sample(4, seeded(6)))
    codes = Codes(ring(400, 1), torch.zeros(400, dtype=torch.long))
    one, two = (taught(gaussian, codes, codes, 3, seed=1, width=8)[0] for _ in range(2))
    assert torch.equal(one.sample(4, seeded()), two.sample(4, seeded()))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_weights_that_do_worse_on_unseen_codes_are_not_kept(mixture):
    seen = Codes(mixture.sample(30, seeded(), 1.0), torch.zeros(30, dtype=torch.long))
    unseen = Codes(mixture.sample(400, seeded(1), 1.0), torch.zeros(400, dtype=torch.long))
    prior, left = taught(mixture, seen, unseen, 2, width=8)
    assert left <= 1.0
    if left == 1.0:
        assert all(bool((one == 0).all()) for one in prior.denoiser.out[1].parameters())


def test_it_is_read_back_as_it_was(ringed, tmp_path):
    _, prior, _ = ringed
    prior.save(tmp_path / "prior.safetensors")
    again = load_prior(tmp_path / "prior.safetensors")
    assert isinstance(again, DiffusionPrior) and again.latents == 2
    assert torch.allclose(again.sample(50, seeded()), prior.sample(50, seeded()), atol=0.05)
    codes = ring(5, 9)
    assert torch.allclose(again.log_likelihood(codes), prior.log_likelihood(codes), atol=0.05)
    again.save(tmp_path / "again.safetensors")
    twice = load_prior(tmp_path / "again.safetensors")
    assert torch.equal(twice.sample(9, seeded()), again.sample(9, seeded()))


def test_a_foreign_or_broken_file_is_refused_in_a_sentence(ringed, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "prior.safetensors"
    ringed[1].save(path)
    held = load_file(path)
    for changed in (
        {k: v for k, v in held.items() if k != "denoiser.into.weight"},
        held | {"denoiser.more": torch.zeros(1)},
        held | {"mixture.more": torch.zeros(1)},
        {"other": torch.zeros(3)},
        {k: v for k, v in held.items() if k.startswith("mixture")},
        held | {"mixture.factors": torch.zeros(1, 3, 3)},
    ):
        save_file(changed, path)
        with pytest.raises(ValueError, match="holds no fitted prior"):
            load_prior(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no fitted prior"):
        load_prior(path)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "faces"
    return prepare("synthetic", out=folder, size=32, count=600, progress=False)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return FaceVAE(ModelConfig((3, 32, 32), latents=4, channels=(8, 16), blocks=0)).eval()


def test_kinds_part_faces_as_the_reader_sees_them(faces, model):
    """A reader that tells nothing but dark pictures from bright ones: a Gaussian for each."""
    rows = faces.split(0)["train"]
    light = faces.tensor(rows).mean((1, 2, 3))
    middle = light.quantile(0.4)
    reader = SimpleNamespace(features=lambda x: (x.mean((1, 2, 3)) > middle)[:, None].float())
    mixture, seen, unseen = gathered(model, faces, reader, 2, looks=3)
    codes = metrics.posteriors(model, faces, rows).mean
    order = mixture.weights.argsort()  # the darker 40 % first
    wanted = torch.stack([codes[light <= middle].mean(0), codes[light > middle].mean(0)])
    # float sums of other batches put a face at the border on either side
    assert torch.allclose(mixture.means[order], wanted, atol=2e-3)
    assert mixture.weights[order].tolist() == pytest.approx([0.4, 0.6], abs=0.01)
    assert len(unseen.codes) == len(unseen.kinds) == len(faces.split(0)["val"])
    plain, mirrored, other = seen.codes.chunk(3)
    assert torch.equal(plain, codes) and torch.equal(*seen.kinds.chunk(3)[:2])
    with torch.inference_mode():
        flipped = model.encode(faces.tensor(rows).flip(3)).mean
    assert torch.allclose(mirrored, flipped, atol=1e-3)
    moved = (other - plain).norm(dim=1).mean() / (plain - plain.mean(0)).norm(dim=1).mean()
    assert 0.01 < moved < 0.9  # another look at the same face


def test_too_few_faces_for_so_many_kinds_are_told(faces, model):
    rows = faces.split(0)["train"]
    ids = {float(light): k for k, light in enumerate(faces.tensor(rows).mean((1, 2, 3)))}
    odd = SimpleNamespace(  # all alike but one
        features=lambda x: torch.tensor([[float(ids.get(float(one.mean())) == 0)] for one in x])
    )
    with pytest.raises(ValueError, match=f"{len(rows)} faces are too few for 2 kinds"):
        gathered(model, faces, odd, 2, looks=1)


def test_the_command_puts_the_prior_beside_the_model(faces, model, tmp_path, monkeypatch, capsys):
    reader = Judge(JudgeConfig(ATTRIBUTES[:-1], True, 32)).eval().requires_grad_(False)
    monkeypatch.setattr(facevae.Studio, "guide", SimpleNamespace(reader=reader))
    model.save_pretrained(tmp_path / "it")
    GaussianPrior(torch.zeros(4), torch.eye(4)).save(tmp_path / "it" / "prior.safetensors")
    command = ["prior", f"{tmp_path}/it", "--data", f"{faces.folder}", "--kinds", "3"]
    assert main([*command, "--steps", "0"]) == 0
    assert len(load_prior(tmp_path / "it" / "prior.safetensors").weights) == 3
    assert "a prior of 3 kinds of face" in capsys.readouterr().out
    assert main([*command, "--steps", "2", "--bf16"]) == 0
    assert "of what 3 Gaussians err" in capsys.readouterr().out
    studio = facevae.Studio.load(tmp_path / "it")
    assert isinstance(studio.prior, DiffusionPrior)
    pictures = [np.asarray(one) for one in studio.sample(2, seed=1)]
    assert pictures[0].shape == (32, 32, 3) and not np.array_equal(*pictures)
