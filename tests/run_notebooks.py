"""Execute the notebooks and store their outputs: `python tests/run_notebooks.py [NAME …]`.

The metadata then hold a hash of the code that made the outputs, the budget and the seconds taken;
`test_notebooks.py` fails when code and hash no longer agree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)


def source_hash(notebook: nbformat.NotebookNode) -> str:
    """Of the code cells alone: prose may be mended without running anything again."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """The code of the folded solutions."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return SOLUTION.findall(prose)


def execute(notebook: nbformat.NotebookNode, budget: str, folder: Path, timeout: int) -> float:
    """Run a notebook in place, in `folder`, on the kernel python3; return the seconds it took."""
    environment = os.environ | {"FACEVAE_BUDGET": budget, "PYTHONPATH": str(ROOT)}
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    start = time.monotonic()
    client.execute(env=environment)
    return time.monotonic() - start


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drop progress bars (stderr) and what differs from one run to the next for no reason."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    language = {"name": "python"}
    notebook.metadata.language_info = language


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="file names or their beginnings; all by default")
    parser.add_argument("--budget", choices=("small", "full"), default="full")
    arguments = parser.parse_args()
    for path in NOTEBOOKS:
        if arguments.names and not any(path.name.startswith(n) for n in arguments.names):
            continue
        notebook = nbformat.read(path, as_version=4)
        seconds = execute(notebook, arguments.budget, path.parent, timeout=1800)
        tidy(notebook)
        notebook.metadata["facevae"] = {
            "source_hash": source_hash(notebook),
            "budget": arguments.budget,
            "seconds": round(seconds),
        }
        nbformat.write(notebook, path)
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {seconds:.0f} s, {size:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
