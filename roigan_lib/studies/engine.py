"""Papermill's engine with the hooks that `watch.Watch` needs, under the name "roigan".

It also tells papermill that a cell has failed where the kernel died in it: papermill itself would call the cell completed, and
all those behind it.
"""

from nbclient.exceptions import CellExecutionError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.log import logger

from .watch import runs


class Client(PapermillNotebookClient):
    """Papermill's client, telling a `Watch` what happens."""

    def __init__(self, nb_man, watch, **options):
        super().__init__(nb_man, **options)
        self.watch = watch
        watch.start(self.nb.cells)

    def execute_cell(self, cell, cell_index, **options):
        """As nbclient does; a cell that ends in anything but its own error has failed all the same."""
        if not runs(cell):
            return super().execute_cell(cell, cell_index, **options)
        self.watch.cell_start(cell_index)
        try:
            return super().execute_cell(cell, cell_index, **options)
        except CellExecutionError:
            raise
        except BaseException as error:  # the kernel died, Ctrl-C, …
            self.watch.failed = f"{self.watch.place} (“{self.watch.label}”)"
            self.nb_man.cell_exception(cell, cell_index=cell_index, exception=error)
            raise
        finally:
            self.watch.cell_end(cell_index)

    def process_message(self, msg, cell, cell_index):
        self.watch.hear(msg)
        return super().process_message(msg, cell, cell_index)


class Engine(NBClientEngine):
    """Papermill's engine with our client; papermill.execute_notebook(…, engine_name="roigan", watch=Watch(…))."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, watch, start_timeout, extra_arguments, **_
    ):
        """Run the cells. watch: the `Watch`; start_timeout: seconds; extra_arguments: of the kernel's command line."""
        Client(
            nb_man,
            watch,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            log=logger,
            extra_arguments=extra_arguments,
        ).execute()


papermill_engines.register("roigan", Engine)
