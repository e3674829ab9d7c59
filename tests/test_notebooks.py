"""Every notebook runs in the small budget, and its stored outputs are those of its code."""

import re

import nbformat
import pytest

from tests.run_notebooks import NOTEBOOKS, execute, solutions, source_hash

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
            figures = re.findall(r"^(?:\w+ = )?plots\.", cell.source, re.MULTILINE)
            assert len(figures) == len(re.findall(r'caption=f?"', cell.source)), cell.source
    assert len(solutions(notebook)) >= 3
    assert notebook.metadata.kernelspec.name == "python3"


@each
def test_runs_in_the_small_budget_with_its_solutions(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, as_version=4)
    for code in solutions(notebook):
        notebook.cells.append(nbformat.v4.new_code_cell(code))
    monkeypatch.setenv("FACEVAE_DATA", str(tmp_path / "data"))
    execute(notebook, "small", tmp_path, timeout=300)  # raises CellExecutionError with the cell
