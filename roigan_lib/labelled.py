"""What a step with labels needs besides its terms: the classifier that asks for told sliders.

s: a `Step` of `objective`; trainer: the `Trainer` whose batches it is about.
"""

from __future__ import annotations

import torch

from . import parallel
from . import regularizers as R

SURE = 5.0  # the logit that a classifier learns for the end of a label that is a number
ATTACK = 3 / 127.5  # how far pixels are moved against the classifier while it learns, on average
ENDS_FROM = 4096  # real holes from which the ends of told sliders are read


def shown_labels(s):
    """Path A: the true labels; with a classifier the mean of each and of how strongly it is
    seen in the real hole, between the ends, so that a slider means how much.
    """
    labels = s.batch.labels[s.a]
    if s.net.classifier is None:
        return labels
    with torch.no_grad(), s.cast():
        seen = s.net.classifier(s.x[s.a], s.m[s.a])
    low, high = s.net.ends
    return (labels + torch.where(seen > 0, seen / high, -seen / low).clamp(-1, 1)) / 2


@torch.no_grad()
def ends(trainer):
    """The classifier's logits at the ends of told sliders, (2, labels): of real holes that show
    a label's place, one in twenty of those without it lies below, of those with it above.
    """
    steps = range(ENDS_FROM // trainer.cfg.optimisation.batch)
    drawn = [trainer.batches.draw(step) for step in steps]
    seen = parallel.gather(torch.cat([trainer.classifier(b.images, b.masks) for b in drawn]))
    labels = parallel.gather(torch.cat([b.labels * (b.asked > 0) for b in drawn]))
    low = seen.where(labels < 0, torch.nan).nanquantile(0.05, 0)
    high = seen.where(labels > 0, torch.nan).nanquantile(0.95, 0)
    return torch.stack([low.clamp_max(-0.1), high.clamp_min(0.1)])


def classifier_loss(s, ramp: float):
    """What the classifier learns before it teaches: the labels of real holes, a scalar.

    The holes are changed a little against it (Goodfellow et al. 2015), because what such a
    classifier asks for is seen by people, too (Santurkar et al. 2019), and both values of a label
    count the same, however rare one is.
    """
    net, labels = s.net.classifier, s.batch.labels
    share, wanted = s.net.batches.labels.shares.to(labels), (1 + labels) / 2
    wanted = torch.where(labels.abs() == 1, wanted, torch.sigmoid(SURE * labels))
    weight = s.batch.asked * (wanted / share + (1 - wanted) / (1 - share)) / 2
    with s.cast():
        x = s.x.clone().requires_grad_(True)
        against = torch.autograd.grad(R.told(net(x, s.m), wanted, weight), x)[0].sign()
        logits = net(s.x + 2 * ATTACK * ramp * s.batch.alpha * against, s.m)
        loss = R.told(logits, wanted, weight)
    right = ((logits > 0) == (labels > 0)).float()
    s.logs |= {"g": loss.item(), "label_right": ((right * weight).sum() / weight.sum()).item()}
    return loss
