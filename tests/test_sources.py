"""What a source cannot tell is unknown: −1 in a column of numbers, empty in one of texts."""

import io

import pytest
from PIL import Image

from facevae import sources


def test_cells_that_a_hub_dataset_lacks_are_unknown(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    columns = {
        "image": (datasets.Image(), [{"bytes": buffer.getvalue(), "path": None}] * 3),
        "person": (datasets.Value("string"), ["Ann", None, ""]),
        "age": (datasets.Value("int64"), [30, None, 0]),
        "smiles": (datasets.Value("bool"), [True, None, False]),
        "kind": (datasets.ClassLabel(names=["a", "b"]), [1, None, 0]),
        "content": (datasets.Value("string"), ["a text", "another", "a third"]),
    }
    features = datasets.Features({name: kind for name, (kind, _) in columns.items()})
    cells = {name: cells for name, (_, cells) in columns.items()}
    (tmp_path / "in").mkdir()
    table = datasets.Dataset.from_dict(cells, features=features)
    table.to_parquet(tmp_path / "in" / "train.parquet")
    items = [*sources.hub(str(tmp_path / "in"), {})]
    assert set(items[0].labels) == {"person", "age", "smiles", "kind"}  # `content` is our own
    assert [item.labels["person"] for item in items] == ["Ann", "", ""]
    assert [item.labels["age"] for item in items] == [30, -1, 0]
    assert [item.labels["smiles"] for item in items] == [1, -1, 0]
    assert [item.labels["kind"] for item in items] == [1, -1, 0]
