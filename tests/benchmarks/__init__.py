"""The figures that `python tests/bench.py` prints, a topic a module."""
