import dataclasses
import json

import pytest
import torch

from facevae import FaceVAE, ModelConfig, NotAModel, losses
from facevae.metrics import psnr

SMALL = ModelConfig(image_shape=(3, 32, 32), latents=8, channels=(8, 16))


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize(
    "shape", [(1, 28, 20), (3, 64, 64), (3, 64, 48), (1, 33, 57), (3, 128, 128), (3, 256, 256)]
)
def test_every_size_comes_back(shape, pool):
    model = FaceVAE(ModelConfig(shape, latents=5, channels=(4, 8, 8), pool=pool)).eval()
    images = torch.rand(2, *shape)
    posterior = model.encode(images)
    assert posterior.mean.shape == (2, 5)
    decoded = model.decode(posterior.mean)
    assert decoded.shape == images.shape
    assert decoded.min() >= 0 and decoded.max() <= 1


ADDED = {"encoder_added": (1, 0), "decoder_added": (0, 2)}


@pytest.mark.parametrize(
    "changes",
    [{"spread_grid": 2}, {"blocks": 0}, {"dropout": 0.2}, {"likelihood": "bernoulli"}, ADDED],
)
def test_every_option_builds_and_gives_a_gradient_to_all_parameters(changes):
    config = ModelConfig((1, 16, 16), latents=3, channels=(4, 8), **changes)
    model = FaceVAE(config)
    log_likelihood, posterior = model(torch.rand(6, 1, 16, 16))
    losses.negative_elbo(log_likelihood, posterior.kl()).mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_model_grows_by_blocks_that_begin_as_nothing():
    """The larger model draws every picture to the bit as the smaller, until it is trained."""
    torch.manual_seed(0)
    small = FaceVAE(SMALL).eval()
    grown = FaceVAE(dataclasses.replace(SMALL, **ADDED)).eval()
    images = torch.rand(3, 3, 32, 32)
    grown.grow_from(small)
    assert torch.equal(grown.encode(images).mean, small.encode(images).mean)
    z = torch.randn(2, 8)
    assert torch.equal(grown.decode(z), small.decode(z))
    assert sum(p.numel() for p in grown.parameters()) > sum(p.numel() for p in small.parameters())
    more = FaceVAE(dataclasses.replace(SMALL, encoder_added=(1, 1), decoder_added=(0, 2))).eval()
    more.grow_from(grown)  # and on
    assert torch.equal(more.decode(z), small.decode(z))
    for other in (small, FaceVAE(dataclasses.replace(SMALL, **ADDED, latents=9))):
        with pytest.raises(ValueError, match="not of the same make"):
            other.grow_from(more)


def test_added_blocks_are_counted_stage_by_stage():
    with pytest.raises(ValueError, match="for each of the 2 stages, or none"):
        dataclasses.replace(SMALL, encoder_added=(1,))


def test_conditions_reach_the_decoder_and_are_asked_for():
    config = ModelConfig((1, 16, 16), latents=3, channels=(4, 8), conditions=("age", "gender"))
    model = FaceVAE(config).eval()
    z = torch.zeros(1, 3)
    young, old = (model.decode(z, torch.tensor([[age, 0.0]])) for age in (0.1, 0.9))
    assert not torch.equal(young, old)
    with pytest.raises(ValueError, match="needs the condition"):
        model.decode(z)
    with pytest.raises(ValueError, match="takes no condition"):
        FaceVAE(SMALL).decode(torch.zeros(1, 8), torch.zeros(1, 2))


def test_a_picture_of_another_size_is_refused_by_name():
    with pytest.raises(ValueError, match="prepare the faces at its size"):
        FaceVAE(SMALL).encode(torch.rand(1, 3, 64, 64))


def test_too_many_halvings_and_unknown_likelihoods_are_refused():
    with pytest.raises(ValueError, match="give fewer channels"):
        ModelConfig((1, 8, 8), channels=(4,) * 6)
    with pytest.raises(ValueError, match="give names of labels"):
        ModelConfig(conditions=(1,))
    with pytest.raises(ValueError, match="likelihood"):
        ModelConfig(likelihood="laplace")


def test_saved_and_loaded_are_equal(tmp_path):
    model = FaceVAE(SMALL)
    model(torch.rand(4, 3, 32, 32))  # moves the running statistics
    model.save_pretrained(tmp_path)
    again, images = FaceVAE.from_pretrained(tmp_path), torch.rand(2, 3, 32, 32)
    assert again.config == model.config
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    decoded = [m.eval().decode(m.encode(images).mean) for m in (model, again)]
    assert torch.equal(*decoded)


def test_a_fingerprint_outlasts_storing_as_float16_and_tells_weights_apart(tmp_path):
    model = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8))).eval()
    model.save_pretrained(tmp_path, torch.float16)
    assert FaceVAE.from_pretrained(tmp_path).fingerprint() == model.fingerprint()
    assert model.to(memory_format=torch.channels_last).fingerprint() == model.fingerprint()
    other = FaceVAE.from_pretrained(tmp_path)
    next(iter(other.parameters())).view(-1)[0] += 1
    assert other.fingerprint() != model.fingerprint()


def test_float16_halves_the_file_and_keeps_the_picture(tmp_path):
    model = FaceVAE(SMALL).eval()
    model.save_pretrained(tmp_path / "full")
    model.save_pretrained(tmp_path / "half", torch.float16)
    sizes = [(tmp_path / k / "model.safetensors").stat().st_size for k in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    z = torch.randn(2, 8)
    assert (
        FaceVAE.from_pretrained(tmp_path / "half").decode(z) - model.decode(z)
    ).abs().max() < 0.01


def break_weights(folder):
    (folder / "model.safetensors").write_bytes(b"\x80\x04pickled")


def change_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return change


@pytest.mark.parametrize(
    "harm",
    [
        break_weights,
        change_config(format=99),
        change_config(latents=9),
        change_config(surprise=1),
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").unlink(),
    ],
)
def test_a_foreign_folder_is_refused_in_one_sentence(tmp_path, harm):
    FaceVAE(SMALL).save_pretrained(tmp_path)
    harm(tmp_path)
    with pytest.raises(NotAModel, match="holds no facevae model") as caught:
        FaceVAE.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_eight_faces_can_be_learnt_by_heart():
    from facevae.synthetic import draw_faces

    images = torch.from_numpy(draw_faces(8, size=32)[0]).permute(0, 3, 1, 2).float() / 255
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FaceVAE(ModelConfig((3, 32, 32), latents=16, channels=(16, 32, 64)))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        log_likelihood, posterior = model(images, generator=generator)
        optimizer.zero_grad()
        (losses.negative_elbo(log_likelihood, posterior.kl()).mean() / 3072).backward()
        optimizer.step()
    model.eval()
    decoded = model.decode(model.encode(images).mean)
    assert psnr(images, decoded).min() > 30  # σ under 0.03: plainly the same eight faces
