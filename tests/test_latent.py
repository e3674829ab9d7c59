import pytest
import torch

from facevae import latent

A, B = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
T = torch.linspace(0, 1, 5)


@pytest.mark.parametrize("path", latent.PATHS.values())
def test_paths_begin_and_end_to_the_bit(path):
    a, b = torch.randn(1, 64), torch.randn(1, 64)
    points = path(a, b, T)
    assert points.shape == (5, 64)
    assert torch.equal(points[:1], a) and torch.equal(points[-1:], b)


def test_the_middle_of_a_line_is_the_mean():
    assert torch.allclose(latent.linear(A, B, T)[2], (A + B)[0] / 2)


def test_the_arc_keeps_its_length_where_the_chord_cuts_through():
    points = latent.spherical(A, B, T)
    assert torch.allclose(points.norm(dim=1), torch.linspace(3, 1, 5), atol=1e-5)
    assert torch.allclose(points[2] / 2.0, torch.tensor([0.5**0.5, 0.5**0.5, 0.0]), atol=1e-5)


def test_parallel_and_zero_vectors_fall_back_to_the_line():
    for b in (2 * A, torch.zeros(1, 3), -A):
        assert torch.allclose(latent.spherical(A, b, T), latent.linear(A, b, T))


def test_a_fitted_prior_draws_what_it_was_fitted_to(tmp_path):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    means = torch.randn(20_000, 2, generator=generator) @ mixing.T + torch.tensor([1.0, -1.0])
    prior = latent.GaussianPrior.fit(means)
    prior.save(tmp_path / "prior.safetensors")
    drawn = latent.GaussianPrior.load(tmp_path / "prior.safetensors").sample(20_000, generator, 1.0)
    assert torch.allclose(drawn.mean(0), means.mean(0), atol=0.05)
    assert torch.allclose(drawn.T.cov(), mixing @ mixing.T, atol=0.15)
    cold = prior.sample(1000, generator, temperature=0.0)
    assert torch.allclose(cold, prior.mean.expand(1000, 2))


@pytest.fixture(scope="module")
def clusters():
    """4,000 points about (−6, 0), a quarter of them, and (6, 0), with spread 1."""
    generator = torch.Generator().manual_seed(0)
    right = torch.arange(4000) >= 1000
    centres = torch.tensor([[-6.0, 0.0], [6.0, 0.0]])[right.long()]
    return centres + torch.randn(4000, 2, generator=generator), right


@pytest.mark.parametrize("shared", [False, True])
def test_a_mixture_recovers_two_clusters(clusters, shared, tmp_path):
    prior = latent.MixturePrior.fit(clusters[0], 2, shared)
    prior.save(tmp_path / "prior.safetensors")
    prior = latent.load_prior(tmp_path / "prior.safetensors")
    assert isinstance(prior, latent.MixturePrior)
    left, right = prior.means[:, 0].argsort()
    # a mean of 1,000 draws of spread 1 is off by 0.03, as a rule
    assert torch.allclose(prior.means[left], torch.tensor([-6.0, 0.0]), atol=0.15)
    assert torch.allclose(prior.means[right], torch.tensor([6.0, 0.0]), atol=0.15)
    assert prior.weights[left].item() == pytest.approx(0.25, abs=0.01)
    assert torch.allclose(prior.factors @ prior.factors.mT, torch.eye(2), atol=0.15)


def test_a_mixture_draws_in_its_clusters_and_its_temperature_narrows_them(clusters):
    prior = latent.MixturePrior.fit(clusters[0], 2)
    drawn = prior.sample(4000, torch.Generator().manual_seed(1), 1.0)
    again = prior.sample(4000, torch.Generator().manual_seed(1), 1.0)
    assert torch.equal(drawn, again)
    right = drawn[:, 0] > 0
    assert right.float().mean().item() == pytest.approx(0.75, abs=0.03)
    assert drawn[right].std(0).mean().item() == pytest.approx(1.0, abs=0.1)
    cold = prior.sample(50, torch.Generator().manual_seed(1), 0.0)
    assert torch.allclose(cold[:, 0].abs(), torch.tensor(6.0), atol=0.15)


def test_a_mixture_of_known_groups_has_their_means_spreads_and_shares(clusters):
    codes = clusters[0]
    prior = latent.MixturePrior.of_groups(codes, (codes[:, 0] > 0).long())
    assert prior.weights.tolist() == pytest.approx([0.25, 0.75], abs=0.01)
    assert torch.allclose(prior.means, torch.tensor([[-6.0, 0.0], [6.0, 0.0]]), atol=0.15)
    assert torch.allclose(prior.factors @ prior.factors.mT, torch.eye(2), atol=0.15)


