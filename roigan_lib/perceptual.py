"""The frozen networks that the perceptual loss (3.12) looks through."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .errors import RoiganError
from .files import path_of


def _official(name):
    """torchvision's weight file in the torch hub cache, fetched where it is missing. Its name ends
    in the beginning of its SHA-256, which is checked each time.
    """
    import torchvision

    url = torchvision.models.get_model_weights(name).DEFAULT.url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    digits = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            torch.hub.download_url_to_file(url, str(path), digits, progress=False)
        right = hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits)
    except Exception as error:  # any of a dozen network errors
        raise RoiganError(
            f"The weights of {name} could not be downloaded ({type(error).__name__}); give "
            f"a local file with perceptual_weights=…, or use perceptual_net='factors'."
        ) from None
    if not right:
        raise RoiganError(f"{path} is not torchvision's file: delete it to have it fetched again.")
    return path


class PerceptualNet(nn.Module):
    """Frozen feature maps V_l for (3.12): forward(images in [-1, 1]) -> list of maps.

    name: `factors`, the kit's own network that reads synthfaces' factors (ships with the kit);
    `vgg16`, as in the thesis (torchvision's ImageNet weights, all 13 ReLUs; downloaded once);
    `vgg19`, as in the author's release (ReLU 1_1 … 5_1, images as they are, without ImageNet's mean
    and deviation); `vgg11_bn`, lighter (ReLU 1_1, 2_1, 3_2). weights: a local .pth or .npz with
    torchvision's key names, instead of a download. Raises RoiganError where the weights cannot be
    had or do not fit.
    """

    TAPS = {
        "vgg16": (1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29),
        "vgg19": (1, 6, 11, 20, 29),
        "vgg11_bn": (2, 6, 13),
    }

    def __init__(self, name, weights=None):
        super().__init__()
        self.name = name
        if name == "factors":
            from .data.synthfaces.reader import load_factor_net

            self.net = load_factor_net()
        else:
            self.net = self._vgg(name, weights).eval()
            for i, layer in enumerate(self.net):  # frozen batch norm is part of the convolution
                if isinstance(layer, nn.BatchNorm2d):
                    self.net[i - 1] = fuse_conv_bn_eval(self.net[i - 1], layer)
                    self.net[i] = nn.Identity()
            self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)

    def _vgg(self, name, weights):
        import torchvision

        net = getattr(torchvision.models, name)(weights=None).features[: self.TAPS[name][-1] + 1]
        path = path_of(weights, "weight file") if weights else _official(name)
        if not path.is_file():
            raise RoiganError(
                f"There is no weight file {path}; perceptual_weights takes a .pth or .npz of "
                f"{name}."
            )
        try:
            if path.suffix == ".npz":
                import numpy as np

                state = {k: torch.from_numpy(v.astype("float32")) for k, v in np.load(path).items()}
            else:
                state = torch.load(path, weights_only=True, map_location="cpu")
            state = {k.removeprefix("features."): v for k, v in state.items()}
        except Exception:  # a damaged or malicious file raises nearly anything
            raise RoiganError(
                f"{path} is damaged or holds more than plain weights; fetch {name} again."
            ) from None
        wanted = (k for k in net.state_dict() if not k.endswith("num_batches_tracked"))
        if missing := [k for k in wanted if k not in state]:
            raise RoiganError(
                f"{path.name} does not hold {name}: it lacks {missing[0]!r} and {len(missing) - 1} "
                "more."
            )
        try:
            known = {k: v for k, v in state.items() if k in net.state_dict()}
            net.load_state_dict(known, strict=False)
        except RuntimeError:
            raise RoiganError(f"{path.name} does not hold {name}: its shapes are others.") from None
        return net

    def forward(self, images):
        images = images.contiguous(memory_format=torch.channels_last)
        if self.name == "factors":
            return self.net.maps(images)
        y, maps = images, []
        if self.name != "vgg19":
            y = (images.clamp(-1, 1) * 0.5 + 0.5 - self.mean) / self.std
        for i, layer in enumerate(self.net):
            y = layer(y) if not isinstance(layer, nn.ReLU) else F.relu(y, inplace=True)
            if i in self.TAPS[self.name]:
                maps.append(y)
        return maps
