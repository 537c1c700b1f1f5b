"""The errors of earmark: one small family.

Each error is also the builtin that a caller would catch, and carries the exit status that the command line ends with.
A message is one sentence: which thing, the rule, the value got, the next step.
"""


class EarmarkError(Exception):
    """The root: something that the user can mend, said in one sentence."""

    exit_code = 1


class InputError(EarmarkError, ValueError):
    """A value, a table or a file given by the user breaks a rule."""


class CorpusError(InputError):
    """A corpus folder or one of its tables cannot be read as a clip table."""


class NotFoundError(EarmarkError, FileNotFoundError):
    """Something asked for by name (a corpus, a store, a run) is not there."""


class IntegrityError(EarmarkError, OSError):
    """A store or a checkpoint fails its checks."""

    exit_code = 4


class LockedError(EarmarkError, BlockingIOError):
    """Another run holds the store."""

    exit_code = 5


class NoSpaceError(EarmarkError, OSError):
    """The disk has not enough space for what is to be written."""

    exit_code = 6


class DownloadError(EarmarkError, ConnectionError):
    """A file cannot be had from where it was asked for."""
