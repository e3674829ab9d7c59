import pytest
import torch

import facevae
from facevae import metrics
from facevae.latent import GaussianPrior
from facevae.pictures import to_tensor
from facevae.refine import refine
from facevae.studio import FOLDER, Studio


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    model = facevae.FaceVAE(facevae.ModelConfig((3, 16, 16), 4, (8, 16), sigma=0.1))
    return model.requires_grad_(False).eval()


def log_joint(model, image, z):
    logits = model.decoder(z)
    return model.log_likelihood(logits, image) - 0.5 * z.square().sum(dim=1)


def test_refining_finds_the_latent_that_a_picture_was_drawn_from(tiny):
    truth = torch.tensor([[0.6, -0.4, 0.2, 0.5]])
    image = tiny.decode(truth)
    start = truth + 0.3
    found = refine(tiny, image, start, GaussianPrior(torch.zeros(4), 10 * torch.eye(4)), 200)
    # under a wide prior the picture alone speaks: what is left is the optimiser's
    assert (tiny.decode(found) - image).abs().max() < 0.2 * (tiny.decode(start) - image).abs().max()


def test_it_climbs_and_never_hands_back_a_worse_one(tiny):
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    start = tiny.encode(images).mean
    found = refine(tiny, images, start, None, 20)
    before, after = log_joint(tiny, images, start), log_joint(tiny, images, found)
    assert (after >= before).all() and (after > before + 0.01).any()
    further = refine(tiny, images, found, None, 1)  # one stride of 0.1 overshoots the top
    assert (log_joint(tiny, images, further) >= after).all()


def test_a_narrow_prior_holds_the_latent(tiny):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    start = torch.full((2, 4), 0.5)
    narrow = GaussianPrior(torch.zeros(4), 1e-3 * torch.eye(4))
    assert refine(tiny, images, start, narrow, 200).abs().max() < 0.02


def test_each_face_is_refined_for_itself(tiny):
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    start = tiny.encode(images).mean
    together = refine(tiny, images, start, None, 10)
    alone = torch.cat([refine(tiny, images[i : i + 1], start[i : i + 1], None, 10) for i in (0, 2)])
    # Adam divides by each number's own gradient, so faces do not touch; float32 of other batches
    assert torch.allclose(together[[0, 2]], alone, atol=1e-3)


def test_it_works_within_inference_mode_and_leaves_what_it_was_given(tiny):
    with torch.inference_mode():
        image = torch.rand(1, 3, 16, 16)
        start = tiny.encode(image).mean
        kept = start.clone()
        found = refine(tiny, image, start, None, 5)
    assert torch.equal(start, kept) and not found.requires_grad
    assert all(weight.grad is None for weight in tiny.parameters())


def test_no_steps_change_nothing_and_fewer_are_refused(tiny):
    image, start = torch.rand(1, 3, 16, 16), torch.zeros(1, 4)
    assert torch.equal(refine(tiny, image, start, None, 0), start)
    with pytest.raises(ValueError, match="0 steps or more"):
        refine(tiny, image, start, None, -1)


def test_the_studio_reads_a_portrait_better_with_it():
    studio = Studio.load()
    photo = FOLDER.parent / "portraits" / "eileen_collins.jpg"
    plain, better = (studio.read(photo, refine=steps) for steps in (0, 10))
    gains = [metrics.psnr(to_tensor([f.crop]), f.decoded).item() for f in (plain, better)]
    assert gains[1] > gains[0] + 0.3  # 25.9 → 26.4 dB
    assert torch.equal(studio.model.decode(better.mean), better.decoded)
