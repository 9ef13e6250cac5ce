"""A way to a cluster that is none: named, before anything is asked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ftctl.cluster import kinds
from ftctl.cluster.failures import UnreachableError
from ftctl.cluster.open import has_cluster, open_cluster
from tests.integration.s3_server import free_ports

GOOD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "lab",
    "clusters": [
        {"name": "lab", "cluster": {"server": "https://lab.invalid:6443"}},
        {"name": "prod", "cluster": {"server": "https://prod.invalid:6443"}},
    ],
    "users": [{"name": "jo", "user": {"token": "t"}}],
    "contexts": [
        {"name": "lab", "context": {"cluster": "lab", "user": "jo"}},
        {"name": "prod", "context": {"cluster": "prod", "user": "jo"}},
    ],
}
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path that KUBECONFIG names; nothing is there yet."""
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return path


def write(path: Path, change: Change = lambda _: None) -> None:
    """A kubeconfig of two contexts, changed."""
    content = copy.deepcopy(GOOD)
    change(content)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_no_kubeconfig_is_no_cluster(kubeconfig: Path) -> None:
    assert has_cluster() is False
    with pytest.raises(UnreachableError, match="there is no kubeconfig"):
        open_cluster()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("a: [b\n", "the kubeconfig cannot be used: while parsing", id="no-yaml"),
        pytest.param("- a\n", "this is no kubeconfig", id="another-file"),
        pytest.param("a: b\n", "the kubeconfig cannot be used", id="no-contexts"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_named(kubeconfig: Path, text: str, match: str) -> None:
    kubeconfig.write_text(text, encoding="utf-8")

    with pytest.raises(UnreachableError, match=match):
        open_cluster()


def test_the_context_is_the_current_one_or_the_one_that_is_named(kubeconfig: Path) -> None:
    write(kubeconfig)

    found = [open_cluster(), open_cluster("prod"), open_cluster(server="https://prod.invalid:6443")]

    assert [(one.context, one.server) for one in found] == [
        ("lab", "https://lab.invalid:6443"),
        ("prod", "https://prod.invalid:6443"),
        ("prod", "https://prod.invalid:6443"),
    ]


def test_a_context_that_is_not_there_is_answered_with_those_that_are(kubeconfig: Path) -> None:
    write(kubeconfig)

    with pytest.raises(UnreachableError, match=r"no context 'test'\nContexts there: lab, prod"):
        open_cluster("test")
    with pytest.raises(UnreachableError, match=r"no context leads to https://gone\.invalid"):
        open_cluster("lab", server="https://gone.invalid")


def test_a_login_program_that_fails_is_named(kubeconfig: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-plugin"}
    write(kubeconfig, lambda content: content["users"][0].update(user={"exec": plugin}))

    with pytest.raises(UnreachableError, match=r"logs in to the cluster failed: .*no-such-plugin"):
        open_cluster()


def test_a_server_that_does_not_answer_is_named(kubeconfig: Path) -> None:
    [port] = free_ports(1)
    server = f"https://127.0.0.1:{port}"
    write(kubeconfig, lambda content: content["clusters"][0]["cluster"].update(server=server))

    with pytest.raises(UnreachableError, match=f"{server}: the API server does not answer"):
        open_cluster(patient=False).get(kinds.NAMESPACE, "default")
