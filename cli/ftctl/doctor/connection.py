"""The API server answers, and knows who asks."""

from __future__ import annotations

from ftctl.doctor.finding import Context, Finding, ok, warn

CHECK = "cluster"
# The versions whose schemas manifests are tested against.
_OLDEST, _NEWEST = (1, 32), (1, 36)


def check(ctx: Context) -> list[Finding]:
    """Raises ClusterError where the server cannot be reached or refuses the credentials."""
    version = ctx.cluster.read("/version")
    text = str(version.get("gitVersion"))
    numbers = (int(version["major"]), int("".join(filter(str.isdigit, version["minor"]))))
    where = f"{ctx.cluster.server} ({ctx.cluster.context or 'this pod'}), Kubernetes {text}"
    if numbers < _OLDEST:
        return [
            warn(
                CHECK,
                f"{where} is older than what is tested ({_OLDEST[0]}.{_OLDEST[1]})",
                "Upgrade the cluster.",
            )
        ]
    if numbers > _NEWEST:
        return [warn(CHECK, f"{where} is newer than what is tested ({_NEWEST[0]}.{_NEWEST[1]})")]
    return [ok(CHECK, where)]
