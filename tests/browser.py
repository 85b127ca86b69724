"""JupyterLab in a real headless Chromium, for the explorer's test and for pictures of notebooks.

    python tests/browser.py NOTEBOOK OUT.png [--run] [--dark]     # OUT-1.png, OUT-2.png, ... from
    top to bottom

Everything (settings, runtime files, workspaces, browser profile) lives in a temporary folder;
nothing is saved.
"""

import argparse
import contextlib
import functools
import http.server
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
]
PATIENCE = 240  # seconds: a busy machine takes a minute over what an idle one does in two
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"


def chromium():
    """The browser's path ($ROIGAN_CHROMIUM, or one on the PATH), or None."""
    named = os.environ.get("ROIGAN_CHROMIUM")
    if named:
        return named if Path(named).exists() else None
    return next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )


def why_not():
    """The reason why no browser can be driven here, or None."""
    for package in ("playwright", "jupyterlab", "anywidget"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    return None if chromium() else "no Chromium here (set ROIGAN_CHROMIUM to its path)"


class Lab:
    """One JupyterLab page. `page` is playwright's; `errors` gathers what the page reported as
    errors.
    """

    def __init__(self, page, url, token):
        self.page, self.url, self.token, self.errors = page, url, token, []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        page.on(
            "console",
            lambda message: (
                message.type == "error" and self.errors.append(f"console: {message.text}")
            ),
        )

    def open(self, name):
        """Open a notebook of the root folder and wait for its kernel."""
        self.page.goto(
            f"{self.url}/lab/tree/{name}?token={self.token}&reset", wait_until="domcontentloaded"
        )
        self.page.wait_for_selector(f"{NOTEBOOK} .jp-Cell", timeout=1000 * PATIENCE)
        self.wait_idle()
        if self.page.locator("#jp-left-stack").is_visible():
            self.page.keyboard.press("Control+b")

    def wait_idle(self, timeout=PATIENCE):
        idle, accept = (
            self.page.get_by_text("| Idle").first,
            self.page.locator(".jp-Dialog .jp-mod-accept"),
        )
        idle.or_(accept).first.wait_for(timeout=1000 * timeout)
        if accept.is_visible():  # which kernel? asked for a notebook without a kernel's name
            accept.click()
        idle.wait_for(timeout=1000 * timeout)

    def run_all(self, timeout=PATIENCE):
        """Run all cells from the menu; the first click may come before the kernel listens, so look
        at the prompt.
        """
        deadline = time.monotonic() + timeout
        prompts = self.page.locator(f"{NOTEBOOK} .jp-CodeCell .jp-InputPrompt")
        while True:
            self.page.locator(".lm-MenuBar-item", has_text="Run").first.click()
            self.page.locator('[data-command="runmenu:run-all"]').click()
            for _ in range(20):
                if any(text.strip() not in ("", "[ ]:") for text in prompts.all_inner_texts()):
                    break
                self.page.wait_for_timeout(200)
            else:
                if time.monotonic() < deadline:
                    continue
                raise TimeoutError("JupyterLab did not start the cells")
            break
        while any("*" in text for text in prompts.all_inner_texts()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the notebook still runs after {timeout} s")
            self.page.wait_for_timeout(200)
        self.wait_idle()

    def screenshots(self, path, overlap=60, most=40):
        """Scroll the notebook from top to bottom, a picture a screenful: STEM-1.png ...; returns
        their paths.
        """
        path, shots, top = Path(path), [], 0
        outer = self.page.locator(f"{NOTEBOOK} .jp-WindowedPanel-outer").first
        while len(shots) < most:
            height, whole = outer.evaluate(
                """(node, top) => {
                    node.scrollTop = top;
                    const last = [...node.querySelectorAll(".jp-Cell")].at(-1);  // then empty room
                    const here = node.getBoundingClientRect(), cell = last.getBoundingClientRect();
                    const end = cell.bottom - here.top + node.scrollTop;
                    return [node.clientHeight, Math.min(node.scrollHeight, end)]; }""",
                top,
            )
            self.page.wait_for_timeout(600)
            shots.append(path.with_name(f"{path.stem}-{len(shots) + 1}{path.suffix or '.png'}"))
            outer.screenshot(path=str(shots[-1]))
            if top + height >= whole - 2:
                break
            top += height - overlap
        return shots


def _wait(url, process, log, seconds=PATIENCE):
    for _ in range(seconds * 5):
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            with urllib.request.urlopen(url, timeout=5):
                return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{Path(log).read_text()[-2000:]}")


@contextlib.contextmanager
def lab(root, width=1280, height=1000, dark=False):
    """JupyterLab serving the folder `root` on a free port, and a browser page on it: yields a
    `Lab`.
    """
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="roigan-lab-") as home, contextlib.ExitStack() as stack:
        folders = {
            name: Path(home, name.lower())
            for name in (
                "JUPYTER_CONFIG_DIR",
                "JUPYTER_DATA_DIR",
                "JUPYTER_RUNTIME_DIR",
                "JUPYTERLAB_WORKSPACES_DIR",
                "JUPYTERLAB_SETTINGS_DIR",
                "IPYTHONDIR",
            )
        }
        settings = {
            "docmanager-extension/plugin": {"autosave": False},
            "notebook-extension/tracker": {"windowingMode": "none", "scrollPastLastCell": False},
            "apputils-extension/themes": {
                "theme": "JupyterLab Dark" if dark else "JupyterLab Light"
            },
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        }
        for name, values in settings.items():
            file = (
                folders["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab" / f"{name}.jupyterlab-settings"
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        token, log, url = (
            secrets.token_hex(16),
            Path(home, "server.log"),
            f"http://127.0.0.1:{port}",
        )
        path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        output = stack.enter_context(log.open("w"))
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.ip=127.0.0.1",
                f"--ServerApp.port={port}",
                "--ServerApp.port_retries=0",
                f"--IdentityProvider.token={token}",
                f"--ServerApp.root_dir={Path(root).resolve()}",
                "--LabApp.news_url=",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            env={
                **os.environ,
                **{k: str(v) for k, v in folders.items()},
                "PYTHONPATH": path,
                "OMP_NUM_THREADS": "1",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        stack.callback(_stop, server)
        _wait(f"{url}/api/status?token={token}", server, log)
        play = stack.enter_context(sync_playwright())
        browser = play.chromium.launch_persistent_context(
            str(Path(home, "profile")),
            executable_path=chromium(),
            headless=True,
            args=FLAGS,
            viewport={"width": width, "height": height},
        )
        stack.callback(browser.close)
        yield Lab(browser.new_page(), url, token)


@contextlib.contextmanager
def served(folder, width=1400, height=900, headers=(), flags=(), dark=False):
    """A folder on a free port of this machine, and a browser page on it, not yet opened: yields a
    `Lab` whose `url` is the folder's.
    """
    from playwright.sync_api import sync_playwright

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map}
        extensions_map |= {".mjs": "text/javascript", ".wasm": "application/wasm"}

        def end_headers(self):
            for name, value in headers:
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_):
            pass

    with contextlib.ExitStack() as stack:
        here = functools.partial(Handler, directory=str(folder))
        server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), here))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.callback(server.shutdown)
        play = stack.enter_context(sync_playwright())
        browser = play.chromium.launch(
            executable_path=chromium(), headless=True, args=[*FLAGS, *flags]
        )
        stack.callback(browser.close)
        scheme = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        yield Lab(page, f"http://127.0.0.1:{server.server_port}", None)


def _stop(server):
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main():
    parser = argparse.ArgumentParser(
        description="Pictures of a notebook in JupyterLab, one a screenful."
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run", action="store_true", help="run all cells first")
    parser.add_argument("--dark", action="store_true", help="JupyterLab's dark theme")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1000)
    options = parser.parse_args()
    reason = why_not()
    if reason or not options.notebook.is_file():
        sys.exit(f"error: {reason or f'there is no notebook {options.notebook}'}")
    with lab(
        options.notebook.resolve().parent, options.width, options.height, options.dark
    ) as opened:
        opened.open(options.notebook.name)
        if options.run:
            opened.run_all()
        print(*opened.screenshots(options.out), sep="\n")


if __name__ == "__main__":
    main()
