"""Opens the store, takes the lease, runs a stage, and leaves the run's state behind."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml
from pydantic import ValidationError

from ftctl.contract import exits, layout
from ftctl.contract.layout import RunLayout
from ftctl.contract.runfile import RunFile
from ftctl.contract.status import Stage, State
from ftctl.errors import ConfigError, FtctlError, StoppedError, StorageError
from ftctl.storage.base import Store
from ftctl.storage.holder import is_gone, this_holder
from ftctl.storage.lease import RunLease
from ftctl.storage.open import open_store
from ftctl.storage.pushed import left_to_push
from ftctl.storage.runs import adopted
from ftctl.storage.tombstones import find_tombstone, write_tombstone
from ftctl_trainer.context import StageContext
from ftctl_trainer.failures import known_failure
from ftctl_trainer.memory import importing
from ftctl_trainer.processes.follow import follow
from ftctl_trainer.processes.group import ALONE, Group
from ftctl_trainer.reporter import StoreReporter
from ftctl_trainer.threads import available_threads

_log = logging.getLogger(__name__)


def load_run(path: Path) -> RunFile:
    """
    Read the file that describes a run.

    Raises:
        ConfigError: it is missing, no YAML, or not what this version writes.
    """
    try:
        return RunFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"is no YAML: {error}", where=str(path)) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}"
            for item in error.errors(include_input=False)
        )
        raise ConfigError(
            f"is no run of this version of ftctl: {problems}",
            where=str(path),
            hint="Submit the run again with this version.",
        ) from error


def run_stage(run: RunFile, stage: Stage, stop: threading.Event, group: Group = ALONE) -> None:
    """
    Run a stage, unless its result is there already.

    Args:
        group: the processes that run it; all but the first follow that one, and write nothing.
    Raises:
        StoppedError: the stage was stopped, and can go on later.
        ConfigError: the run was cancelled, or failed for good.
        FtctlError: whatever ended the stage.
    """
    if not group.first:
        follow(run, stop, group)
        return
    store = open_store(run.config.storage, default=run.config.paths.output_dir)
    keys = RunLayout(run.run_id)
    if not group.from_first(lambda: not _is_done(store, keys, run, stage)):
        return
    refuse_ended(store, keys)
    holder = this_holder()
    lease = RunLease(store, keys.lease, holder, is_gone=is_gone)
    lease.acquire(stop, on_wait=_say_waiting())
    try:
        # Another holder may have finished, or have been cancelled, while this one waited.
        if group.from_first(lambda: not _is_done(store, keys, run, stage)):
            refuse_ended(store, keys)
            # Rendered runs come without the time, and nobody may have put them into the store.
            run = adopted(store, run)
            look = partial(_look, store, keys, lease, stop)
            with StoreReporter(
                store, run, stage, holder=holder, fence=lease.fence, check=look
            ) as reporter:
                _work(run, stage, store, reporter, lease, stop, group)
    finally:
        lease.release()


def has_work(run: RunFile, stage: Stage) -> bool:
    """
    Whether a stage has no result yet.

    Raises:
        ConfigError: the run was cancelled, or failed for good.
        StorageError: the store does not answer.
    """
    store = open_store(run.config.storage, default=run.config.paths.output_dir)
    keys = RunLayout(run.run_id)
    if _is_done(store, keys, run, stage):
        return False
    refuse_ended(store, keys)
    return True


def is_handed_over(store: Store, keys: RunLayout) -> bool:
    """Whether all is there that the train stage leaves for the convert stage."""
    return all(store.stat(layout.marker(key)) is not None for key in (keys.adapter, keys.reference))


def refuse_ended(store: Store, keys: RunLayout) -> None:
    """Return unless a tombstone ends the run. Raises ConfigError."""
    end = find_tombstone(store, keys)
    if end is not None:
        reason = f": {end.reason}" if end.reason else ""
        raise ConfigError(
            f"the run is {end.kind}{reason}",
            where=f"{store.url}/{keys.root}",
            hint=f"`ftctl resume {keys.run_id}` lets it go on.",
        )


def _is_done(store: Store, keys: RunLayout, run: RunFile, stage: Stage) -> bool:
    if store.stat(keys.success) is not None:
        if stage == "convert" and left_to_push(store, run.run_id, run.config.publish):
            return False
        _log.info("nothing to do: %s is there", keys.success)
        return True
    if stage == "train" and is_handed_over(store, keys):
        _log.info("nothing to do: %s and %s are complete", keys.adapter, keys.reference)
        return True
    return False


def _look(store: Store, keys: RunLayout, lease: RunLease, stop: threading.Event) -> None:
    """
    Before whatever is told of the run: is it still ours, and still wanted?

    Whoever cancels may have no way to this process: a run of another machine, or one that was
    rendered and applied by others.

    Raises:
        StorageError: the lease was lost, or the store does not answer.
    """
    lease.check()
    if not stop.is_set() and store.stat(keys.cancelled) is not None:
        _log.warning("the run was cancelled: it stops here")
        stop.set()


def _say_waiting() -> Callable[[str, float], None]:
    said: set[str] = set()

    def say(holder: str, left_s: float) -> None:
        if holder not in said:
            said.add(holder)
            _log.info("waiting: %s works on this run (lease for %.0f s)", holder, left_s)

    return say


def _work(
    run: RunFile,
    stage: Stage,
    store: Store,
    reporter: StoreReporter,
    lease: RunLease,
    stop: threading.Event,
    group: Group,
) -> None:
    workdir = Path(tempfile.mkdtemp(prefix=f"ftctl-{stage}-"))
    context = StageContext(run, store, reporter, lease, stop, workdir, available_threads(), group)
    try:
        with importing():
            work = _stage_function(stage)
        work(context)
    except Exception as error:
        config = run.config if stage == "train" else None
        known = known_failure(error, str(workdir), config, group)
        _record_failure(context, reporter, known or error)
        group.tell_failure(known or error)
        if known is None or known is error:
            raise
        raise known from error
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
    # The run as a whole succeeds with its last stage.
    state: State = "succeeded" if stage == "convert" else "running"
    reporter.finish(state, f"{stage} done")
    group.wait()


def _record_failure(context: StageContext, reporter: StoreReporter, error: Exception) -> None:
    """Leave the state behind, unless another holder took over: the run is its to describe."""
    try:
        context.lease.check()
    except StorageError as lost:
        _log.warning("the run's state is left to its new holder: %s", lost)
        return
    try:
        _describe_failure(context, reporter, error)
    except StorageError as unwritten:  # what ended the stage matters more
        _log.warning("the run's state was not written: %s", unwritten)


def _describe_failure(context: StageContext, reporter: StoreReporter, error: Exception) -> None:
    if isinstance(error, StoppedError):
        cancelled = context.store.stat(context.layout.cancelled) is not None
        reporter.finish("cancelled" if cancelled else "stopped", "stopped", reason=error.what)
        return
    if isinstance(error, FtctlError):
        text = str(error)
        if error.exit_code in exits.NEVER_RETRIED:
            write_tombstone(context.store, context.layout, "failed", error.what)
    else:
        text = f"a bug: {type(error).__name__}: {error}"
    reporter.finish("failed", "failed", error=text)


def _stage_function(stage: Stage) -> Callable[[StageContext], None]:
    if stage == "convert":
        from ftctl_trainer.stages.convert import run_convert

        return run_convert
    from ftctl_trainer.stages.train import run_train

    return run_train
