"""What follows `_SUCCESS`: published files at a hub and in a registry, where that is asked for."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from ftctl.contract.lineage import FileRecord, Manifest
from ftctl.contract.ocireference import oci_reference
from ftctl.contract.operational import PublishConfig
from ftctl.contract.pushed import Push, Target, wanted_targets
from ftctl.contract.status import now
from ftctl.report.card import CARD, model_card
from ftctl.report.collect import collect
from ftctl.storage.markers import download_folder, read_marker
from ftctl.storage.pushed import left_to_push, record_push
from ftctl_trainer.context import StageContext
from ftctl_trainer.push.artifact import push_artifact
from ftctl_trainer.push.hub import push_to_hub, require_token
from ftctl_trainer.push.licence import base_licence
from ftctl_trainer.push.registry import Registry, registry_login
from ftctl_trainer.stop import end_if_stopped

log = logging.getLogger(__name__)


def check_places(publish: PublishConfig) -> None:
    """
    Refuse, before any work, what could not be pushed after it.

    Raises:
        StorageError: there is no token for the hub.
    """
    if "hub" in wanted_targets(publish):
        require_token(f"publish.hub={publish.hub}")


def push_published(ctx: StageContext, folder: Path | None = None) -> None:
    """
    Push to each place that lacks them: GGUF files, Modelfiles, checksums and a model card.

    Safe to repeat: what is at a place already is not sent again.

    Args:
        folder: has the published files; None: they are fetched from the store.
    Raises:
        StorageError: a place refused, or does not answer; the published run stays as it is.
        StoppedError: ctx.stop was set.
    """
    publish = ctx.run.config.publish
    left = left_to_push(ctx.store, ctx.run.run_id, publish)
    if not left:
        return
    check_places(publish)
    if folder is None:
        ctx.reporter.phase("fetching the published files")
        folder = ctx.workdir / "published"
        download_folder(ctx.store, ctx.layout.gguf, folder)
    body = ctx.store.read(ctx.layout.manifest)
    manifest, digest = Manifest.model_validate_json(body), hashlib.sha256(body).hexdigest()
    files = [*_published(ctx, folder), _card(ctx)]
    for target, place in left.items():
        end_if_stopped(ctx.stop)
        ctx.lease.check()
        ctx.reporter.phase(f"pushing to {place}")
        revision = _push(ctx, target, files, manifest)
        log.info("pushed to %s (%s)", place, revision)
        push = Push(
            target=target, place=place, revision=revision, manifest_sha256=digest, time=now()
        )
        record_push(ctx.store, ctx.run.run_id, push)
        ctx.reporter.event("pushed", place=place, revision=revision)


def _push(
    ctx: StageContext,
    target: Target,
    files: Sequence[tuple[Path, FileRecord]],
    manifest: Manifest,
) -> str:
    publish, run_id = ctx.run.config.publish, ctx.run.run_id
    if target == "hub":
        paths = [path for path, _ in files]
        return push_to_hub(str(publish.hub), paths, private=publish.private, message=run_id)
    reference = oci_reference(str(publish.oci))
    registry = Registry(reference, registry_login(reference.host))
    return push_artifact(registry, reference.tag or run_id, files, manifest, ctx.stop)


def _published(ctx: StageContext, folder: Path) -> list[tuple[Path, FileRecord]]:
    """The files that gguf/ was published with, the small ones first."""
    marker = read_marker(ctx.store, ctx.layout.gguf)
    found = [(folder / file.name, file) for file in (marker.files if marker else [])]
    return sorted(found, key=lambda item: (item[1].name.endswith(".gguf"), item[1].name))


def _card(ctx: StageContext) -> tuple[Path, FileRecord]:
    """The model card; it is none of the run's files, as it tells of them."""
    text = model_card(collect(ctx.store, ctx.run.run_id), licence=base_licence(ctx.run.model))
    path = ctx.workdir / CARD
    path.write_text(text, encoding="utf-8")
    return path, FileRecord.of(CARD, text.encode())
