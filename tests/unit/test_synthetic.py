"""Drawn faces: a pure function of their factors, framed like UTKFace, each factor in its place."""

import numpy as np
import pytest

from facevae.data.synthetic import FACTORS, draw, draw_faces, sample_factors

NAMES = [row.name for row in FACTORS]


def difference(a: dict, b: dict, size: int = 64) -> np.ndarray:
    """Mean absolute change of each pixel, in grey levels, (size, size)."""
    first, second = draw(a, size).astype(float), draw(b, size).astype(float)
    return np.abs(first - second)[0].mean(axis=-1)


def decoded(pixels: np.ndarray, target: np.ndarray) -> float:
    """R² on the second half of a ridge regression fitted on the first."""
    half = len(target) // 2
    x = np.c_[pixels.reshape(len(pixels), -1) / 255.0, np.ones(len(pixels))]
    kernel = x[:half] @ x[:half].T + 3.0 * np.eye(half)
    guess = x[half:] @ (x[:half].T @ np.linalg.solve(kernel, target[:half]))
    return 1 - np.mean((guess - target[half:]) ** 2) / np.var(target[half:])


@pytest.mark.parametrize("size", [28, 64, 97, 128, (28, 20), (40, 56)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(size, channels):
    images, factors = draw_faces(5, size, seed=1, channels=channels)
    height, width = (size, size) if isinstance(size, int) else size
    assert images.shape == (5, height, width, channels)
    assert images.dtype == np.uint8
    assert list(factors) == NAMES
    assert all(values.shape == (5,) for values in factors.values())
    assert images.std() > 30  # a picture, not a plain sheet


def test_a_picture_depends_on_its_own_factors_only():
    images, factors = draw_faces(40, 64, seed=3)
    again, _ = draw_faces(40, 64, seed=3)
    assert np.array_equal(images, again)
    alone = draw({name: values[29:30] for name, values in factors.items()}, 64)
    assert np.array_equal(images[29], alone[0])  # whatever was drawn beside it
    assert not np.array_equal(images, draw_faces(40, 64, seed=4)[0])


def test_a_seed_draws_the_same_faces_as_in_earlier_versions():
    """To a level: the bits of exp and sqrt may differ between processors."""
    images, factors = draw_faces(50, 64, seed=0)
    assert images.mean() == pytest.approx(130.617, abs=0.01)
    pixels = [[129, 83, 60], [116, 71, 51], [98, 55, 39], [80, 35, 25]]
    assert np.abs(images[7, 20:60:10, 32].astype(int) - pixels).max() <= 1
    assert factors["age"][:3] == pytest.approx([58.41567, 26.47144, 6.56470], abs=1e-4)


def test_defaults_and_numbers_stand_for_columns():
    everything = {row.name: np.array([row.default]) for row in FACTORS}
    assert np.array_equal(draw({}), draw(everything))
    assert draw({"age": 40, "smile": [0.0, 0.5, 1.0]}).shape == (3, 64, 64, 3)
    assert draw({"age": np.empty(0)}).shape == (0, 64, 64, 3)


def test_faces_are_distinct():
    images, _ = draw_faces(4_000, 28, seed=0)
    assert len({image.tobytes() for image in images}) == 4_000


@pytest.mark.parametrize("independent", [True, False])
def test_samples_lie_in_range(independent):
    factors = sample_factors(2000, np.random.default_rng(0), independent)
    for row in FACTORS:
        values = factors[row.name]
        assert values.dtype == (np.int64 if row.kind == "discrete" else np.float32)
        assert row.low <= values.min() and values.max() <= row.high
    draw({name: values[:20] for name, values in factors.items()}, 28)


def test_independent_factors_are_and_natural_ones_are_not():
    table = np.stack([*sample_factors(20_000, np.random.default_rng(1)).values()])
    correlation = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(correlation).max() < 0.04  # over 5 standard errors of 1/√20,000
    natural = sample_factors(20_000, np.random.default_rng(1), independent=False)
    assert natural["beard"][(natural["gender"] == 1) | (natural["age"] < 18)].max() == 0
    assert natural["beard"].max() > 0.9
    assert np.mean(natural["age"] > 70) < 0.1
    assert np.abs(natural["yaw"]).mean() < 0.3


def test_every_factor_changes_the_picture():
    for row in FACTORS:
        assert difference({row.name: row.low}, {row.name: row.high}).max() > 20, row.name


@pytest.mark.parametrize(("name", "top", "bottom", "share"), [
    ("smile", 0.50, 0.95, 0.75),  # the rest: cheeks that lift the lower lids
    ("glasses", 0.12, 0.48, 0.999), ("beard", 0.40, 1.00, 0.95),
    ("eye_colour", 0.20, 0.40, 0.999), ("clothing", 0.85, 1.00, 0.999),
])  # fmt: skip
def test_a_factor_keeps_to_its_place(name, top, bottom, share):
    row = FACTORS[NAMES.index(name)]
    change = difference({name: row.low}, {name: row.high})
    assert change[int(64 * top) : int(64 * bottom)].sum() > share * change.sum()


def test_background_leaves_the_face_alone():
    change = difference({"background": 0}, {"background": 1}, size=100)
    assert change[20:80, 25:75].max() == 0
    assert change[50, 2] > 10


@pytest.mark.parametrize("child", [False, True])
def test_eyes_and_mouth_stand_where_utkface_has_them(child):
    size, age = 256, 6 if child else 35
    face = {"age": age, "gender": [0, 1], "eye_colour": 0.8, "skin": 0, "hair_shade": 0.2}
    grey = draw(face | {"light": 0}, size, channels=1)[..., 0].astype(float)
    for picture in grey:
        for eye_x in (0.30, 0.70):
            left, top = int((eye_x - 0.09) * size), int(0.24 * size)
            window = picture[top : int(0.34 * size), left : int((eye_x + 0.09) * size)]
            rows, columns = np.nonzero(window < 25)  # the pupil: lashes are lighter
            assert abs((left + columns.mean()) / size - eye_x) < 0.015
            assert abs((top + rows.mean()) / size - 0.29) < 0.015
    if not child:
        lower_face = grey[:, int(0.70 * size) : int(0.85 * size), size // 2]
        lips_meet = 0.70 + lower_face.argmin(axis=1) / size
        assert np.all(np.abs(lips_meet - 0.775) < 0.015)


def test_mirrored_factors_mirror_the_picture():
    """Yaw and light change sign under reflection; only parted hair and glints know left."""
    bald = {"hair": 0, "age": 30}
    there, back = (draw(bald | {"yaw": s * 0.8, "light": s * 0.6}, 64)[0] for s in (1, -1))
    assert np.abs(there.astype(int) - back[:, ::-1]).mean() < 1


def test_factors_are_linearly_decodable():
    images, factors = draw_faces(3000, 32, seed=5)
    for name, floor in (("smile", 0.7), ("age", 0.7), ("skin", 0.8)):
        assert decoded(images, factors[name]) > floor, name


@pytest.mark.parametrize(("factors", "picture", "message"), [
    ({"nose": 1}, (), "unknown factor 'nose'"),
    ({"age": 91}, (), "'age' must lie between 3 and 90"),
    ({"smile": [0, np.nan]}, (), "'smile' must lie"),
    ({"glasses": 0.5}, (), "'glasses' takes whole numbers"),
    ({"age": [20, 30], "smile": [0, 0, 0]}, (), "one length"),
    ({"age": [[20, 30]]}, (), "1-D"),
    ({}, (4, 3), "size"), ({}, ((64, 2), 3), "size"), ({}, (64, 4), "size"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(factors, picture, message):
    with pytest.raises(ValueError, match=message):
        draw(factors, *picture)
