"""Papermill's engine "roigan": it tells a `watch.Watch` what happens, and a dead kernel fails.

Papermill itself calls the cell in which a kernel died completed, and all cells behind it.
"""

import os

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.log import logger

NAME = "roigan"


class Client(PapermillNotebookClient):
    """Papermill's client; `hear` gets every message of the kernel."""

    def __init__(self, nb_man, hear, **options):
        super().__init__(nb_man, **options)
        self.hear = hear

    def process_message(self, msg, cell, cell_index):
        self.hear(msg)
        return super().process_message(msg, cell, cell_index)


class Engine(NBClientEngine):
    """papermill.execute_notebook(…, engine_name=NAME, watch=…, variables=…, folder=…)."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, watch, variables, folder, **_):
        """Run the cells in `folder`, with these variables besides those of this process."""
        watch.start(nb_man.nb.cells)
        client = Client(
            nb_man,
            watch.hear,
            kernel_name=kernel_name,
            startup_timeout=180,
            log=logger,
            extra_arguments=["--log-level=CRITICAL"],
            on_cell_execute=lambda cell, cell_index: watch.cell_start(cell_index),
            on_cell_executed=lambda cell_index, **_: watch.cell_end(cell_index),
        )
        try:
            client.execute(env=os.environ | variables, cwd=folder)
        except BaseException as error:  # the kernel died, Ctrl-C, …: not an error of the cell
            if watch.running is not None:
                nb_man.cell_exception(nb_man.nb.cells[watch.running], exception=error)
            raise


papermill_engines.register(NAME, Engine)
