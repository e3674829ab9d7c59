"""Run the notebooks with their blanks filled, and store what they show.

`python tests/scripts/run_notebooks.py [NAME …] [--budget small]`

A cell tagged `blank` is run with the code of the folded solution below it; the file keeps the
blank. `tests/notebooks` fails when the code and the hash in the metadata no longer agree.
"""

import argparse
import base64
import copy
import hashlib
import io
import json
import os
import re
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
WIDGET = "application/vnd.jupyter.widget-view+json"
Notebook = nbformat.NotebookNode


def tagged(cell: Notebook, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def folded(cell: Notebook) -> str:
    """The code in a folded solution."""
    (code,) = re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL)
    return code


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


def source_hash(notebook: Notebook) -> str:
    """Of what is run: prose may be changed without running anything again."""
    code = [cell.source for cell in solved(notebook).cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def execute(notebook: Notebook, budget: str, folder: Path) -> float:
    """Run a notebook in place, in `folder`; returns the seconds it took."""
    environment = os.environ | {"FACEVAE_BUDGET": budget, "PYTHONPATH": str(ROOT)}
    where, start = {"metadata": {"path": folder}}, time.monotonic()
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=where)
    client.execute(env=environment)
    return time.monotonic() - start


def tidied(outputs: list[Notebook], caption: str) -> list[Notebook]:
    """What a reader without a kernel can use: small pictures, with the caption in their place."""
    words, kept = re.sub(r"[*`$\\]", "", caption.partition("\n\n")[0]).strip(), []
    for out in (out for out in outputs if out.get("name") != "stderr"):
        if "image/png" in out.get("data", {}):
            kind, data = lighter(out.data.pop("image/png"))
            out.data[kind], out.metadata = data, {kind: {"alt": words}}
        kept += [] if WIDGET in out.get("data", {}) else [out]
    return kept


def lighter(png: str) -> tuple[str, str]:
    """A base64 PNG as what takes fewer bytes: itself in 256 colours, or a JPEG."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    few, as_png, as_jpeg = picture.quantize(256, kmeans=1, dither=0), io.BytesIO(), io.BytesIO()
    few.save(as_png, "PNG", optimize=True)
    picture.save(as_jpeg, "JPEG", quality=88, subsampling=0)
    files = {"image/png": as_png.getvalue(), "image/jpeg": as_jpeg.getvalue()}
    kind = min(files, key=lambda kind: len(files[kind]))
    return kind, base64.b64encode(files[kind]).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[""], help="beginnings of file names")
    parser.add_argument("--budget", choices=("small", "full"), default="full")
    arguments = parser.parse_args()
    for path in (path for path in NOTEBOOKS if path.name.startswith(tuple(arguments.names))):
        stored = nbformat.read(path, as_version=4)
        run, budget = solved(stored), arguments.budget
        seconds = round(execute(run, budget, path.parent))
        about = {"source_hash": source_hash(stored), "budget": budget, "seconds": seconds}
        captions = [*(cell.source for cell in run.cells[1:]), ""]
        for cell, done, below in zip(stored.cells, run.cells, captions, strict=True):
            if cell.cell_type == "code":
                cell.outputs = tidied(done.outputs, below)
                cell.execution_count = done.execution_count
        stored.metadata.language_info = {"name": "python"}
        stored.metadata.facevae = about
        nbformat.write(stored, path)
        print(f"{path.name}: {seconds} s, {len(nbformat.writes(stored)) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
