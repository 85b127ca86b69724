"""In which precision the networks compute: the one place that decides.

bfloat16 shortens a step where a GPU or the processor (AVX512-BF16, AMX) multiplies it by itself.
Elsewhere it is emulated, dozens of times slower than float32. So a convolution is timed both ways,
once a machine. ROIGAN_BF16, set to fast or slow, takes the place of the measurement.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import subprocess
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import torch
from torch.nn import functional as F

from . import parallel
from .errors import RoiganError
from .files import cache_folder, write_atomically

HOPELESS = 4.0  # times as long as float32: three rounds of this are enough to know
ISA = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # variables that withhold instructions


@functools.cache
def processor() -> str:
    """The processor's name, as the system has it."""
    name = ""
    with suppress(OSError):
        found = re.search(r"model name\s*:(.*)", Path("/proc/cpuinfo").read_text("utf-8"))
        name = found[1].strip() if found else ""
    with suppress(OSError):
        ask = ["sysctl", "-n", "machdep.cpu.brand_string"]  # macOS
        name = name or subprocess.run(ask, capture_output=True, text=True).stdout.strip()
    return name or platform.processor() or platform.machine()


def probe(rounds: int = 15) -> tuple[float, float]:
    """Seconds of a convolution, forward and back, on this processor in float32 and in bfloat16.

    Both take turns, after one round to warm up, and the quickest round counts. It ends after three
    rounds where bfloat16 is hopeless or half a second is over.
    """
    generator = torch.Generator().manual_seed(0)
    shapes = (4, 64, 16, 16), (64, 64, 3, 3)  # of a middle layer of the networks
    drawn = (torch.randn(shape, generator=generator) for shape in shapes)
    x, weight = (t.to(memory_format=torch.channels_last).requires_grad_() for t in drawn)
    took, began = {False: [], True: []}, time.perf_counter()
    for done in range(rounds + 1):
        for half, seconds in took.items():
            start = time.perf_counter()
            with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                y = F.leaky_relu(F.conv2d(x, weight, padding=1), 0.2)
            torch.autograd.grad(y.float().mean(), (x, weight))
            seconds.append(time.perf_counter() - start)
        if done:
            single, half = (min(seconds[1:]) for seconds in took.values())
            if done >= 3 and (half > HOPELESS * single or time.perf_counter() - began > 0.5):
                break
    return single, half


def ratio() -> float:
    """How many times as long bfloat16 takes here: from $ROIGAN_CACHE/precision.json, else `probe`.

    An answer holds for one processor, version of torch, number of threads and value of ISA.
    """
    path, told = cache_folder() / "precision.json", [f"{k}={os.environ.get(k, '')}" for k in ISA]
    library = f"torch {torch.__version__}", f"{torch.get_num_threads()} threads"
    key = " | ".join([processor(), *library, *told])
    try:
        known = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    if isinstance(known.get(key), float):
        return known[key]
    single, half = probe()
    found = round(half / single, 3)
    with suppress(RoiganError):  # measured again next time
        write_atomically(path, json.dumps(known | {key: found}, indent=1).encode())
    return found


def decide(asked: str, device="cpu") -> tuple[str, str]:
    """The precision to use where fp32 or bf16 is asked for; a sentence where they differ, else "".

    All processes of a training get the same. RoiganError: ROIGAN_BF16 is neither fast nor slow, or
    torch makes tensors of another type than float32.
    """
    if (usual := torch.get_default_dtype()) != torch.float32:
        raise RoiganError(
            f"torch's default dtype is {usual} and the networks are float32; call "
            "torch.set_default_dtype(torch.float32) first."
        )
    told, device = os.environ.get("ROIGAN_BF16", ""), torch.device(device)
    if told not in ("", "fast", "slow"):
        raise RoiganError(
            f"ROIGAN_BF16 is {told!r}; set it to fast or slow, or unset it to have this machine "
            f"measured."
        )
    if asked != "bf16":
        return asked, ""
    if told:
        slow, why = told == "slow", "is slow here, says ROIGAN_BF16"
    elif device.type == "cuda":
        slow = not torch.cuda.is_bf16_supported(including_emulation=False)
        why = f"is emulated by {torch.cuda.get_device_name(device)}"
    else:
        times = ratio()
        slow, why = times > 1, f"takes {times:.1f} times as long as float32 on this processor"
    if parallel.any_of(slow):
        return "fp32", f"bfloat16 {why}: going on in float32; ROIGAN_BF16=fast forces bfloat16."
    return "bf16", ""


def autocast(used: str, device):
    """The context of passes through networks in the precision that `decide` gave for the device."""
    bf16 = used == "bf16"
    return torch.autocast(torch.device(device).type, torch.bfloat16) if bf16 else nullcontext()
