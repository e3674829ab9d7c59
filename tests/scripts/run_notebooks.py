"""Run the notebooks with their blanks filled, and store what they show.

`python tests/scripts/run_notebooks.py [NAME …] [--budget small] [--check]`

A cell tagged `blank` is run with the code of the folded solution below it; the file keeps the
blank. The metadata then hold a hash of the code that made the outputs, the budget, and the seconds
it took: `tests/notebooks` fails when code and hash no longer agree.
"""

from __future__ import annotations

import argparse
import base64
import copy
import hashlib
import io
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
WIDGET = "application/vnd.jupyter.widget-view+json"
Notebook = nbformat.NotebookNode


def tagged(cell: Notebook, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def folded(cell: Notebook) -> str:
    """The code in a folded solution."""
    (code,) = CODE.findall(cell.source)
    return code


def source_hash(notebook: Notebook) -> str:
    """Of what is run: prose may be changed without running anything again."""
    code = [cell.source for cell in solved(notebook).cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def solved(notebook: Notebook, exercises: bool = False) -> Notebook:
    """A copy with its blanks filled, and on demand the exercises' solutions at the end."""
    notebook = copy.deepcopy(notebook)
    for cell, below in zip(notebook.cells, notebook.cells[1:], strict=False):
        if tagged(cell, "blank"):
            cell.source = folded(below)
    if exercises:
        answers = [folded(cell) for cell in notebook.cells if tagged(cell, "exercise")]
        notebook.cells += [nbformat.v4.new_code_cell(code) for code in answers]
    return notebook


def execute(notebook: Notebook, budget: str, folder: Path) -> float:
    """Run a notebook in place, in `folder`; returns the seconds it took."""
    environment = os.environ | {"FACEVAE_BUDGET": budget, "PYTHONPATH": str(ROOT)}
    client = NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    start = time.monotonic()
    client.execute(env=environment)
    return time.monotonic() - start


def tidy(notebook: Notebook) -> None:
    """Keep what a reader without a kernel can use: small pictures, with a text in their place."""
    for cell, below in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [
            out
            for out in cell.outputs
            if out.get("name") != "stderr" and WIDGET not in out.get("data", {})
        ]
        for out in cell.outputs:
            if "image/png" in out.get("data", {}):
                kind, data = lighter(out.data.pop("image/png"))
                out.data[kind] = data
                out.metadata = {kind: {"alt": alternative(below)}}
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}


def lighter(png: str) -> tuple[str, str]:
    """A base64 PNG as what takes fewer bytes: itself in 256 colours, or a JPEG."""
    picture, files = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), {}
    for kind, shown, options in (
        ("png", picture.quantize(256, kmeans=1, dither=Image.Dither.NONE), {"optimize": True}),
        ("jpeg", picture, {"quality": 88, "subsampling": 0}),
    ):
        file = io.BytesIO()
        shown.save(file, kind.upper(), **options)
        files[f"image/{kind}"] = file.getvalue()
    kind = min(files, key=lambda kind: len(files[kind]))
    return kind, base64.b64encode(files[kind]).decode()


def alternative(caption: Notebook | None) -> str:
    """The words of the caption below a figure, without marks."""
    text = "" if caption is None else caption.source.partition("\n\n")[0]
    return re.sub(r"[*`$\\]", "", text).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="beginnings of file names; all by default")
    parser.add_argument("--budget", choices=("small", "full"), default="full")
    parser.add_argument("--check", action="store_true", help="run, but store nothing")
    arguments = parser.parse_args()
    for path in NOTEBOOKS:
        if arguments.names and not any(path.name.startswith(n) for n in arguments.names):
            continue
        stored = nbformat.read(path, as_version=4)
        run = solved(stored)
        seconds = execute(run, arguments.budget, path.parent)
        tidy(run)
        for cell, done in zip(stored.cells, run.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
                cell.metadata = done.metadata
        stored.metadata = run.metadata | {
            "facevae": {
                "source_hash": source_hash(stored),
                "budget": arguments.budget,
                "seconds": round(seconds),
            }
        }
        if not arguments.check:
            nbformat.write(stored, path)
        size = len(nbformat.writes(stored)) / 1e6
        print(f"{path.name}: {seconds:.0f} s, {size:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
