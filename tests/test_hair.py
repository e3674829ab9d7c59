import pytest
import torch
from PIL import Image

from facevae import hair
from facevae.align import FRAME
from facevae.pictures import to_tensor
from facevae.studio import Studio


@pytest.fixture(scope="module")
def lesson():
    """Crops with a dark block for hair, somewhere, and where it is."""
    generator = torch.Generator().manual_seed(0)
    crops = torch.full((hair.BATCH, hair.SIDE, hair.SIDE, 3), 200, dtype=torch.uint8)
    maps = torch.zeros(hair.BATCH, hair.MAP, hair.MAP, dtype=torch.uint8)
    for crop, drawn in zip(crops, maps, strict=True):
        x, y = (2 * torch.randint(0, 32, (2,), generator=generator)).tolist()
        crop[y : y + 64, x : x + 64] = 40
        drawn[y // 2 : y // 2 + 32, x // 2 : x // 2 + 32] = 255
    return crops, maps


def test_it_learns_where_hair_is_and_is_as_it_was_when_read_again(lesson, tmp_path):
    found = hair.teach(*lesson, epochs=60)
    assert hair.agreement(found, *lesson) > 0.8
    found.save(tmp_path / "hair.safetensors")
    again = hair.HairFinder.load(tmp_path / "hair.safetensors")
    images = lesson[0][:8].permute(0, 3, 1, 2).float() / 255
    assert torch.allclose(again.find(images), found.find(images), atol=0.02)  # half precision
    large = torch.nn.functional.interpolate(images, (300, 300), mode="bilinear")
    assert again.find(large).shape == (8, 1, hair.MAP, hair.MAP)


def test_too_few_faces_and_a_foreign_file_are_told_so(lesson, tmp_path):
    with pytest.raises(ValueError, match="give 64 at least"):
        hair.teach(lesson[0][:10], lesson[1][:10])
    (tmp_path / "foreign").write_bytes(b"no tensors")
    for name in ("foreign", "missing"):
        with pytest.raises(ValueError, match="holds no finder of hair"):
            hair.HairFinder.load(tmp_path / name)


def test_agreement_is_intersection_over_union(lesson):
    class Knows(hair.HairFinder):
        def find(self, crops):
            dark = (crops[:, :1] < 0.5).float()
            return torch.nn.functional.avg_pool2d(dark, 2)

    crops, maps = lesson
    assert hair.agreement(Knows(), crops, maps) == 1
    half = maps.clone()
    half[:, ::2] = 0
    assert hair.agreement(Knows(), crops, half) == pytest.approx(0.5)


def test_the_shipped_one_finds_the_hair_of_a_portrait_and_leaves_cheeks_and_clothes():
    face = Studio.load().read("assets/portraits/eileen_collins.jpg")
    found = face.hair[0, 0]
    assert found[:6, 12:52].mean() > 0.8
    assert found[20:50, 20:44].mean() < 0.05
    assert found[54:, :12].mean() < 0.1  # her suit


def test_it_finds_none_in_an_empty_picture():
    grey = to_tensor([Image.new("RGB", (128, 128), (120, 120, 120))])
    assert hair.finder().find(grey).mean() < 0.2


def test_a_photo_of_the_head_is_looked_at_as_a_whole_and_a_bare_crop_as_it_is():
    studio = Studio.load()
    face = studio.read("assets/portraits/eileen_collins.jpg")
    head = face.alignment.wider(hair.WIDE, hair.WIDE_AT)
    assert head.shown(face.photo) > 0.99
    assert (face.hair >= hair.within(face.head)).all()
    eyes = 128 * FRAME[:2]
    bare = studio.read(face.crop, eyes=eyes)
    assert bare.alignment.wider(hair.WIDE, hair.WIDE_AT).shown(bare.photo) < 0.5
    assert torch.equal(bare.hair, hair.finder().find(to_tensor([bare.crop])))
    assert (face.hair >= bare.hair).all()
    assert bare.hair.sum() < face.hair.sum() < 1.5 * bare.hair.sum()  # two looks at one head


def test_the_crops_part_of_a_wider_map_lies_where_the_crop_does():
    places = torch.linspace(0, 1, 257)[None].repeat(257, 1)  # across the wider picture
    for map_, at in ((places, hair.WIDE_AT[0]), (places.T, hair.WIDE_AT[1])):
        cut = hair.within(map_[None, None])[0, 0]
        assert cut.shape == (hair.MAP, hair.MAP)
        ends = cut[[0, -1], [0, -1]]  # half a pixel within the crop's corners
        wanted = (torch.tensor([0.5, hair.MAP - 0.5]) / hair.MAP - at) / hair.WIDE
        assert torch.allclose(ends, wanted, atol=0.005)
