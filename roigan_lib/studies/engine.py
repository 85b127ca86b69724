"""Papermill's engine "roigan": its bar tells what a cell prints, and a dead kernel says where."""

import os
import re

from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.log import logger

NAME = "roigan"


def last_line(message):
    """The last line of what a cell prints, or of a text shown in another's place; else ""."""
    content, text = message["content"], ""
    if message["msg_type"] == "stream":
        text = content["text"]
    elif message["msg_type"] == "update_display_data":
        text = content["data"].get("text/markdown", "")
    return re.split(r"[\r\n]", text.strip("`* \r\n"))[-1]


class Client(PapermillNotebookClient):
    """Papermill's client, which also shows what a cell prints behind the bar."""

    def process_message(self, msg, cell, cell_index):
        if line := last_line(msg):
            self.nb_man.pbar.set_postfix_str(line)
        return super().process_message(msg, cell, cell_index)


class Engine(NBClientEngine):
    """papermill.execute_notebook(…, engine_name=NAME, variables=…, folder=…)."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, variables, folder, **_):
        """Run the cells in `folder`, with these variables besides those of this process.

        DeadKernelError: the kernel died, in the cell that it names by its place, "cell 4/6".
        """
        options = dict(startup_timeout=180, log=logger, extra_arguments=["--log-level=CRITICAL"])
        options["on_cell_executed"] = lambda **_: nb_man.pbar.set_postfix_str("")
        client = Client(nb_man, kernel_name=kernel_name, **options)
        try:
            client.execute(env=os.environ | variables, cwd=folder)
        except DeadKernelError as error:
            code = [cell for cell in nb_man.nb.cells if cell.cell_type == "code"]
            begun = [cell for cell in code if cell.metadata.papermill.status != nb_man.PENDING]
            raise DeadKernelError(f"cell {len(begun)}/{len(code)}") from error


papermill_engines.register(NAME, Engine)
