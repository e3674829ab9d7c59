"""Every notebook runs with its solutions, fails with a sentence without, and shows its own code."""

import os
import re

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests.helpers import python
from tests.scripts.run_notebooks import NOTEBOOKS, ROOT, execute, solved, source_hash, tagged

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


@each
def test_stored_outputs_are_small_of_this_code_and_bear_out_every_claim(path):
    notebook = read(path)
    nbformat.validate(notebook)
    outputs = [out for cell in code_cells(path) for out in cell.outputs]
    pictures = [out for out in outputs if any("image/" in kind for kind in out.get("data", {}))]
    assert pictures and all(list(out.metadata.values())[0]["alt"] for out in pictures)
    assert not [out for out in outputs if out.output_type == "error"]
    assert path.stat().st_size < 3_000_000
    about = notebook.metadata.get("facevae", {})
    assert about.get("source_hash") == source_hash(notebook) and about["budget"] == "full", (
        f"{path.name} changed after its outputs were made: run tests/scripts/run_notebooks.py"
    )
    lines = "".join(out.get("text", "") for out in outputs).splitlines()
    assert [line for line in lines if line.startswith("✓")]
    assert not [line for line in lines if line.startswith("✗")]


@each
def test_form(path):
    cells = read(path).cells
    assert re.search(r"\d+ minutes", cells[0].source) and "able to" in cells[0].source
    for cell, below in zip(cells, cells[1:], strict=False):
        if tagged(cell, "blank"):
            assert "..." in cell.source and "TODO" in cell.source and tagged(below, "solution")
        if cell.get("outputs") and any("image/" in str(out.get("data")) for out in cell.outputs):
            assert below.source.startswith("**Figure"), cell.source
    exercises = [cell for cell in cells if tagged(cell, "exercise")]
    assert len(exercises) >= 4 or "optional" in cells[0].source
    assert read(path).metadata.kernelspec.name == "python3"


def test_the_first_cells_are_one_and_find_the_package_or_say_what_to_do(tmp_path):
    assert len(NOTEBOOKS) >= 5
    (first,) = {code_cells(path)[0].source for path in NOTEBOOKS}
    code = first + "\nimport facevae\nprint(facevae.__file__)"
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for folder in (ROOT, ROOT / "notebooks", tmp_path):
        home = {"FACEVAE_HOME": str(tmp_path / "nowhere")}
        done = python("-c", code, cwd=folder, env=bare | home)
        if folder == tmp_path:
            assert done.returncode and "clone the repository" in done.stderr.splitlines()[-1]
        else:
            assert done.stdout.strip() == str(ROOT / "facevae" / "__init__.py"), done.stderr


@each
@pytest.mark.slow
@pytest.mark.notebooks
def test_runs_in_the_small_budget_with_its_solutions(path, tmp_path, monkeypatch):
    """By nbmake, in a pytest of its own, in an empty folder."""
    copy = tmp_path / path.name
    nbformat.write(solved(read(path), exercises=True), copy)
    monkeypatch.setenv("FACEVAE_BUDGET", "small")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    options = ["--nbmake", "--nbmake-kernel=python3", "--nbmake-timeout=300"]
    done = python("-m", "pytest", *options, "--rootdir", tmp_path, copy, cwd=tmp_path)
    assert done.returncode == 0, done.stdout  # it holds the cell that failed, and why


@each
@pytest.mark.slow
@pytest.mark.notebooks
def test_a_blank_fails_with_a_sentence(path, tmp_path):
    notebook = read(path)
    blanks = [i for i, cell in enumerate(notebook.cells) if tagged(cell, "blank")]
    if not blanks:
        pytest.skip("it has no blanks")
    end = blanks[1] if len(blanks) > 1 else len(notebook.cells)
    notebook.cells = notebook.cells[:end]  # the first blank fails before the second
    with pytest.raises(CellExecutionError, match="is still a blank: replace the"):
        execute(notebook, "small", tmp_path)
