"""nbval runs the series cell by cell at smoke size; what it writes goes to a folder of its own."""

import os
import tempfile
from pathlib import Path

import pytest

PLACE = tempfile.TemporaryDirectory(prefix="roigan-smoke-")  # one: 06 trains, the next ones load
ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "ROIGAN_PROFILE": "smoke",
    "ROIGAN_FIGURES": f"{PLACE.name}/figures",
    "ROIGAN_RUNS": f"{PLACE.name}/runs",
    "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),  # as the tests: conftest
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one in the user's home
}


def pytest_itemcollected(item):
    item.add_marker(pytest.mark.slow)
    item.cell.execution_count = item.cell_num  # run counts are not committed; nbval wants some


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """The first cell of a file starts its kernel, which takes over the variables set here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        return (yield)
