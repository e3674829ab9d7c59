"""Every figure of speed, each beside its floor or peer: `python tests/bench.py [TOPIC …]`.

It prints Markdown, in about twelve minutes on two cores (no test): `> assets/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOPICS = ("training", "preparation", "inference", "growth", "processes")


def machine() -> str:
    """One line on what the figures were taken on."""
    import torch

    from facevae.packets import cores

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux alone says it there
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (f"{cores()} of {os.cpu_count()} cores ({name}), {torch.get_num_threads()} threads, "
            f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}"
            f"{load}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)}")
    topics = parser.parse_args().topics or list(TOPICS)
    if unknown := set(topics) - set(TOPICS):
        parser.error(f"no topic {', '.join(sorted(unknown))}: there are {', '.join(TOPICS)}")
    command = " ".join(["python tests/bench.py", *(topics if topics != list(TOPICS) else [])])
    print(f"# How fast it is\n\n`{command}`, {datetime.now(UTC):%Y-%m-%d}: {machine()}.\n")
    start = time.monotonic()
    for topic in topics:
        importlib.import_module(f"tests.benchmarks.{topic}").report()
    print(f"All of it took {(time.monotonic() - start) / 60:.1f} minutes.")


if __name__ == "__main__":  # preparation's workers import this file, too
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.path.remove(str(Path(__file__).resolve().parent))
    main()
