"""The base model can be had with the token at hand."""

from __future__ import annotations

from ftctl.contract.hubsecret import hub_secret
from ftctl.doctor.finding import Context, Finding, fail, ok, warn
from ftctl.errors import ConfigError, StorageError
from ftctl.runs.model import locate_model
from ftctl.runs.stored import is_content, stored_model
from ftctl.storage.hub import hub_file
from ftctl.storage.open import open_store

CHECK = "model"


def check(ctx: Context) -> list[Finding]:
    """Ask the hub for the model's config.json, as a pod will for all of it."""
    model = ctx.config.model
    try:
        path = locate_model(model.model_name, model.revision)
        if path is None and model.revision and is_content(model.revision):
            stored_model(model.model_name, model.revision, open_store(ctx.config.storage))
            return [ok(CHECK, f"{model.model_name} is in the store")]
        if path is not None:
            return [ok(CHECK, f"{model.model_name} is on this machine; submit uploads it once")]
        hub_file(model.model_name, model.revision, "config.json")
    except ConfigError as error:
        return [fail(CHECK, f"{model.model_name}: {error.what}", error.hint)]
    except StorageError as error:
        return [warn(CHECK, f"{model.model_name}: {error.what}, from here", error.hint)]
    if ctx.environment.get("HF_TOKEN") and hub_secret(ctx.config) is None:
        return [
            warn(
                CHECK,
                f"{model.model_name} can be read with the token of this environment, and "
                "cluster.hf_secret is null: pods have none",
                "If the model is gated or private: cluster.hf_secret=NAME, `ftctl secrets set`.",
            )
        ]
    return [ok(CHECK, f"{model.model_name} can be read")]
