"""How tests look at folders and at what was said."""

from pathlib import Path


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Each file's path → its bytes."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_sentence(caught: object, words: str) -> None:
    """What an exception (of pytest.raises) or a text says: one line, with these words in it."""
    said = str(getattr(caught, "value", caught))
    assert words in said and "\n" not in said.strip() and len(said) < 600, said
