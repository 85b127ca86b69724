"""What only a GPU can show: pytest -m cuda tests/cuda. Rows go to $ROIGAN_FIGURES/cuda.jsonl."""

import os
from pathlib import Path

import pytest
import torch

from roigan_lib import load_config, load_model, open_dataset, sample_masks
from roigan_lib.metrics import write_rows
from roigan_lib.studies import bench, cost
from roigan_lib.training import Trainer

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here"),
]
RECIPES = ("improved", "thesis", "published")
bfloat16 = pytest.mark.skipif(
    torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False),
    reason="this GPU has no bfloat16",
)
GPU_GIB = {"smoke": 1.0, "laptop": 4.0, "thesis": 16.0}  # what a profile may take


@pytest.fixture
def keep(tmp_path):
    """Takes rows, for the file of this machine."""
    place = Path(os.environ.get("ROIGAN_FIGURES") or tmp_path) / "cuda.jsonl"
    gpu = torch.cuda.get_device_name()
    return lambda rows: write_rows(place, [{"gpu_name": gpu, "reference": gpu} | r for r in rows])


@pytest.fixture(autouse=True)
def exact():
    """Single precision as on a CPU: no TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def trainer(device, recipe="improved", **fields):
    tiny = dict(width=0.125, batch=4, steps=8, warmup=0.0, ramp=0.0, perceptual_net="factors")
    cfg = load_config("smoke", recipe=recipe, **tiny | fields)
    return Trainer(cfg, bench.noise_images(2 * cfg.optimisation.batch), device)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_steps_of_a_gpu_are_those_of_the_processor(recipe):
    here, there = (trainer(device, recipe) for device in ("cpu", "cuda"))
    for _ in range(3):
        one, other = here.step(), there.step()
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=5e-3, abs=1e-3), name


@pytest.mark.parametrize("name", ["synthfaces", "celeba", "cats"])
def test_a_gpu_completes_as_the_processor_does(name):
    images = open_dataset("synthfaces", "test", limit=8)[:]
    masks = sample_masks("elliptic", 8, 64, seed=0)
    here, there = (load_model(name, d).inpaint(images, masks, seed=0) for d in ("cpu", "cuda"))
    outside = (1 - masks).bool().expand_as(images)
    assert torch.equal(there.cpu()[outside], images[outside])
    assert (here - there.cpu()).abs().max() < 2e-3


@bfloat16
@pytest.mark.parametrize("recipe", RECIPES)
def test_mixed_precision_stays_near_single(recipe):
    single, mixed = (trainer("cuda", recipe, precision=p) for p in ("fp32", "bf16"))
    assert mixed.precision == "bf16"
    one, other = single.step(), mixed.step()
    for name in ("g", "d"):
        assert other[name] == pytest.approx(one[name], rel=0.1, abs=0.05), name


@pytest.mark.parametrize("profile", list(GPU_GIB))
def test_a_profile_fits_in_its_memory(profile, keep):
    row = cost.named("run", cost.apart({"profile": profile}, device="cuda"))
    keep([row])
    assert row["memory_gib"] < GPU_GIB[profile] and row["images_per_second"] > 0


@bfloat16
def test_images_a_second_by_width_and_precision(keep):
    rows = []
    for width in (0.25, 0.5, 1.0):
        for precision in ("fp32", "bf16"):
            run = trainer("cuda", width=width, batch=32, steps=100, precision=precision)
            took = bench.in_turn({"step": run.step}, 10)["step"]
            rows.append({"metric": "images_per_second", "value": 32 / took, "width": width})
            rows[-1] |= {"method": f"width {width:g}, {precision}", "precision": precision}
    keep(rows)
    rates = {(r["width"], r["precision"]): r["value"] for r in rows}
    assert rates[0.25, "fp32"] > rates[1.0, "fp32"]
    assert rates[1.0, "bf16"] > rates[1.0, "fp32"]


def test_the_step_is_eight_times_as_fast_as_the_yardstick(keep):
    rows = bench.train_step(batch=32, perceptual=True, repeats=10, device="cuda")
    keep(rows)
    assert max(row["value"] for row in rows) >= 8
