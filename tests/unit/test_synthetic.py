"""Drawn faces: a pure function of their factors, framed like UTKFace, each factor in its place."""

import numpy as np
import pytest

from facevae.data.synthetic import FACTORS, draw, draw_faces, sample_factors

NAMES = [row.name for row in FACTORS]


def difference(a: dict, b: dict, size: int = 64) -> np.ndarray:
    """Mean absolute change of each pixel, in grey levels, (size, size)."""
    first, second = draw(a, size).astype(float), draw(b, size).astype(float)
    return np.abs(first - second)[0].mean(axis=-1)


@pytest.mark.parametrize("size", [28, 64, (28, 20), (40, 56)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(size, channels):
    images, factors = draw_faces(5, size, seed=1, channels=channels)
    height, width = (size, size) if isinstance(size, int) else size
    assert images.shape == (5, height, width, channels) and images.dtype == np.uint8
    assert list(factors) == NAMES and all(values.shape == (5,) for values in factors.values())
    assert images.std() > 30  # a picture, not a plain sheet


def test_a_picture_depends_on_its_own_factors_only():
    images, factors = draw_faces(40, 64, seed=3)
    assert np.array_equal(images, draw_faces(40, 64, seed=3)[0])
    alone = draw({name: values[29:30] for name, values in factors.items()}, 64)
    assert np.array_equal(images[29], alone[0])  # whatever was drawn beside it
    assert not np.array_equal(images, draw_faces(40, 64, seed=4)[0])
    # yaw and light change sign under reflection; only parted hair knows left
    right, left = draw({"hair": 0, "yaw": [0.8, -0.8], "light": [0.6, -0.6]}).astype(int)
    assert np.abs(right - left[:, ::-1]).mean() < 1
    assert len({image.tobytes() for image in draw_faces(1000, 28)[0]}) == 1000
    assert draw({"age": 40, "smile": [0.0, 0.5, 1.0]}).shape == (3, 64, 64, 3)
    assert draw({"age": np.empty(0)}).shape == (0, 64, 64, 3)


def test_independent_factors_are_and_natural_ones_are_not():
    factors = sample_factors(20_000, np.random.default_rng(1))
    natural = sample_factors(20_000, np.random.default_rng(1), independent=False)
    for row in FACTORS:
        for values in (factors[row.name], natural[row.name]):
            assert values.dtype == (np.int64 if row.kind == "discrete" else np.float32)
            assert row.low <= values.min() and values.max() <= row.high
    correlation = np.corrcoef([*factors.values()]) - np.eye(len(factors))
    assert np.abs(correlation).max() < 0.04  # over 5 standard errors of 1/√20,000
    assert natural["beard"][(natural["gender"] == 1) | (natural["age"] < 18)].max() == 0
    assert natural["beard"].max() > 0.9 and np.mean(natural["age"] > 70) < 0.1


@pytest.mark.parametrize("row", FACTORS, ids=NAMES)
def test_every_factor_changes_the_picture(row):
    assert difference({row.name: row.low}, {row.name: row.high}).max() > 20


@pytest.mark.parametrize(("name", "top", "bottom", "share"), [
    ("smile", 0.50, 0.95, 0.75),  # the rest: lower lids that rise
    ("glasses", 0.12, 0.48, 0.999), ("beard", 0.40, 1.00, 0.95),
    ("eye_colour", 0.20, 0.40, 0.999), ("clothing", 0.85, 1.00, 0.999),
])  # fmt: skip
def test_a_factor_keeps_to_its_place(name, top, bottom, share):
    row = FACTORS[NAMES.index(name)]
    change = difference({name: row.low}, {name: row.high})
    assert change[int(64 * top) : int(64 * bottom)].sum() > share * change.sum()


@pytest.mark.parametrize("age", [6, 35])
def test_eyes_and_mouth_stand_where_utkface_has_them(age):
    size, face = 256, {"age": age, "gender": [0, 1], "skin": 0, "eye_colour": 0.8, "light": 0}
    for picture in draw(face, size, channels=1)[..., 0].astype(float):
        for eye_x in (0.30, 0.70):
            left, top = int((eye_x - 0.09) * size), int(0.24 * size)
            window = picture[top : int(0.34 * size), left : int((eye_x + 0.09) * size)]
            rows, columns = np.nonzero(window < 20)  # the pupil: lashes are lighter
            assert abs((left + columns.mean()) / size - eye_x) < 0.015
            assert abs((top + rows.mean()) / size - 0.29) < 0.015
        if age > 18:
            meet = 0.70 + picture[int(0.70 * size) : int(0.85 * size), size // 2].argmin() / size
            assert abs(meet - 0.775) < 0.015


@pytest.mark.parametrize(("factors", "picture", "message"), [
    ({"nose": 1}, (), "unknown factors {'nose'}"),
    ({"age": 91}, (), "'age' must lie between 3 and 90"),
    ({"smile": [0, np.nan]}, (), "'smile' must lie"),
    ({"glasses": 0.5}, (), "'glasses' takes whole numbers"),
    ({"age": [20, 30], "smile": [0, 0, 0]}, (), "mismatch"),
    ({}, (4, 3), "size"), ({}, ((64, 2), 3), "size"), ({}, (64, 4), "size"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(factors, picture, message):
    with pytest.raises(ValueError, match=message):
        draw(factors, *picture)
