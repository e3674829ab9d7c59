"""Two processes train as one does. They talk over gloo, so no GPU is needed."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from facevae import prepare, read_history, train
from facevae.parallel import BatchNorm, Part, spread_batch_norm
from tests.test_train import TINY

# No dropout: each process draws its own.
SHARED = TINY.with_settings(["model.dropout=0", "epochs=2", "ema=0.9", "keep_every=0"])
PROGRAM = (
    "import sys; from facevae import FaceSet, train; from tests.test_parallel import SHARED\n"
    "train(SHARED, FaceSet(sys.argv[1]), sys.argv[2], device='cpu', progress=False)"
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    return prepare("synthetic", out=folder / "drawn", size=16, count=120, progress=False)


def launch(processes, *arguments):
    """Start them as `accelerate launch` does: by the environment that it sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        shared = {"WORLD_SIZE": processes, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in shared.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true",
                        "OMP_NUM_THREADS": "1"}  # fmt: skip
        command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
        children.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    for child in children:
        _, errors = child.communicate(timeout=180)
        assert child.returncode == 0, errors.decode()[-2000:]


def test_two_processes_give_the_losses_of_one(faces, tmp_path):
    train(SHARED, faces, tmp_path / "one", device="cpu", progress=False)
    launch(2, faces.folder, tmp_path / "two")
    one, two = (read_history(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        for column in ("train_loss", "val_loss", "reconstruction", "kl", "grad_norm"):
            assert b[column] == pytest.approx(a[column], rel=2e-4, abs=1e-4)  # float32 sums
    weights = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"]
        for name in ("one", "two")
    ]
    name = "encoder.posterior.weight"  # (a bias before BatchNorm would wander: nothing pulls at it)
    assert torch.allclose(weights[0][name], weights[1][name], atol=1e-3)


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
