import pytest
import torch

from facevae.balance import MOST, Balance, Seen, tied


def seen(turned, bangs, years=0.0, faces=10):
    """An edit as a reader sees it that turns these shares of the faces, and their bangs."""
    at = torch.where(torch.arange(faces) < turned * faces, 1.0, -1.0)
    was = torch.ones(faces, 2)
    now = was.clone()
    now[: int(bangs * faces), 1] = -1
    return Seen(at, was, now, torch.full((faces,), years), torch.tensor(0.0))


@pytest.mark.parametrize("turned, bangs, years, guarded", [
    (1.0, 0.5, 0.0, [1.0, 12.0, 0.4]),  # what turns along is guarded more, the steady age less
    (1.0, 0.0, 9.0, [1.0, 0.4, 12.0]),
    (0.5, 0.5, 9.0, [1.0, 1.0, 1.0]),  # but first of all it must turn
])  # fmt: skip
def test_what_spoils_an_edit_is_guarded_once_it_turns(turned, bangs, years, guarded):
    balance = Balance("Smiling", ("Smiling", "Bangs"))
    for _ in range(600):
        balance.loss(seen(turned, bangs, years), 0)
    assert balance.care[0].tolist() == pytest.approx(guarded, abs=0.01)
    assert balance.care[1].tolist() == [1, 1, 1]  # of taking it off nothing was seen
    assert balance.urge[0] < 1 if turned == 1 else balance.urge[0] == MOST


def test_what_is_tied_is_not_guarded():
    balance = Balance("Bald", ("Bald", "Bangs"))
    for _ in range(600):
        balance.loss(seen(1.0, 0.5), 0)
    assert balance.care[0, 1] == 1
    assert {"Bangs", "Black_Hair", "Young"} < tied("Bald")
    assert "Bangs" not in tied("Black_Hair") and not tied("Eyeglasses")
