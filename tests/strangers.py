"""What a stranger may hand in: shared by the tests that refuse it."""

import os


class Malicious:
    """Unpickled carelessly, it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
