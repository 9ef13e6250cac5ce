"""The kinds of Kubernetes objects that are read or written, and where the API keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ftctl.errors import ManifestError

# An object as JSON has it.
Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A resource of the API. `group` is empty for the core group."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """The URL path of the collection, or of one object."""
        root = f"/apis/{self.group}" if self.group else "/api"
        parts = [root, self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        return "/".join([*parts, self.plural, *([name] if name else [])])

    @property
    def resource(self) -> str:
        """The name as permissions spell it: `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


CONFIG_MAP = Kind("ConfigMap", "configmaps")
EVENT = Kind("Event", "events")
LIMIT_RANGE = Kind("LimitRange", "limitranges")
NAMESPACE = Kind("Namespace", "namespaces", namespaced=False)
NODE = Kind("Node", "nodes", namespaced=False)
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims")
POD = Kind("Pod", "pods")
QUOTA = Kind("ResourceQuota", "resourcequotas")
SECRET = Kind("Secret", "secrets")
SERVICE = Kind("Service", "services")
SERVICE_ACCOUNT = Kind("ServiceAccount", "serviceaccounts")
JOB = Kind("Job", "jobs", "batch")
CRON_JOB = Kind("CronJob", "cronjobs", "batch")
NETWORK_POLICY = Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io")
ROLE = Kind("Role", "roles", "rbac.authorization.k8s.io")
ROLE_BINDING = Kind("RoleBinding", "rolebindings", "rbac.authorization.k8s.io")
ACCESS_REVIEW = Kind(
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    "authorization.k8s.io",
    namespaced=False,
)
CUSTOM_RESOURCE = Kind(
    "CustomResourceDefinition",
    "customresourcedefinitions",
    "apiextensions.k8s.io",
    namespaced=False,
)
PRIORITY_CLASS = Kind("PriorityClass", "priorityclasses", "scheduling.k8s.io", namespaced=False)
JOB_SET = Kind("JobSet", "jobsets", "jobset.x-k8s.io", "v1alpha2")
WORKLOAD = Kind("Workload", "workloads", "kueue.x-k8s.io", "v1beta1")
LOCAL_QUEUE = Kind("LocalQueue", "localqueues", "kueue.x-k8s.io", "v1beta1")

_BY_NAME = {kind.name: kind for kind in list(globals().values()) if isinstance(kind, Kind)}


def kind_of(body: Object) -> Kind:
    """The kind of an object. Raises ManifestError for one that is not created here."""
    kind = _BY_NAME.get(body.get("kind", ""))
    group = f"{kind.group}/{kind.version}" if kind and kind.group else kind and kind.version
    if kind is None or body.get("apiVersion") != group:
        raise ManifestError(f"{body.get('apiVersion')} {body.get('kind')} is not known here")
    return kind


def name_of(body: Object) -> str:
    """`Job ns/name`, for messages."""
    meta = body.get("metadata", {})
    place = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{body.get('kind', 'object')} {place}{meta.get('name', '')}"
