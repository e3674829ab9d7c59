"""What a Hugging Face Space needs of the repository; the rest is `tests/rehearse_space.sh`."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement

import app
import facevae
from facevae.page import desk

ROOT = Path(app.__file__).parent
MOST_BYTES = 10_000_000  # a larger file goes into another kind of storage


def front_matter() -> dict:
    return yaml.safe_load((ROOT / "README.md").read_text("utf-8").split("---\n")[1])


def test_the_front_matter_names_what_is_there_and_was_tried():
    told = front_matter()
    assert told["sdk"] == "gradio" and (ROOT / told["app_file"]).is_file()
    assert (ROOT / told["license_link"]).is_file()
    assert len(told["short_description"]) <= 60  # the Hub refuses longer ones
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    [gradio] = [one for one in wanted if one.name == "gradio"]
    assert (
        gradio.specifier.contains(told["sdk_version"]) and version("gradio") == told["sdk_version"]
    )
    assert isinstance(told["python_version"], str)  # 3.10 would be 3.1 as a number


def test_no_file_is_too_large_for_a_space():
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git does not tell which files belong to the repository")
    files = [ROOT / name for name in names.decode().split("\0") if name]
    assert len(files) > 50
    assert [
        file.name for file in files if file.is_file() and file.stat().st_size > MOST_BYTES
    ] == []


@pytest.mark.parametrize("there", [False, True])
def test_a_function_is_marked_where_there_is_zero_gpu_and_only_there(monkeypatch, there):
    marked = []
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=marked.append))
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    if there:
        monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    app.mark_for_zero_gpu()
    assert len(marked) == there


def test_the_environment_sets_what_the_command_line_does_not(monkeypatch):
    monkeypatch.setenv("FACEVAE_MODEL", "hub:somebody/studio")
    monkeypatch.setenv("FACEVAE_MAX_SIDE", "800")
    asked = app.asked_for([])
    assert (str(asked.model), asked.max_side) == ("hub:somebody/studio", 800)
    asked = app.asked_for(["--model", "mine", "--max-side", "900"])
    assert (str(asked.model), asked.max_side) == ("mine", 900)
    monkeypatch.setenv("FACEVAE_MAX_SIDE", "large")
    with pytest.raises(SystemExit) as left:
        app.asked_for([])
    assert left.value.code == 2


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--port", "99999", "from 1 to 65535"), ("--port", "0", "from 1 to 65535"),
     ("--port", "-1", "from 1 to 65535"), ("--max-side", "0", "from 128 to 65536"),
     ("--max-side", "127", "from 128 to 65536")],
)  # fmt: skip
def test_numbers_that_no_page_can_open_with_are_refused(option, value, words, capsys):
    with pytest.raises(SystemExit) as left:
        app.asked_for([f"{option}={value}"])
    said = capsys.readouterr().err
    assert left.value.code == 2 and f"{option}: give a whole number {words}" in said


def test_the_smallest_photo_allowed_still_shows_the_faces_the_page_opens_with():
    studio = facevae.Studio.load(desk.ASSETS / "studio")
    assert app.asked_for(["--max-side", str(studio.size)]).max_side == studio.size
    opening = desk.Desk(studio, studio.size).opening.result()
    assert all(sitter.crop.size == (studio.size, studio.size) for sitter in opening[:4])