def test_the_prior_is_chosen_by_unseen_faces(clusters):
    codes = clusters[0][torch.randperm(4000, generator=torch.Generator().manual_seed(2))]
    chosen, scores = latent.choose_prior(codes[:3000], codes[3000:], components=(2,))
    assert isinstance(chosen, latent.MixturePrior)
    assert scores["2, one covariance"] > scores["Gaussian"] + 1  # the gap between the clusters
    plain = torch.randn(3000, 2, generator=torch.Generator().manual_seed(3))
    _, scores = latent.choose_prior(plain[:2000], plain[2000:], components=(2,))
    # the entropy of two standard normals is 2.84 nats, and two components cannot beat it
    assert scores["Gaussian"] == pytest.approx(-2.84, abs=0.1)
    assert scores["Gaussian"] > scores["2, a covariance each"] - 0.01


def test_a_foreign_prior_is_refused_by_name(tmp_path):
    (tmp_path / "prior.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="prior.safetensors holds no fitted prior"):
        latent.load_prior(tmp_path / "prior.safetensors")


def test_latents_come_in_the_order_of_their_kl_and_idle_ones_not_at_all():
    kl = torch.tensor([[0.5, 0.001, 3.0, 0.02], [0.7, 0.0, 1.0, 0.04]])
    assert latent.by_kl(kl) == [2, 0, 3]


def test_a_traversal_moves_one_latent_by_its_own_deviations():
    codes = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]])
    path = latent.traversal(codes, 0, steps=3, reach=2.0)
    assert torch.equal(path[:, 0], torch.tensor([-2.0, 2.0, 6.0]))  # mean 2, deviation 2
    assert torch.equal(path[:, 1], torch.full((3,), 4.0))
    held = latent.traversal(codes, 0, steps=3, start=torch.tensor([[9.0, -1.0]]))
    assert torch.equal(held[:, 1], torch.full((3,), -1.0))


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_keeps_clusters_apart_and_repeats(clusters, method):
    wide = torch.cat([clusters[0][900:1100], torch.zeros(200, 6)], dim=1)
    points = latent.map_2d(wide, method, seed=1)
    assert points.shape == (200, 2) and torch.equal(points, latent.map_2d(wide, method, seed=1))
    a, b = points[:100], points[100:]
    apart = (a.mean(0) - b.mean(0)).norm()
    assert apart > 2 * a.std(0).max() and apart > 2 * b.std(0).max()


def test_an_unknown_map_says_which_there_are():
    with pytest.raises(ValueError, match="'pca' or 'tsne'"):
        latent.map_2d(torch.zeros(5, 3), "sketch")


def test_r_squared_of_a_label_that_is_in_the_latents_and_of_one_that_is_not():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(2000, 8, generator=generator)
    noise = torch.randn(2000, generator=generator)
    # a label with as much noise as signal: half of its variance can be read
    half = (codes[:, 0] + noise).numpy()
    held = latent.r_squared(codes[:1500], half[:1500], codes[1500:], half[1500:])
    assert held == pytest.approx(0.5, abs=0.07)
    absent = latent.r_squared(
        codes[:1500], noise[:1500].numpy(), codes[1500:], noise[1500:].numpy()
    )
    assert absent == pytest.approx(0.0, abs=0.02)


def test_the_moments_of_a_mixture_are_those_of_its_draws():
    factors = torch.stack([torch.diag(torch.tensor([1.0, 2.0, 0.5])), 0.5 * torch.eye(3)])
    means = torch.tensor([[0.0, 0, 0], [3.0, 0, -1]])
    prior = latent.MixturePrior(torch.tensor([0.75, 0.25]), means, factors)
    mean, covariance = prior.moments()
    draws = prior.sample(200_000, torch.Generator().manual_seed(0), temperature=1.0)
    # the error of a covariance of n draws is about its size / √n: 0.01
    assert torch.allclose(draws.mean(dim=0), mean, atol=0.03)
    assert torch.allclose(draws.T.cov(), covariance, atol=0.06)
    shared = latent.MixturePrior(prior.weights, means, factors[:1])
    alike = latent.MixturePrior(prior.weights, means, factors[[0, 0]])
    assert torch.allclose(shared.moments()[1], alike.moments()[1])
