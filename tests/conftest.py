"""What tests share in a session: drawn faces, tiny trained runs, and where real faces may lie."""

import os
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: its idle threads would spin
os.environ.setdefault("OMP_NUM_THREADS", "1")  # what is tested is small

import pytest  # noqa: E402

from facevae import FaceSet, ModelConfig, Recipe  # noqa: E402
from facevae.data.synthetic import draw_faces  # noqa: E402
from tests.helpers import write_faces  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TINY = Recipe("tiny", "a test", ModelConfig(latents=8, channels=(8, 16, 32), blocks=0),
              epochs=8, batch=16, lr=3e-3)  # fmt: skip
QUIET = {"device": "cpu", "progress": False}


def missing(reason: str) -> NoReturn:
    """Skip a test where what it needs is not there; on CI, which must have it, that is an error."""
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def drawn_faces(tmp_path_factory) -> FaceSet:
    """300 drawn faces of 32×32 with their factors as labels, framing "face"."""
    return _drawn(32, 300, tmp_path_factory)


@pytest.fixture(scope="session")
def small_faces(tmp_path_factory) -> FaceSet:
    """120 drawn faces of 16×16, for many short runs."""
    return _drawn(16, 120, tmp_path_factory)


@pytest.fixture(scope="session")
def small_run(small_faces, tmp_path_factory) -> Path:
    """The folder of the shortest run on `small_faces`."""
    from tests.unit.tiny_runs import TINY as recipe

    return _trained(recipe, small_faces, tmp_path_factory)


@pytest.fixture(scope="session")
def grey_faces(tmp_path_factory) -> FaceSet:
    """120 grey pictures of 28×20 without labels, framing "none", as Frey's film."""
    images, about = draw_faces(120, (28, 20), channels=1)[0], {"source": "frey"}
    return write_faces(tmp_path_factory.mktemp("faces") / "grey", images, about)


@pytest.fixture(scope="session")
def tiny_run(drawn_faces, tmp_path_factory) -> Path:
    """The folder of a run of a plain model on `drawn_faces`; the model is in `best/`."""
    return _trained(TINY, drawn_faces, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_conditional_run(drawn_faces, tmp_path_factory) -> Path:
    """The same with the conditions age and gender, given to encoder and decoder."""
    recipe = TINY.with_settings(["model.conditions=age,gender"])
    return _trained(recipe, drawn_faces, tmp_path_factory)


@pytest.fixture(scope="session")
def grey_run(grey_faces, tmp_path_factory) -> Path:
    """A run on `grey_faces`: grey, not square, no labels, whole pictures."""
    recipe = TINY.with_settings(["model.likelihood=bernoulli", "split_by=order"])
    return _trained(recipe, grey_faces, tmp_path_factory)


def _drawn(size: int, count: int, tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    from facevae.data.prepare import prepare

    folder = tmp_path_factory.mktemp("faces") / "drawn"
    return prepare("synthetic", out=folder, size=size, count=count, progress=False)


def _trained(recipe: Recipe, faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from facevae.training.runs import train

    out = tmp_path_factory.mktemp("runs") / "run"
    train(recipe, faces, out, **QUIET)
    return out


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
