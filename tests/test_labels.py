"""Told sliders: labels of a data set, their places in the frame, the classifier that asks."""

from dataclasses import replace

import pytest
import torch

from roigan_lib import training as T
from roigan_lib.config import load_config
from roigan_lib.data import open_dataset
from roigan_lib.data.images import ImageSet
from roigan_lib.data.labels import labels_of, shown_name
from roigan_lib.errors import RoiganError
from roigan_lib.models import Classifier

NAMES = ["Smiling", "No_Beard", "Male", "Eyeglasses"]
SMALL = dict(size=32, n_noise=5, n_continuous=3, n_discrete=2, n_categories=3, batch=8, steps=6)
TOLD = dict(labels="Smiling,-No_Beard", label=1.0, mask_family="elliptic+elliptic-face")


@pytest.fixture(scope="module")
def faces():
    """Grey 32x32 images that smile where their lower half is bright, none of them with glasses."""
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(90, 120, (48, 3, 32, 32), generator=g).to(torch.uint8)
    attributes = torch.rand(48, 4, generator=g) < 0.5
    attributes[:, 3] = False
    pixels[attributes[:, 0], :, 20:] += 100
    return ImageSet("celeba", "train", 32, pixels, attributes=attributes, attribute_names=NAMES)


def tiny(**changes):
    return load_config("smoke", **(SMALL | TOLD | dict(warmup=0.0, ramp=0.0) | changes))


def test_attributes_are_labels_and_a_minus_turns_one_round(faces):
    found = labels_of(faces, ["Smiling", "-No_Beard"], 3)
    smiling, shaved = faces.attributes[:, 0].float(), faces.attributes[:, 1].float()
    assert torch.equal(found.values, torch.stack([2 * smiling - 1, 1 - 2 * shaved], 1))
    assert found.shares.tolist() == pytest.approx([smiling.mean().item(), 1 - shaved.mean().item()])
    assert not found.turned.any()
    names = [shown_name(name) for name in ("Smiling", "-No_Beard", "No_Beard", "mouth_open")]
    assert names == ["smiling", "beard", "no beard", "mouth open"]


def test_a_place_lies_where_the_aligned_frame_has_it(faces):
    mouth, jaw = labels_of(faces, ["Smiling", "-No_Beard"], 3).places[:, 0]
    rows, columns = (mouth.amax(1 - axis).nonzero().flatten() for axis in (0, 1))
    assert rows.min() >= 0.7 * 32 and abs(columns.float().mean().item() - 15.5) < 1e-6
    assert (jaw * mouth).sum() == mouth.sum() - mouth[jaw.amax(1) == 0].sum()


def test_a_label_is_asked_for_as_far_as_the_hole_covers_its_place(faces):
    batches = T.Batches(tiny(), faces, "cpu")
    place = batches.labels.places[0]
    half = place.clone()
    half[:, :, 16:] = 0  # the left half of it
    masks = torch.stack([place, half, 1 - place, torch.ones_like(place)])
    assert batches.asked(masks)[:, 0].tolist() == [1.0, 0.0, 0.0, 1.0]
    three_quarters = place.clone()
    three_quarters[:, :, 19:] = 0
    share = (three_quarters.sum() / place.sum()).item()
    assert batches.asked(three_quarters[None])[0, 0].item() == pytest.approx(2 * share - 1)


def test_two_families_of_regions_take_turns(faces):
    masks = T.Batches(tiny(), faces, "cpu").draw(0).masks
    centre = (masks * torch.arange(32.0)[:, None]).sum((1, 2, 3)) / masks.sum((1, 2, 3))
    every = [T.Batches(tiny(), faces, "cpu").draw(k).masks for k in range(12)]
    high, low = (torch.cat([m[start::2] for m in every]).mean(0)[0] for start in (0, 1))
    assert (low[24:].mean() > 1.5 * high[24:].mean()) and len(centre) == 8


@pytest.mark.slow
def test_the_classifier_learns_what_a_hole_shows_and_nothing_else_moves(faces):
    cfg = tiny(learns="classifier", steps=80, batch=32, lr_g=3e-3, mask_family="elliptic-face")
    trainer = T.Trainer(cfg, faces)
    before = {k: v.clone() for k, v in trainer.generator.state_dict().items()}
    logs = [trainer.step() for _ in range(80)]
    assert all(torch.equal(v, before[k]) for k, v in trainer.generator.state_dict().items())
    x, m = faces[:], torch.zeros(48, 1, 32, 32)
    m[:, :, 12:, 4:28] = 1
    with torch.no_grad():
        seen = trainer.classifier(x, m)[:, 0] > 0
    assert (seen == faces.attributes[:, 0]).float().mean() > 0.95
    assert sum(log["g"] for log in logs[-10:]) < sum(log["g"] for log in logs[:10])


