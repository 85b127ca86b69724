"""What the explorer says of a kernel that is busy, or gone, in JupyterLab in a headless Chromium.

In a file of its own: it restarts the kernel, and the other notebook's browser has to be closed.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import browser  # noqa: E402
from test_explorer_browser import MODEL, until  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.why_not() is not None, reason=str(browser.why_not())),
]

SLOW = """
import time
class Slow(Stub):
    def inpaint(self, images, masks, codes=None, seed=0):
        time.sleep(6 * float(codes[0, 0] == 2))  # as behind a cell that takes its time
        return super().inpaint(images, masks, codes, seed)
explore(Slow(), images)
"""


def test_a_busy_kernel_and_a_restarted_one_are_told_of(tmp_path):
    import nbformat

    cells = [nbformat.v4.new_code_cell(source) for source in (MODEL, SLOW)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "states.ipynb")
    with browser.lab(tmp_path) as lab:
        lab.open("states.ipynb")
        lab.run_all()
        page, said = lab.page, lab.page.get_by_test_id("roi-status")
        page.get_by_test_id("roi-canvas").wait_for()
        until(page, lambda s: "rendered in" in s.status)
        slider = page.get_by_test_id("code-1")
        slider.focus()
        page.keyboard.press("End")
        said.get_by_text("No answer yet: the kernel is busy").wait_for(timeout=5000)
        until(page, lambda s: "rendered in" in s.status)

        page.locator(".lm-MenuBar-item", has_text="Kernel").first.click()
        page.locator('[data-command="kernelmenu:restart"]').click()
        page.locator(".jp-Dialog .jp-mod-accept").click()
        said.get_by_text("The kernel has restarted or gone").wait_for(timeout=5000)
        assert page.locator(".roi-status").get_attribute("data-state") == "failed"
        assert slider.evaluate("node => Boolean(node.closest('[inert]'))")
