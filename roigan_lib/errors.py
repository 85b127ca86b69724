"""The one error that the kit raises for bad input: its message is a sentence for the person at the keyboard."""

import difflib


class RoiganError(ValueError):
    """Bad input, said in one sentence: what was wrong and what to do. The command line prints it and exits with 2."""


def suggest(word, known):
    """'did you mean …? ' with the known word nearest to this one, or nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""