def test_the_classifier_sees_the_hole_alone():
    net = Classifier(load_config("smoke", size=32).model, 2)
    x, m = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    m[:, :, 8:24, 8:24] = 1
    with torch.no_grad():
        assert torch.equal(net(x, m), net(x * m + (1 - m) * torch.rand_like(x), m))
        assert not torch.equal(net(x, m), net(x * 0.5, m))


@pytest.mark.slow
def test_path_a_is_shown_half_the_truth_and_half_what_is_seen(faces):
    trainer = T.Trainer(tiny(), faces)
    batch = trainer.batches.draw(0)
    step = trainer.through(batch)
    with torch.no_grad():
        seen = trainer.classifier(batch.images, batch.masks)
        low, high = trainer.ends
        seen = (seen.clamp_min(0) / high - seen.clamp_max(0) / low).clamp(-1, 1)
    n_a = trainer.batches.n_a
    assert n_a and torch.allclose(step.shown_labels, ((batch.labels + seen) / 2)[:n_a], atol=1e-5)


@pytest.mark.slow
def test_a_stage_goes_on_with_the_classifier_of_the_one_before(faces, tmp_path):
    run = T.train(tiny(learns="classifier"), tmp_path / "a", faces, None)
    start = str(run.folder / "checkpoint.pt")
    trainer = T.Trainer(tiny(start=start), faces)
    first = trainer.classifier.head.weight.clone()
    T.checkpoint.load(trainer, start, start=True)
    assert not torch.equal(trainer.classifier.head.weight, first)
    before = trainer.classifier.head.weight.clone()
    trainer.step()
    assert torch.equal(trainer.classifier.head.weight, before)  # it teaches, and no longer learns
    with pytest.raises(RoiganError, match="trained with labels='Smiling,-No_Beard'"):
        T.train(tiny(start=start, labels="Smiling,Male"), tmp_path / "b", faces, None)


@pytest.mark.slow
def test_random_codes_have_a_label_as_often_as_the_images(faces, tmp_path):
    gan = T.train(tiny(steps=1), tmp_path, faces, None).model
    shares = labels_of(faces, ["Smiling", "-No_Beard"], 3).shares
    codes = gan.sample_codes(4000, 1)
    assert ((codes[:, :2] > 0).float().mean(0) - shares).abs().max() < 0.03
    assert codes[:, :3].abs().max() <= 1 and ((codes[:, 2] > 0).float().mean() - 0.5).abs() < 0.03
    above = codes[codes[:, 0] > 0, 0]
    assert (above.mean() - 0.5).abs() < 0.03 and (above < 0.1).float().mean() > 0.07


@pytest.mark.parametrize(
    "labels, sentence",
    [
        ("Smilling", "did you mean 'Smiling'"),
        ("-No_Berd", "did you mean 'No_Beard'"),
        ("Smiling,-Smiling", "name each once"),
        ("Eyeglasses", "have the same 'Eyeglasses'"),
    ],
)
def test_labels_that_cannot_be(labels, sentence, faces):
    with pytest.raises(RoiganError, match=sentence):
        T.Trainer(tiny(labels=labels), faces)


def test_a_set_without_attributes_cannot_teach(faces):
    plain = replace(faces, attributes=None, attribute_names=None)
    with pytest.raises(RoiganError, match="no factors or attributes .* list_attr_celeba.txt"):
        T.Trainer(tiny(), plain)
    people = open_dataset("synthfaces", "train", 32, limit=12)
    with pytest.raises(RoiganError, match="'yaw', which has no place of its own"):
        T.Trainer(tiny(labels="gaze,yaw"), people)


@pytest.mark.parametrize("change", [dict(label=0.0, learns="classifier"), dict(labels=None)])
def test_a_classifier_needs_labels_and_a_weight(change):
    with pytest.raises(RoiganError, match="give labels and a weight of label"):
        tiny(**change)


@pytest.mark.parametrize("labels", ["nonesuch", "gaze,gaze", "smile,nonesuch"])
def test_labels_are_refused_before_a_picture_is_opened(labels, tmp_path, monkeypatch):
    """Those of a later stage of a recipe too."""
    from roigan_lib import making, training
    from roigan_lib.data import labels as module

    def opened(*_):
        raise AssertionError("pictures were opened")

    monkeypatch.setattr(module, "open_dataset", opened)
    staged = tmp_path / "staged.toml"
    told = f'[[stages]]\nname = "a"\n[[stages]]\nname = "b"\nobjective = {{labels = "{labels}"}}\n'
    staged.write_text('base = "improved"\n' + told, encoding="utf-8")
    for train in (
        lambda: training.train(load_config("smoke", labels=labels), tmp_path / "a", progress=None),
        lambda: making.make(str(staged), tmp_path / "b", "smoke", None),
    ):
        with pytest.raises(RoiganError, match="labels names"):
            train()
