"""Objects of other programs' kinds, made as their users make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of a group that Kubernetes itself does not know."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def definition(self) -> str:
        """The name of its CustomResourceDefinition."""
        return f"{self.plural}.{self.group}"


class Custom:
    """Objects of one name in one namespace."""

    def __init__(self, namespace: str, name: str) -> None:
        from kubernetes import client, config

        config.load_kube_config()
        self._api, self._namespace, self._name = client.CustomObjectsApi(), namespace, name

    def create(self, kind: Kind, spec: dict[str, Any], **metadata: Any) -> None:
        """Make the object of a kind."""
        body = {
            "apiVersion": f"{kind.group}/{kind.version}",
            "kind": kind.kind,
            "metadata": {"name": self._name, **metadata},
            "spec": spec,
        }
        self._api.create_namespaced_custom_object(
            kind.group, kind.version, self._namespace, kind.plural, body
        )

    def annotate(self, kind: Kind, name: str, value: str) -> None:
        """Set an annotation, which is how these programs are told to look."""
        body = {"metadata": {"annotations": {name: value}}}
        self._api.patch_namespaced_custom_object(*self._path(kind), body)

    def status(self, kind: Kind) -> dict[str, Any]:
        """What the program says of the object, empty before it has looked."""
        found = self._api.get_namespaced_custom_object(*self._path(kind))
        status: dict[str, Any] = found.get("status", {})
        return status

    def delete(self, kind: Kind) -> None:
        """Remove the object."""
        self._api.delete_namespaced_custom_object(*self._path(kind))

    def _path(self, kind: Kind) -> tuple[str, str, str, str, str]:
        return kind.group, kind.version, self._namespace, kind.plural, self._name
