"""The one error that the kit raises for bad input: its message is a sentence for the person at the keyboard."""


class RoiganError(ValueError):
    """Bad input, said in one sentence: what was wrong and what to do. The command line prints it and exits with 2."""
