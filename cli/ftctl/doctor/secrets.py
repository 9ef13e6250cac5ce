"""The Secrets that pods refer to are there, with the keys that they read."""

from __future__ import annotations

from ftctl.cluster.failures import ForbiddenError
from ftctl.cluster.kinds import SECRET
from ftctl.cluster.secrets import SecretState, WantedSecret, secret_state, wanted_secrets
from ftctl.doctor.finding import Context, Finding, fail, ok, warn

CHECK = "secrets"
_SET = "`ftctl secrets set` makes it from your environment."


def check(ctx: Context) -> list[Finding]:
    """One finding a Secret; no value is read out."""
    found = [_looked_at(ctx, wanted) for wanted in wanted_secrets(ctx.config)]
    found += [_pull_secret(ctx, name) for name in ctx.config.cluster.image_pull_secrets]
    url = ctx.config.storage.url or ""
    if url.startswith("s3://") and not ctx.config.storage.secret:
        found.append(
            warn(
                CHECK,
                "storage.secret is null: pods find keys for the store by workload identity alone",
                "Annotate cluster.service_account for it, or set storage.secret=NAME and run "
                "`ftctl secrets set`.",
            )
        )
    return found or [ok(CHECK, "the profile names no Secret")]


def _looked_at(ctx: Context, wanted: WantedSecret) -> Finding:
    name = f"Secret {wanted.name} ({wanted.setting})"
    try:
        state = secret_state(ctx.cluster, ctx.namespace, wanted, ctx.environment)
    except ForbiddenError as error:
        return warn(CHECK, f"{name} may not be looked at: {error.what}", error.hint)
    return _judged(name, state)


def _judged(name: str, state: SecretState) -> Finding:
    if not state.exists:
        return fail(CHECK, f"there is no {name}", _SET)
    if state.missing:
        return fail(CHECK, f"{name} has no {', '.join(state.missing)}", _SET)
    if state.differing:
        return warn(
            CHECK,
            f"{name} has another {', '.join(state.differing)} than this environment",
            "If the environment's is the newer: `ftctl secrets set`.",
        )
    return ok(CHECK, f"{name} is there")


def _pull_secret(ctx: Context, name: str) -> Finding:
    try:
        there = ctx.cluster.find(SECRET, name, ctx.namespace)
    except ForbiddenError as error:
        return warn(CHECK, f"Secret {name} may not be looked at: {error.what}", error.hint)
    if there is None:
        return fail(
            CHECK,
            f"there is no Secret {name} (cluster.image_pull_secrets)",
            f"Create it: `kubectl create secret docker-registry {name} ...`.",
        )
    if there.get("type") != "kubernetes.io/dockerconfigjson":
        return fail(
            CHECK,
            f"Secret {name} (cluster.image_pull_secrets) has type {there.get('type')}",
            "It has to be of type kubernetes.io/dockerconfigjson.",
        )
    return ok(CHECK, f"Secret {name} (cluster.image_pull_secrets) is there")
