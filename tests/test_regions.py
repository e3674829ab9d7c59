import torch

from facevae.regions import SIDE, Region, joined
from facevae.retouch import edited_picture, kept


def spot(row, column, yields=1.0):
    where = torch.zeros(1, 1, SIDE, SIDE)
    where[..., row, column] = 1
    return Region(where, torch.full((1, 1, SIDE, SIDE), yields))


def test_nothing_asked_is_drawn_everywhere_and_regions_join():
    assert joined([]).where.min() == 1 and joined([]).yields.max() == 1
    both = joined([spot(2, 3, 0.5), spot(9, 9, 4.0)])
    assert both.where.sum() == 2 and (both.yields == 4).all()


def test_a_region_goes_over_into_another():
    half = spot(2, 3, 1.0).towards(spot(9, 9, 3.0), 0.5)
    assert half.where[0, 0, 2, 3] == half.where[0, 0, 9, 9] == 0.5
    assert (half.yields == 2).all()


def test_a_change_is_drawn_in_its_region_alone():
    decoded, crop = torch.full((1, 3, 64, 64), 0.4), torch.rand(1, 3, 64, 64)
    change = torch.full_like(decoded, 0.2)
    drawn = edited_picture(decoded, change, crop, region=spot(4, 4))
    assert torch.allclose(drawn[..., 32:, 32:], crop[..., 32:, 32:], atol=1e-6)
    assert (drawn - crop)[..., 17:19, 17:19].abs().min() > 0.01


def test_detail_gives_way_more_readily_where_it_is_told_to():
    change = torch.full((1, 3, 32, 32), 0.1)
    usual, more, less = (
        kept(change, torch.full((1, 1, 32, 32), yields)).mean() for yields in (1.0, 4.0, 0.1)
    )
    assert torch.allclose(usual, kept(change).mean()) and more < 0.01 < usual < less
    assert (kept(0 * change, torch.full((1, 1, 32, 32), 50.0)) == 1).all()
