"""What sliders found without labels show: rows for figures/found.jsonl."""

from ..control import visible_change_per_code
from ..masks import FACE, region
from ..metrics import about, frame


def effects(gan, data, few=200, seed=0):
    """A frame of rows: `visible_change` of each slider, end to end, in figure 4.5's region.

    data: an ImageSet, of which the first `few` images count. The method of a row is the slider's
    name, or its key where it has none.
    """
    pixels, mask = data[:few], region(gan.size, *FACE)
    names = getattr(gan, "slider_names", {})
    shared = about(gan, data, len(pixels), seed)
    change = visible_change_per_code(gan, pixels, mask, seed=seed)
    return frame(
        {"metric": "visible_change", "value": value.mean().item(), "method": names.get(key, key)}
        | shared
        for key, value in change.items()
    )
