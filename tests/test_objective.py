"""The improved objective, term by term and gradient by gradient, against its plain description."""

import copy
from types import SimpleNamespace

import plain_objective as plain
import pytest
import torch

from roigan_lib import objective
from roigan_lib import training as T
from roigan_lib.config import WEIGHTS, Config, load_config
from roigan_lib.data import open_dataset

# weights that let every term be heard, none twice the same
ALL = {name: 0.3 + 0.07 * i for i, name in enumerate(WEIGHTS)}
SHIPPED = Config().objective.weights
SMALL = dict(size=32, n_noise=5, n_continuous=3, n_discrete=2, n_categories=3)


@pytest.fixture(scope="module")
def people():
    return open_dataset("synthfaces", "train", 32, limit=24)


def make(data, **changes):
    """A trainer of tiny networks that draw visibly, and whose average is another network."""
    cfg = load_config("smoke", **(SMALL | dict(batch=12, steps=8, warmup=0.0, ramp=0.0) | changes))
    trainer = T.Trainer(cfg, data, "cpu")
    shake = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for net in (trainer.generator, trainer.ema, trainer.reader, trainer.discriminator):
            for p in net.parameters():
                p.add_(0.03 * torch.randn(p.shape, generator=shake))
    return trainer


NETWORKS = ("generator", "discriminator", "reader", "heads", "classifier", "perceptual", "ema")


def gradients(nets):
    """{network: {parameter: gradient}} of what has one."""
    return {
        name: {
            k: p.grad.clone()
            for k, p in getattr(nets, name).named_parameters()
            if p.grad is not None
        }
        for name in ("generator", "discriminator", "reader", "heads")
        if getattr(nets, name) is not None
    }


def take(trainer):
    """Logs of a step that changes no weight; all gradients at D's update and at G's."""
    found = {}
    trainer.opt_d.step = lambda: found.update(d=gradients(trainer))
    trainer.opt_g.step = lambda: found.update(g=gradients(trainer))
    return trainer.step(), found.get("d"), found["g"]


def close(theirs, ours):
    assert theirs.keys() == ours.keys()
    for network, found in theirs.items():
        assert found.keys() == ours[network].keys(), network
        for name, gradient in found.items():
            off = (gradient - ours[network][name]).norm()
            assert off <= 5e-3 * gradient.norm() + 1e-6, (network, name, off, gradient.norm())


def compare(trainer, ramp=1.0, every=1):
    """A step of the trainer beside the plain one: logs, terms, gradients of every network."""
    step, o = trainer.step_count, trainer.cfg.objective
    nets = SimpleNamespace(**{name: copy.deepcopy(getattr(trainer, name)) for name in NETWORKS})
    nets.ends = trainer.ends if trainer.classifier is not None else None
    nets.generator.train(), nets.discriminator.train()
    batch, n_a = trainer.batches.draw(step), trainer.batches.n_a
    want_d, d_terms = None, {}
    drawn = plain.draw(nets, batch, n_a)
    if ramp:
        loss, d_terms, maps = plain.judge(nets, o.weights, batch, drawn["done"], every)
        loss.backward()
        want_d = gradients(nets)
    else:
        maps = nets.discriminator.maps(batch.images, batch.masks)
    for p in [*nets.discriminator.parameters(), *(nets.heads.parameters() if nets.heads else ())]:
        p.grad = None
        p.requires_grad_(False)
    terms = plain.generator_terms(nets, o, batch, n_a, drawn, maps)
    loss = plain.generator_loss(o.weights, terms, ramp)
    loss.backward()
    logs, ours_d, ours_g = take(trainer)
    # D's update moves D and its heads alone; G's moves G and Q
    if ramp:
        assert not ours_d["generator"] and not ours_d["reader"]
        close(want_d, ours_d)
    else:
        assert ours_d is None
    assert not ours_g["discriminator"] and not ours_g.get("heads")
    close(gradients(nets), ours_g)
    wanted = {"g": loss} | d_terms
    for name, term in objective.TERMS.items():
        heard = o.weight(term.weight) * (ramp if term.adversarial else 1)
        if name in terms and (heard or term.measured):
            wanted[name] = terms[name]
    if n_a:
        wanted["code_sd"] = drawn["read"][0].std(0, correction=0).mean()
    assert wanted.keys() == logs.keys()
    for name, value in wanted.items():
        assert logs[name] == pytest.approx(value.item(), rel=1e-3, abs=2e-5), name
    return logs


def but(*names):
    """All weights without those of these terms."""
    return {k: 0.0 if k in names else v for k, v in ALL.items()}


@pytest.mark.parametrize(
    "change",
    [
        but("mirror") | dict(siblings=3, labels="gaze,mouth_open"),
        but("mirror") | dict(siblings=3, labels="gaze,mouth_open,eye_size"),
        but("label") | dict(siblings=3),
        but("label") | dict(siblings=2, path_b=1.0),
        but("apart", "faint", "label") | dict(path_b=0.0),
        SHIPPED,
    ],
    ids=("labels", "labels on every slider", "siblings", "path B", "path A", "as it ships"),
)
@pytest.mark.slow
def test_every_term_and_gradient_is_that_of_the_plain_objective(change, people):
    logs = compare(make(people, **change))
    heard = {name for name, term in objective.TERMS.items() if change.get(term.weight)}
    alone = {"path_b": change.get("path_b", 0.5)}
    missing = heard - logs.keys()
    if alone["path_b"] == 0.0:
        assert missing == {"perceptual_prior", "l1_prior", "mirror", "info_c", "info_d"}
    elif alone["path_b"] == 1.0:
        assert missing == {"perceptual_prior", "l1_prior", "apart"}  # one moved code is apart
    else:
        assert missing <= {"info_c"} and (not missing or "eye_size" in change.get("labels", ""))


@pytest.mark.slow
def test_adversarial_terms_grow_and_the_penalty_is_rarer_and_stronger(people):
    trainer = make(people, **but("mirror", "apart", "faint", "label"), ramp=0.5, penalty_every=2)
    assert "penalty" in compare(trainer, ramp=1 / 4, every=2)
    assert trainer.step_count == 1  # no weight moved; the batch is another one
    trainer = make(people, **but("mirror", "apart", "faint", "label"), ramp=0.5, penalty_every=2)
    trainer.step_count = 1
    assert "penalty" not in compare(trainer, ramp=2 / 4, every=0)


@pytest.mark.slow
def test_without_a_discriminator_the_warm_up_asks_for_the_rest(people):
    logs = compare(make(people, **but("mirror", "apart", "faint", "label"), warmup=0.5), ramp=0.0)
    assert "adversarial" not in logs and "d" not in logs and logs["l1_hole"] > 0
