import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real face archives beside the checkout; CI has it, most readers do not."""
    folder = ROOT.parent / "shared" / "data"
    if folder.is_dir():
        return folder
    reason = "the archives of real faces are not beside this checkout (../shared/data)"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, but CI must have them")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def portraits() -> list[Path]:
    return [ROOT / "assets" / "portraits" / f"{n}.jpg" for n in ("grace_hopper", "eileen_collins")]
