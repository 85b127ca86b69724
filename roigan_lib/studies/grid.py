"""What a node of workflow/Snakefile measures of a model it trained, beside `metrics.compare`."""

import torch

from ..control import agreement, effect_on_factors, ends, sweep
from ..control import disentanglement as scores
from ..errors import RoiganError
from ..masks import FACE, region
from ..metrics import frame
from ..metrics.features import factor_net
from ..regularizers import visible_change
from .told import about


def control(gan, data, seed=0, drawn=400):
    """Rows on how far the codes of a model can be seen, and on faces of synthfaces what they mean.

    data: an ImageSet of two images or more, redrawn in figure 4.5's region. Metrics: visible_c and
    visible_d, the change from end to end (0 … 1 of the range), means over codes and images, with
    the standard deviation over codes as spread. With known factors also agreement (how far a code's
    strongest effect points one way) and mig, sap, disentanglement and completeness, from `drawn`
    completions with random codes, 400 or more. Raises RoiganError for fewer than two images.
    """
    if len(data) < 2:
        raise RoiganError(f"Control is measured on two images or more, not on {len(data)}.")
    images, mask = data[:], region(gan.size, *FACE)
    stacks = [sweep(gan, images, mask, ends(gan, k), seed) for k in range(gan.config.n_codes)]
    moved = torch.stack([visible_change(stack, mask).mean() for stack in stacks])
    parts = {"visible_c": moved[: gan.n_continuous], "visible_d": moved[gan.n_continuous :]}
    found = {name: (part.mean().item(), _sd(part)) for name, part in parts.items() if len(part)}
    if data.factors is not None:
        net, many = factor_net(), scores.completions(gan, images, mask, drawn, seed)
        read = lambda x: torch.cat([net(part)["continuous"] for part in x.split(256)])
        effects = effect_on_factors(dict(enumerate(stacks)), read, net.spread)
        sure = [agreement(e)[e.mean(0).abs().argmax()] for e in effects.values()]
        found["agreement"] = torch.stack(sure).mean().item(), _sd(torch.stack(sure))
        readings = read(many.pictures)
        information = scores.mutual_information(many.codes, readings)
        explained = scores.explained_variance(many.codes, readings)
        *_, apart, whole = scores.dci(explained)
        gaps = scores.mig(information, scores.entropies(readings))
        means = {"mig": gaps.mean(), "sap": scores.sap(explained).mean()}
        means |= {"disentanglement": apart, "completeness": whole}
        found |= {name: (float(value), None) for name, value in means.items()}
    shared = {"method": "roi-gan"} | about(gan, data, len(data), seed)
    return frame(
        {"metric": f"{name}_n{len(data)}", "value": value, "spread": spread} | shared
        for name, (value, spread) in found.items()
    )


def _sd(values):
    return values.std().item() if len(values) > 1 else None
