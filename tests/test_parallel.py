"""Two processes train as one does. They talk over gloo, so no GPU is needed."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from facevae import FaceVAE, Recipe, prepare, read_history, train
from facevae.parallel import BatchNorm, Part, spread_batch_norm
from tests.conftest import ROOT
from tests.test_train import TINY

# No dropout, since each process draws its own; an odd batch, so that their parts are unequal; one
# face left over in validation, which only one of them sees.
SHARED = TINY.with_settings(
    ["model.dropout=0", "epochs=2", "schedule=constant", "batch=15", "keep_every=0"]
)
RECIPES: dict[str, Recipe] = {
    "averaged": SHARED.with_settings(["ema=0.9", "balance=age", "augment=true", "batch=6"]),
    "tcvae": SHARED.with_settings(["tcvae=true", "beta=4", "weigh=age"]),
    "capacity": SHARED.with_settings(["capacity=3", "beta=5", "warmup=2"]),
    "bernoulli": SHARED.with_settings(["model.likelihood=bernoulli", "model.pool=true"]),
    "bf16": SHARED.changed(bf16=True),
}
# Each run is cut after its first epoch and gone on with, so that resuming is of both processes too.
PROGRAM = """
import sys
from facevae import FaceSet, train
from facevae.__main__ import main
from tests.test_parallel import RECIPES

data, out = sys.argv[1:]
faces, options = FaceSet(data), {"device": "cpu", "progress": False}
for name, recipe in RECIPES.items():
    train(recipe.changed(epochs=1), faces, f"{out}/{name}", **options)
    train(recipe, faces, f"{out}/{name}", resume=True, **options)
command = ["train", "drawn", "--data", data, "--out", f"{out}/command", "--device", "cpu",
           "--epochs=1", "--set=model.channels=4,8", "--set=model.latents=4"]
sys.exit((main(command), main(command)) != (0, 2))
"""
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
NUMBERS = ("train_loss", "val_loss", "reconstruction", "kl", "grad_norm")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    faces = prepare("synthetic", out=folder / "drawn", size=16, count=120, progress=False)
    assert len(faces.split(0)["val"]) % 6 == 1
    return faces


@pytest.fixture(scope="module")
def shared_runs(faces, tmp_path_factory):
    """The folder of two processes' runs, and what they printed."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "program.py").write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [*LAUNCH, "--master_port", port, folder / "program.py", faces.folder, folder],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout + done.stderr


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_give_the_losses_of_one(name, faces, shared_runs, tmp_path):
    runs, _ = shared_runs
    train(RECIPES[name], faces, tmp_path, device="cpu", progress=False)
    one, two = read_history(tmp_path), read_history(runs / name)
    assert len(one) == len(two) == 2
    # Sums in float32 end otherwise in another order; bfloat16 has 8 bits (0.4 %) a rounding.
    rel, nats = (1e-2, 0.5) if name == "bf16" else (2e-4, 1e-2)
    for a, b in zip(one, two, strict=True):
        for column in NUMBERS:
            absolute = 1e-4 if column == "grad_norm" else nats
            assert b[column] == pytest.approx(a[column], rel=rel, abs=absolute), column
    if name != "bf16":
        weights = [FaceVAE.from_pretrained(run / "best").encoder.posterior.weight
                   for run in (tmp_path, runs / name)]  # fmt: skip
        # (A bias before BatchNorm would wander: nothing pulls at it.)
        assert torch.allclose(*weights, atol=1e-3)


def test_the_command_line_trains_on_two_processes(shared_runs):
    folder, printed = shared_runs
    assert len(read_history(folder / "command")) == 1
    assert printed.count("the model of the best validation epoch") == 1  # not twice
    # The second time the folder holds a run: the first process sees it, and both stop.
    assert printed.count("already holds a run") == 2
    assert "Warning" not in printed


def test_the_shared_batch_norm_is_torchs_own_in_one_process():
    """Outputs, gradients and running statistics, in training and after it."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    other.load_state_dict(plain.state_dict())
    shared = spread_batch_norm(other)
    assert type(shared[1]) is BatchNorm
    x = torch.rand(5, 3, 8, 8)
    for _ in range(3):
        a, b = plain(x), shared(x)
        assert torch.allclose(a, b, atol=1e-5)
        for net, out in ((plain, a), (shared, b)):
            net.zero_grad()
            out.square().mean().backward()
        grads = zip(plain.parameters(), shared.parameters(), strict=True)
        assert all(torch.allclose(p.grad, q.grad, atol=1e-5) for p, q in grads)
    assert torch.allclose(plain.eval()(x), shared.eval()(x), atol=1e-5)


def test_the_parts_of_a_draw_make_up_the_whole():
    def draw(part):
        return part.noise(3, torch.Generator().manual_seed(0), "cpu")

    parts = torch.cat([draw(Part(0, 2, 5)), draw(Part(2, 5, 5))])
    assert torch.equal(parts, draw(Part(0, 5, 5)))
