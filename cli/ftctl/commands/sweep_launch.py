"""Launches the children of a sweep in a cluster, some at once, until all have ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ftctl.commands.sweep_children import Children, Judge
from ftctl.contract.pods import CA_PATH
from ftctl.errors import FtctlError, StorageError

if TYPE_CHECKING:
    from ftctl.cluster.client import Cluster
    from ftctl.cluster.place import Place
    from ftctl.contract.runfile import RunFile
    from ftctl.contract.sweep import Child, Sweep
    from ftctl.storage.base import Store

_LOOK_S = 5.0
# A control plane that is upgraded, a store that is moved: the runs do not mind.
_PATIENCE_S = 300.0


class Launching:
    """At most `parallel` children at once; where each is, the store knows, so it can be anew."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        sweep: Sweep,
        *,
        parallel: int,
        owner: str | None = None,
        say: Callable[[str], None],
    ) -> None:
        self._store, self._cluster, self._parallel, self._say = store, cluster, parallel, say
        self._owner = owner
        self._children, self._judge = Children(store, sweep), Judge(store)
        self._active: dict[str, Place] = {}
        self._next: Child | None = None
        self._stopped: set[str] = set()
        self.is_done = False

    def to_the_end(self) -> None:
        """
        Launch and watch until no child goes on; a child that fails is told.

        Raises:
            UnreachableError, StorageError: no answer for _PATIENCE_S.
        """
        from ftctl.cluster.failures import UnreachableError

        answered = time.monotonic()
        while not self.is_done:
            try:
                self.look()
                answered = time.monotonic()
            except (UnreachableError, StorageError) as error:
                if time.monotonic() - answered > _PATIENCE_S:
                    raise
                self._say(f"{error.what}; trying on")
            if not self.is_done:
                time.sleep(_LOOK_S)

    def look(self) -> None:
        """Let go of children that have ended, stop bad ones, and start others in their place."""
        from ftctl.storage.sweeps import is_cancelled

        for run_id, place in list(self._active.items()):
            if self._is_over(place):
                del self._active[run_id]
            elif run_id not in self._stopped:
                self._stop_if_bad(run_id, place)
        while len(self._active) < self._parallel:
            if is_cancelled(self._store, self._children.sweep.sweep_id):
                self.is_done = True
                return
            # Kept until it is started: where the cluster does not answer, it is its turn again.
            self._next = self._next or self._children.next()
            if self._next is None:
                self.is_done = not self._active
                return
            self._start(self._next.run_id)
            self._next = None

    def _stop_if_bad(self, run_id: str, place: Place) -> None:
        """By a tombstone, and without its Jobs, as `ftctl cancel` does it; its pods may save."""
        from ftctl.cluster.kinds import kind_of

        reason = self._judge.consider(self._children.sweep, run_id, self._children.given)
        if not reason:
            return
        self._say(f"{run_id} is to stop: {reason}")
        self._stopped.add(run_id)
        for one in place.workloads():
            self._cluster.delete(kind_of(one), one["metadata"]["name"], place.namespace)

    def _is_over(self, place: Place) -> bool:
        from ftctl.cluster.place import look_and_keep
        from ftctl.cluster.workloads import ending
        from ftctl.config.secret import redact
        from ftctl.storage.pushed import is_finished

        if is_finished(self._store, place.run_id):
            # Its last pod may be there for a moment more, and holds what the next one wants.
            if not all(ending(one) for one in place.workloads()):
                return False
            self._say(f"{place.run_id} is published")
            return True
        view = look_and_keep(place, self._store, redact)
        if view.is_over:
            self._say(f"{place.run_id} has ended, and is not published")
        return view.is_over

    def _start(self, run_id: str) -> None:
        """Launch a child, or find that it goes on or has ended."""
        from ftctl.cluster.failures import UnreachableError
        from ftctl.cluster.launch import launch
        from ftctl.cluster.owner import owned_by
        from ftctl.cluster.place import Place
        from ftctl.commands.standing import is_under_way
        from ftctl.storage.pushed import is_finished
        from ftctl.storage.runs import read_run

        run = read_run(self._store, run_id)
        place = Place(self._cluster, run.config.cluster.namespace, run_id)
        objects = _objects(run)
        try:
            known = is_under_way(self._store, place, run, objects, as_json=True, dry_run=False)
            if not known:
                if self._owner:
                    objects = owned_by(self._cluster, place.namespace, self._owner, objects)
                launch(place, self._store, run, objects)
                self._say(f"{run_id} is launched")
        except (UnreachableError, StorageError):
            raise
        except FtctlError as error:
            self._say(f"warning: {run_id} is not launched: {error.what}")
            return
        if not is_finished(self._store, run_id, run.config.publish):
            self._active[run_id] = place


def _objects(run: RunFile) -> list[dict[str, object]]:
    """What `ftctl render` prints of the run; in a pod the certificates are where pods have them."""
    from ftctl.manifests.run import run_objects
    from ftctl.runs.certificates import read_certificates

    mounted = Path(CA_PATH)
    if mounted.is_file():
        return run_objects(run, ca_pem=mounted.read_text(encoding="utf-8"))
    return run_objects(run, ca_pem=read_certificates(run.config, Path.cwd()))
