"""The one exception that means: the input is at fault, not the program."""


class CapoBenchError(Exception):
    """Bad input. The message is one line: what is wrong, where, and what to do about it.

    The command line prints it without a traceback and exits with status 2.
    """
