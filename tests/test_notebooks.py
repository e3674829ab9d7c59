"""Every notebook runs in the small budget, and its stored outputs are those of its code.

They run through nbmake, in a pytest of their own: so the solutions can be appended first, and each
has an empty folder to run in. On drawn faces all of them; once more on photographs those that take
any faces.
"""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from facevae.prepare import prepare
from facevae.sources import Container
from tests.run_notebooks import NOTEBOOKS, README, ROOT, TABLE, solutions, source_hash, table

MOST_BYTES = 3_000_000
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    assert NOTEBOOKS


@each
def test_stored_outputs_are_there_small_and_of_this_code(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    outputs = [out for c in notebook.cells if c.cell_type == "code" for out in c.outputs]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert not [out for out in outputs if out.output_type == "error"]
    assert path.stat().st_size < MOST_BYTES
    about = notebook.metadata.get("facevae", {})
    assert about.get("source_hash") == source_hash(notebook), (
        f"{path.name} was changed after its outputs were made: run `python tests/run_notebooks.py`"
    )


@each
def test_code_is_short_and_every_figure_has_a_caption(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code" and "plots." in cell.source:
            figures = re.findall(r"^ *(?:return |\w+ = )?plots\.", cell.source, re.MULTILINE)
            assert len(figures) == len(re.findall(r'caption=f?"', cell.source)), cell.source
    assert len(solutions(notebook)) >= 3
    assert notebook.metadata.kernelspec.name == "python3"


def test_readme_has_the_table_of_the_last_runs():
    (found,) = TABLE.findall(README.read_text(encoding="utf-8"))
    assert found == table(), "run `python tests/run_notebooks.py --table`"


def first_cell(path):
    cells = nbformat.read(path, as_version=4).cells
    return next(cell.source for cell in cells if cell.cell_type == "code")


def test_the_first_cell_finds_the_package_or_says_what_to_do(tmp_path):
    (code,) = {first_cell(path) for path in NOTEBOOKS}  # one for all
    code = code.replace("%matplotlib inline", "print(facevae.__file__)")
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for folder in (ROOT, ROOT / "notebooks", tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=bare, capture_output=True, text=True
        )
        if folder == tmp_path:
            assert done.returncode and "clone it" in done.stderr.splitlines()[-1]
        else:
            assert done.stdout.strip() == str(ROOT / "facevae" / "__init__.py"), done.stderr


def make(path, folder, monkeypatch, **environment):
    """Run a notebook and its solutions by nbmake, as a copy in `folder`, in the small budget."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    copy = folder / path.name
    nbformat.write(notebook, copy)
    settings = {"BUDGET": "small", "DATA": str(folder / "data"), **environment}
    for name, value in settings.items():
        monkeypatch.setenv(f"FACEVAE_{name}", value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = ["pytest", "--nbmake", "--nbmake-kernel=python3", "--nbmake-timeout=300"]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--rootdir", folder, "-p", "no:cacheprovider", copy],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout  # it holds the cell that failed, and why


@each
def test_runs_in_the_small_budget_with_its_solutions(path, tmp_path, monkeypatch):
    make(path, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def photographs(real_data, tmp_path_factory):
    """A prepared slice of UTKFace; its crops are aligned as they come."""
    folder = tmp_path_factory.mktemp("utkface")
    archive = Container(real_data / "UTKFace.tar")
    some = archive.names[:: len(archive.names) // 400]  # every age: the names begin with it
    (folder / "in").mkdir()
    for name in some:
        (folder / "in" / name.rsplit("/", 1)[-1]).write_bytes(archive.read(name))
    out = folder / "prepared"
    return prepare("utkface", folder / "in", out=out, align=False, workers=1, progress=False)


@pytest.mark.parametrize("number", ["01", "02", "05"])
def test_runs_on_photographs_with_its_solutions(number, photographs, tmp_path, monkeypatch):
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith(number)]
    make(path, tmp_path, monkeypatch, SOURCE=str(photographs.folder))
