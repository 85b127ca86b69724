"""One training on several processes: `python -m torch.distributed.run --nproc_per_node 2 -m
roigan_lib train …`.

Every process draws the whole batch and works on its share; gradients are averaged. Whatever a loss
divides by or compares within the batch is shared too, so that two processes at half the batch take
the step of one process at the whole. With one process every function here returns what it was
given.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn

from .errors import RoiganError


def size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process' number, 0 … size() − 1; process 0 writes files and speaks."""
    return dist.get_rank() if size() > 1 else 0


def start() -> None:
    """Join the processes that torch.distributed.run started: nccl with a GPU each, else gloo."""
    try:
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
            gpu = torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", 1)) > 0
            if gpu:
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group("nccl" if gpu else "gloo")
    except (KeyError, ValueError, RuntimeError) as error:
        raise RoiganError(
            f"WORLD_SIZE asks for several processes, which could not join ({error}); start them by "
            "torch.distributed.run, or unset it."
        ) from None


def stop() -> None:
    """Part from the other processes; all of them have to arrive here."""
    if size() > 1:
        dist.barrier()
        dist.destroy_process_group()


def share(n_a: int, n: int):
    """This process' rows of n: of the first n_a (path A), then of the others; None for all."""
    k, r = size(), rank()
    if k == 1:
        return None
    own = lambda path: path[r * len(path) // k : (r + 1) * len(path) // k]
    return torch.tensor([*own(range(n_a)), *own(range(n_a, n))])


def average(value: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over the processes, without a gradient."""
    if size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / size()


def any_of(flag) -> bool:
    """Whether the flag is set in any process, so that all of them stop at the same step."""
    if size() == 1:
        return bool(flag)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    return average(torch.tensor(float(bool(flag)), device=device)).item() > 0


def gather(rows: torch.Tensor) -> torch.Tensor:
    """The rows (n, …) of all processes, (size · n, …), with a gradient."""
    if size() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(rows.contiguous()))


def of_first(value: torch.Tensor) -> torch.Tensor:
    """What stands for process 0's value once gradients and logs are averaged over the processes."""
    return value * (size() if rank() == 0 else 0)


class _OverAll:
    """Batch norm over the rows of all processes: the same statistics and buffers in each."""

    def forward(self, x):
        if size() == 1 or not self.training:
            return super().forward(x)
        return super().forward(gather(x))[rank() * len(x) : (rank() + 1) * len(x)]


class BatchNorm1d(_OverAll, nn.BatchNorm1d):
    """nn.BatchNorm1d, of rows (n, C) that several processes share."""


class BatchNorm2d(_OverAll, nn.BatchNorm2d):
    """nn.BatchNorm2d, of maps (n, C, H, W) that several processes share."""


def average_gradients(parameters) -> None:
    """Replace each gradient by its mean over the processes."""
    if size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= size()
    for g, new in zip(gradients, flat.split([g.numel() for g in gradients])):
        g.copy_(new.view_as(g))
