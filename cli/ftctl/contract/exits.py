"""Exit codes, the same for the command line and for the pods, whose failure policy reads them."""

from __future__ import annotations

from ftctl import errors

OK = 0
BUG = errors.FtctlError.exit_code
STOPPED = errors.StoppedError.exit_code
INTERRUPTED = errors.InterruptedRunError.exit_code

# What the same inputs would meet again: a Job's failure policy fails these at once.
NEVER_RETRIED = (errors.ConfigError.exit_code, errors.VerificationError.exit_code)

MEANING: dict[int, str] = {
    OK: "ok",
    BUG: "a bug",
    errors.UsageError.exit_code: "usage",
    errors.ConfigError.exit_code: "config or data",
    errors.ManifestError.exit_code: "manifest",
    errors.StorageError.exit_code: "storage",
    errors.ClusterError.exit_code: "cluster",
    errors.RunFailedError.exit_code: "run failed",
    errors.VerificationError.exit_code: "verification failed",
    STOPPED: "stopped with a checkpoint; can be retried",
    INTERRUPTED: "interrupted",
}
