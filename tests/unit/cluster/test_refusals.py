"""What the API server says when it refuses something, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftctl.cluster.refusals import quota_never_fits, refusal
from ftctl.contract.clusterview import Reason
from ftctl.contract.quantity import api_quantity

QUOTA = 'pods "x" is forbidden: exceeded quota: team, requested: {}, used: {}, limited: {}'


@pytest.mark.parametrize(
    ("message", "want"),
    [
        pytest.param(
            'jobs.batch is forbidden: User "system:serviceaccount:a:guest" cannot create resource '
            '"jobs" in API group "batch" in the namespace "a"',
            Reason(
                code="Forbidden",
                what="no permission: system:serviceaccount:a:guest may not create jobs.batch in "
                "the namespace a",
                hint="Ask for a role that allows `create` on `jobs.batch`, or use another "
                "cluster.namespace or cluster.context.",
            ),
            id="no-permission-in-a-namespace",
        ),
        pytest.param(
            'nodes is forbidden: User "jo" cannot list resource "nodes" in API group "" at the '
            "cluster scope",
            Reason(
                code="Forbidden",
                what="no permission: jo may not list nodes in the cluster",
                hint="Ask for a role that allows `list` on `nodes`, or use another "
                "cluster.namespace or cluster.context.",
            ),
            id="no-permission-in-the-cluster",
        ),
        pytest.param(
            'pods "x" is forbidden: failed quota: team: must specify limits.cpu for: train',
            Reason(
                code="QuotaUnset",
                what="the quota team wants values that are not set: limits.cpu for: train",
                hint="Set them in cluster.resources, or have a LimitRange give defaults.",
            ),
            id="a-quota-on-what-is-not-set",
        ),
        pytest.param(
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 3Gi',
            Reason(
                code="LimitRange",
                what="a LimitRange of the namespace refuses it: maximum memory usage per "
                "Container is 1Gi, but limit is 3Gi",
                hint="Change cluster.resources, or have the LimitRange changed.",
            ),
            id="a-limit-range",
        ),
        pytest.param(
            'pods "x" is forbidden: no PriorityClass with name fast was found',
            Reason(
                code="NoPriorityClass",
                what="there is no priority class fast",
                hint="`kubectl get priorityclasses` lists them; set cluster.priority to one, or "
                "to null.",
            ),
            id="no-priority-class",
        ),
        pytest.param(
            'admission webhook "policy.example" denied the request: images must be signed',
            Reason(
                code="Denied",
                what="the admission webhook policy.example denied it: images must be signed",
                hint="Ask whoever runs the cluster what its policy wants.",
            ),
            id="a-webhook",
        ),
        pytest.param(
            'configmaps "x" is forbidden: unable to create new content in namespace a because it '
            "is being terminated",
            Reason(
                code="NamespaceTerminating",
                what="the namespace is being deleted",
                hint="Wait until it is gone and create it again, or use another: "
                "cluster.namespace=...",
            ),
            id="a-namespace-that-goes",
        ),
        pytest.param("something else", None, id="an-unknown-one"),
    ],
)
def test_a_refusal_is_explained(message: str, want: Reason | None) -> None:
    assert refusal(message) == want


@pytest.mark.parametrize(
    ("requested", "used", "limited", "never"),
    [
        pytest.param("requests.memory=32Gi", "requests.memory=0", "requests.memory=16Gi", True),
        pytest.param("requests.memory=8Gi", "requests.memory=10Gi", "requests.memory=16Gi", False),
        pytest.param("requests.cpu=1500m", "requests.cpu=0", "requests.cpu=1", True),
        pytest.param("requests.cpu=2", "requests.cpu=1", "requests.cpu=2", False),
        pytest.param("count/jobs.batch=1", "count/jobs.batch=9", "count/jobs.batch=9", False),
        pytest.param("pods=1,cpu=1", "pods=0,cpu=0", "pods=0,cpu=2", True),
    ],
)
def test_a_quota_that_is_used_up_is_told_from_one_that_is_too_small(
    requested: str, used: str, limited: str, never: bool
) -> None:
    assert quota_never_fits(QUOTA.format(requested, used, limited)) is never


@pytest.mark.parametrize(
    ("text", "want"),
    [("2", 2.0), ("500m", 0.5), ("1Ki", 1024.0), ("1.5Gi", 1.5 * 2**30), ("2e3", 2000.0)],
)
def test_a_quantity_is_a_number(text: str, want: float) -> None:
    assert api_quantity(text) == want


@given(st.integers(0, 10**6), st.sampled_from(["", "k", "M", "Ki", "Mi", "Gi"]))
def test_quantities_of_one_unit_keep_their_order(count: int, unit: str) -> None:
    assert api_quantity(f"{count}{unit}") < api_quantity(f"{count + 1}{unit}")
