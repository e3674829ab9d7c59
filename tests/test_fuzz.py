"""The first hundred files of `python tests/fuzz.py`, which runs ten thousand."""

import warnings

import pytest

from tests import fuzz


def test_a_hundred_mutated_files_are_read_or_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about the wounds
        found = [fuzz.outcome(data) for _, _, data in fuzz.files(100, seed=0)]
    assert not [one for one in found if one.startswith("FAULT")]
    assert len(found) == 100 and {"face", "refused"} <= set(found)  # wounds, but not mere noise


def test_whole_seeds_are_faces_and_a_fault_is_seen(monkeypatch):
    kind, data = fuzz.seeds()[-4]
    assert fuzz.outcome(data) == "face", kind

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(fuzz, "open_photo", broken)
    assert fuzz.outcome(data).startswith("FAULT: ZeroDivisionError")


@pytest.mark.parametrize("number", [0, 7])
def test_a_file_hangs_on_seed_and_number_alone(number):
    def one(seed, count):
        return [data for n, _, data in fuzz.files(count, seed) if n == number]

    assert one(3, 8) == one(3, 9) != one(4, 9)


def test_a_png_with_a_wound_has_good_checksums_again():
    (data,) = {d for k, d in fuzz.seeds()[:4] if k == "PNG"}
    wounded = bytearray(data)
    wounded[20] ^= 1  # within the header chunk: its size
    whole = bytes(wounded)
    fuzz.mend_checksums(wounded)
    assert wounded != whole and wounded[: 8 + 8 + 13] == whole[: 8 + 8 + 13]
    fuzz.mend_checksums(again := bytearray(data))
    assert again == data
