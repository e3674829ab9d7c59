"""Execute the notebooks and store their outputs: `python tests/run_notebooks.py [NAME …]`.

The metadata then hold a hash of the code that made the outputs, the budget, the seconds taken, on
how many cores, and the kernel's peak memory. README's table is drawn from them, at the end of each
run or by `--table` alone; `test_notebooks.py` fails when code and hash, or table and metadata, no
longer agree.
"""

from __future__ import annotations

import argparse
import base64
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

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
README = ROOT / "README.md"
TABLE = re.compile(r"(?<=<!-- notebooks -->\n).*?(?=<!-- /notebooks -->)", re.DOTALL)
TEACHES = {
    "01_data_preparation": "faces as arrays, alignment, light and background, imbalance, splits "
    "that leak",
    "02_training_a_vae": "the ELBO in small steps, a VAE trained live, what goes wrong and how it "
    "looks, Frey Face",
    "03_beta_vae_comparison": "β, the hidden β, rate against distortion, what disentanglement "
    "scores tell and what not",
    "04_latent_arithmetic": "smiles, glasses and beards as vectors, and what they take along",
    "05_cvae_aging": "conditions that a decoder ignores, age shifts, a judge, a photograph aged",
}
PEAK = """
import resource, sys
unit = 1 if sys.platform == "darwin" else 1024  # bytes
print(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
WIDGET = "application/vnd.jupyter.widget-view+json"
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)


def source_hash(notebook: nbformat.NotebookNode) -> str:
    """Of the code cells alone: prose may be mended without running anything again."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def solutions(notebook: nbformat.NotebookNode) -> list[str]:
    """The code of the folded solutions."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return SOLUTION.findall(prose)


def execute(notebook: nbformat.NotebookNode, budget: str, folder: Path) -> tuple[float, int]:
    """Run a notebook in place, in `folder`, on the kernel python3.

    Returns:
        The seconds it took, and the most memory its kernel held, in bytes.
    """
    environment = os.environ | {"FACEVAE_BUDGET": budget, "PYTHONPATH": str(ROOT)}
    client = NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}
    )
    notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    start = time.monotonic()
    client.execute(env=environment)
    seconds = time.monotonic() - start
    return seconds, int(notebook.cells.pop().outputs[0].text)


def lighter(png: str) -> str:
    """A base64 PNG in 256 colours: a third of the bytes, at about 40 dB."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    file = io.BytesIO()
    picture.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Drop what no reader without a kernel can use: progress bars, sliders, times of cells; and
    make the pictures lighter."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [
                out
                for out in cell.outputs
                if out.get("name") != "stderr" and WIDGET not in out.get("data", {})
            ]
            for out in cell.outputs:
                if "image/png" in out.get("data", {}):
                    out.data["image/png"] = lighter(out.data["image/png"])
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}


def table() -> str:
    """README's table of the notebooks, from what their last full run wrote down."""
    lines = ["| notebook | what it teaches | full run | peak memory |", "| --- | --- | --- | --- |"]
    for path in NOTEBOOKS:
        about = nbformat.read(path, as_version=4).metadata.get("facevae", {})
        minutes, cores = -(-about.get("seconds", 0) // 60), about.get("cores", 2)  # rounded up
        memory = f"{about['peak_bytes'] / 1e9:.1f} GB" if "peak_bytes" in about else "?"
        lines.append(
            f"| [`{path.stem}`](notebooks/{path.name}) | {TEACHES[path.stem]} | "
            f"{minutes} min on {cores} core{'s' * (cores > 1)} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def write_table() -> None:
    text = README.read_text(encoding="utf-8")
    README.write_text(TABLE.sub(lambda _: table(), text), encoding="utf-8")


def cores() -> int:
    """Processors that this process, and so the kernel, may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="file names or their beginnings; all by default")
    parser.add_argument("--budget", choices=("small", "full"), default="full")
    parser.add_argument("--table", action="store_true", help="run nothing, redraw README's table")
    arguments = parser.parse_args()
    if arguments.table:
        return write_table()
    for path in NOTEBOOKS:
        if arguments.names and not any(path.name.startswith(n) for n in arguments.names):
            continue
        notebook = nbformat.read(path, as_version=4)
        seconds, peak = execute(notebook, arguments.budget, path.parent)
        tidy(notebook)
        notebook.metadata["facevae"] = {
            "source_hash": source_hash(notebook),
            "budget": arguments.budget,
            "seconds": round(seconds),
            "cores": cores(),
            "peak_bytes": peak,
        }
        nbformat.write(notebook, path)
        size = path.stat().st_size / 1e6
        print(f"{path.name}: {seconds:.0f} s, {peak / 1e9:.2f} GB, {size:.2f} MB", file=sys.stderr)
    write_table()


if __name__ == "__main__":
    main()
