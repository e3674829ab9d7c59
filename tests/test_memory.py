import subprocess
import sys

import pytest

from facevae import memory

MAPPED = """
import ctypes, torch
from facevae.memory import keep_freed

class Info(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks".split()]
    _fields_ += [(f"other{n}", ctypes.c_size_t) for n in range(6)]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info

def mapped():
    before = libc.mallinfo2().hblks
    held = torch.ones(16, 1024, 1024)
    return libc.mallinfo2().hblks - before

print(mapped(), keep_freed(), mapped())
"""


def test_big_tensors_are_no_longer_asked_of_the_kernel_each_time():
    if not hasattr(memory.ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("this C library cannot tell: glibc from 2.33 can")
    done = subprocess.run(
        [sys.executable, "-c", MAPPED], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["1", "True", "0"], done.stderr


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed() is False
