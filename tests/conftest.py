"""What tests share in a session: drawn faces, tiny trained runs, and where real faces may lie."""

import os
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: its idle threads would spin
os.environ.setdefault("OMP_NUM_THREADS", "1")  # what is tested is small

import pytest  # noqa: E402

import facevae  # noqa: E402
from facevae import FaceSet, ModelConfig, Recipe  # noqa: E402
from facevae.data.synthetic import draw_faces  # noqa: E402
from tests.helpers import QUIET, ROOT, TINY, write_faces  # noqa: E402

PLAIN = Recipe("plain", "a test", ModelConfig(latents=8, channels=(8, 16, 32), blocks=0),
               epochs=8, batch=16, lr=3e-3)  # fmt: skip


def missing(reason: str) -> NoReturn:
    """Skip a test where what it needs is not there; on CI, which must have it, that is an error."""
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


def drawn(size: int, count: int):
    """A fixture: drawn faces with their factors as labels, framing "face"."""

    @pytest.fixture(scope="session")
    def faces(tmp_path_factory) -> FaceSet:
        folder = tmp_path_factory.mktemp("faces") / "drawn"
        return facevae.prepare("synthetic", out=folder, size=size, count=count, progress=False)

    return faces


def trained(recipe: Recipe, faces: str):
    """A fixture: the folder of a run on another fixture's faces; the model is in `best/`."""

    @pytest.fixture(scope="session")
    def run(request, tmp_path_factory) -> Path:
        out = tmp_path_factory.mktemp("runs") / "run"
        facevae.train(recipe, request.getfixturevalue(faces), out, **QUIET)
        return out

    return run


@pytest.fixture(scope="session")
def grey_faces(tmp_path_factory) -> FaceSet:
    """120 grey pictures of 28×20 without labels, framing "none", as Frey's film."""
    images, about = draw_faces(120, (28, 20), channels=1)[0], {"source": "frey"}
    return write_faces(tmp_path_factory.mktemp("faces") / "grey", images, about)


drawn_faces = drawn(32, 300)
small_faces = drawn(16, 120)  # for many short runs
small_run = trained(TINY, "small_faces")  # the shortest
tiny_run = trained(PLAIN, "drawn_faces")  # of a plain model
# the same with conditions, given to encoder and decoder
tiny_conditional_run = trained(PLAIN.with_settings(["model.conditions=age,gender"]), "drawn_faces")
GREY = PLAIN.with_settings(["model.likelihood=bernoulli", "split_by=order"])
grey_run = trained(GREY, "grey_faces")  # grey, not square, no labels, whole pictures


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real face archives beside the checkout; CI has it, most readers do not."""
    folder = Path(os.environ.get("FACEVAE_REAL_DATA", ROOT.parent / "shared" / "data"))
    if folder.is_dir():
        return folder
    missing(f"the archives of real faces are not there ({folder}): set FACEVAE_REAL_DATA")


@pytest.fixture(scope="session")
def portraits() -> list[Path]:
    """Two photographs in the public domain."""
    return [ROOT / "assets" / "portraits" / f"{n}.jpg" for n in ("grace_hopper", "eileen_collins")]
