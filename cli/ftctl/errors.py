"""Every failure a user can meet; a boundary turns one into a paragraph and an exit code."""

from __future__ import annotations

from typing import ClassVar


class FtctlError(Exception):
    """
    An expected failure: what is wrong, where, and the next step.

    Args:
        what: the fact, with the value that failed; no trailing full stop is needed.
        where: the file, override, key or store URL concerned.
        hint: what the user can do, as a whole sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n{self.hint}" if self.hint else head


class UsageError(FtctlError):
    """The command line itself is wrong, or asks a question where nobody can answer."""

    exit_code = 2


class ConfigError(FtctlError):
    """A configuration value is missing, unknown, of the wrong type or out of range."""

    exit_code = 3


class DataError(FtctlError):
    """A data set cannot be read, is empty, or has rows that cannot be trained on."""

    exit_code = 3


class ManifestError(FtctlError):
    """A Kubernetes object cannot be rendered from this run."""

    exit_code = 4


class StorageError(FtctlError):
    """The store refused, or lost, something."""

    exit_code = 5


class ClusterError(FtctlError):
    """Kubernetes refused something, or cannot be reached."""

    exit_code = 6


class RunFailedError(FtctlError):
    """A stage of a run ended without its result."""

    exit_code = 7


class VerificationError(FtctlError):
    """What was exported does not match what was trained; nothing was published."""

    exit_code = 8


class StoppedError(FtctlError):
    """A stage was asked to stop, saved its state, and can go on later."""

    exit_code = 75


class InterruptedRunError(FtctlError):
    """The user pressed Ctrl-C; what was done is kept."""

    exit_code = 130


def by_exit_code(code: int) -> type[FtctlError]:
    """The class of the error that another process ended with; unknown codes mean a failed run."""
    classes = (ConfigError, ManifestError, StorageError, ClusterError, VerificationError)
    return next((cls for cls in classes if cls.exit_code == code), RunFailedError)
