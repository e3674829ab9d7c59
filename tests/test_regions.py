import torch

from facevae.regions import SIDE, Region
from facevae.retouch import composed, edited_picture, held, kept, redrawn


def spot(row, column, yields=1.0):
    where = torch.zeros(1, 1, SIDE, SIDE)
    where[..., row, column] = 1
    return Region(where, torch.full((1, 1, SIDE, SIDE), yields))


def test_each_of_several_edits_is_drawn_in_its_own_region_alone():
    face = torch.full((1, 3, 64, 64), 0.4)
    first, both = face.clone(), face.clone()
    first[..., 8:40, 8:40] += 0.2  # of the first edit, and of the second that and more
    both[..., 8:40, 8:40] += 0.3
    alone, _ = composed(torch.cat([face, first]), [spot(4, 4)])
    other, _ = composed(torch.cat([first, both]), [spot(9, 9)])
    change, holds = composed(torch.cat([face, first, both]), [spot(4, 4, 0.0), spot(9, 9, 4.0)])
    assert torch.allclose(change, alone + other)
    assert alone[..., 17, 17].min() > 0.03 and not alone[..., 37, 37].any()
    assert other[..., 37, 37].min() > 0.03 and not other[..., 17, 17].any()
    assert holds[..., 17, 17] > 0.99 and holds[..., 37, 37] < 0.9  # the second alone gives way
    crop = torch.rand(1, 3, 64, 64)
    assert torch.equal(redrawn(face, *composed(face, []), crop, 1.0), face + (crop - face))
    once = edited_picture(face, held(first - face), crop, region=spot(4, 4, 2.0))
    drawn = composed(torch.cat([face, first]), [spot(4, 4, 2.0)])
    assert torch.equal(once, redrawn(face, *drawn, crop, 1.0))


def test_a_region_within_masks_is_drawn_on_each_face_as_far_as_its_own_lets_through():
    masks, hair = torch.zeros(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)
    masks[0, :, :, :32], masks[1, :, :, 32:] = 1.0, 0.5
    hair[:, :, :32] = 1.0
    region = Region(torch.full((1, 1, SIDE, SIDE), 0.8), torch.full((1, 1, SIDE, SIDE), 3.0))
    where, yields = region.within(hair, masks).over(128)
    left, right = where[..., 20], where[..., 108]
    assert where.shape == (2, 1, 128, 128)
    assert torch.allclose(left[:, 0, 0], torch.tensor([0.8, 0.0]))
    assert torch.allclose(right[:, 0, 0], torch.tensor([0.0, 0.4]))
    assert (yields[:, :, :60] == 3).all() and (yields[:, :, 68:] == 1).all()


def test_a_region_goes_over_into_another():
    half = spot(2, 3, 1.0).towards(spot(9, 9, 3.0), 0.5)
    assert half.where[0, 0, 2, 3] == half.where[0, 0, 9, 9] == 0.5
    assert (half.yields == 2).all()


def test_a_change_is_drawn_in_its_region_alone():
    decoded = torch.full((1, 3, 64, 64), 0.4)
    crop = decoded + 0.1 * torch.rand(1, 3, 64, 64)
    change = torch.full_like(decoded, 0.2)
    drawn = edited_picture(decoded, change, crop, region=spot(4, 4))
    assert torch.allclose(drawn[..., 32:, 32:], crop[..., 32:, 32:], atol=1e-6)
    assert (drawn - crop)[..., 17:19, 17:19].min() > 0.05


def test_detail_gives_way_more_readily_where_it_is_told_to():
    change = torch.full((1, 3, 32, 32), 0.1)
    usual, more, less = (
        kept(change, torch.full((1, 1, 32, 32), yields)).mean() for yields in (1.0, 4.0, 0.1)
    )
    assert torch.allclose(usual, kept(change).mean()) and more < 0.01 < usual < less
    assert (kept(0 * change, torch.full((1, 1, 32, 32), 50.0)) == 1).all()
