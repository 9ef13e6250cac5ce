"""`ftctl secrets` against a real cluster: made from the environment, and never shown."""

from __future__ import annotations

import base64

from ftctl.cluster import kinds
from ftctl.cluster.client import Cluster
from tests.e2e.cluster.laptop import Laptop
from tests.integration.s3_server import ACCESS_KEY, SECRET_KEY

TOKEN = "hf_notarealtoken0123456789"
SETTINGS = ("storage.secret=made", "cluster.hf_secret=hub/token")


def values(cluster: Cluster, namespace: str, name: str) -> dict[str, str]:
    """What a Secret holds."""
    data = cluster.get(kinds.SECRET, name, namespace)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def test_they_are_made_from_the_environment_and_brought_up_to_date(
    laptop: Laptop, cluster: Cluster
) -> None:
    old = laptop.with_env(HF_TOKEN=TOKEN, AWS_SESSION_TOKEN="old-session")
    done = old.ftctl("secrets", "set", *laptop.settings, *SETTINGS)
    keys = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN"
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == (
        f"created Secret {laptop.namespace}/made: {keys}\n"
        f"created Secret {laptop.namespace}/hub: token\n"
    )
    assert values(cluster, laptop.namespace, "hub") == {"token": TOKEN}

    new = laptop.with_env(HF_TOKEN=TOKEN, AWS_SESSION_TOKEN="")
    done = new.ftctl("secrets", "set", "--json", *laptop.settings, *SETTINGS)
    assert [item["created"] for item in done.values["secrets"]] == [False, False]
    assert values(cluster, laptop.namespace, "made") == {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }
    assert not any(text in done.stdout + done.stderr for text in (TOKEN, SECRET_KEY))


def test_keys_of_others_in_the_same_secret_stay(laptop: Laptop, cluster: Cluster) -> None:
    meta = {"name": "made", "namespace": laptop.namespace}
    cluster.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"THEIRS": "kept"}}
    )
    laptop.ftctl("secrets", "set", *laptop.settings, "storage.secret=made")
    assert values(cluster, laptop.namespace, "made")["THEIRS"] == "kept"


def test_a_check_says_what_pods_would_miss(laptop: Laptop, cluster: Cluster) -> None:
    meta = {"name": "made", "namespace": laptop.namespace}
    partly = {"AWS_ACCESS_KEY_ID": ACCESS_KEY}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": partly})
    done = laptop.ftctl("secrets", "check", *laptop.settings, *SETTINGS)
    assert done.code == 6
    assert done.stdout == (
        f"Secret {laptop.namespace}/made: without AWS_SECRET_ACCESS_KEY\n"
        f"Secret {laptop.namespace}/hub: there is none\n"
    )
    assert done.stderr == (
        f"error: {laptop.namespace}: pods cannot use made, hub\n"
        "`ftctl secrets set` makes them from your environment.\n"
    )


def test_nothing_is_made_while_a_value_is_missing(laptop: Laptop, cluster: Cluster) -> None:
    bare = laptop.with_env(HF_TOKEN="", AWS_SECRET_ACCESS_KEY="")
    done = bare.ftctl("secrets", "set", *laptop.settings, *SETTINGS)
    assert (done.code, done.stdout) == (3, "")
    assert "no value for AWS_SECRET_ACCESS_KEY, HF_TOKEN in the environment" in done.stderr
    assert cluster.find(kinds.SECRET, "made", laptop.namespace) is None


def test_a_name_that_kubernetes_does_not_take_is_refused_without_the_value(laptop: Laptop) -> None:
    done = laptop.ftctl("secrets", "set", *laptop.settings, "storage.secret=My_Keys")
    assert done.code == 6
    assert "My_Keys" in done.stderr
    assert SECRET_KEY not in done.stderr


def test_a_profile_without_secrets_says_how_to_name_them(laptop: Laptop) -> None:
    done = laptop.ftctl("secrets", "check", "cluster=cpu")
    assert (done.code, done.stdout) == (2, "")
    assert "the configuration names no Secret" in done.stderr
