"""What each key of a profile does to the objects."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ftctl.contract.operational import ResourcesConfig
from ftctl.errors import ConfigError, ManifestError
from ftctl.manifests.environment import threads
from ftctl.manifests.run import run_objects
from tests.run_files import a_run

TRAIN, CONVERT = "Job train", "Job convert"


def rendered(**sections: Any) -> dict[str, dict[str, Any]]:
    """The objects by kind and stage."""
    ca_pem = sections.pop("ca_pem", None)
    return {
        f"{body['kind']} {body['metadata']['labels'].get('ftctl.dev/stage', '')}".strip(): body
        for body in run_objects(a_run(**sections), ca_pem=ca_pem)
    }


def pod(objects: dict[str, dict[str, Any]], job: str) -> dict[str, Any]:
    spec: dict[str, Any] = objects[job]["spec"]["template"]["spec"]
    return spec


def environment(spec: dict[str, Any]) -> dict[str, Any]:
    [container] = spec["containers"]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@pytest.mark.parametrize(
    ("cluster", "want"),
    [
        pytest.param(
            {"image_pull_secrets": ["a", "b"]},
            {"imagePullSecrets": [{"name": "a"}, {"name": "b"}]},
            id="pull-secrets",
        ),
        pytest.param({"priority": "high"}, {"priorityClassName": "high"}, id="priority"),
        pytest.param({"service_account": "mine"}, {"serviceAccountName": "mine"}, id="account"),
        pytest.param({"grace_period": 300}, {"terminationGracePeriodSeconds": 300}, id="grace"),
        pytest.param(
            {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
            {"tolerations": [{"key": "gpu", "operator": "Exists"}]},
            id="tolerations",
        ),
        pytest.param(
            {"node_selector": {"pool": "ml"}}, {"nodeSelector": {"pool": "ml"}}, id="nodes"
        ),
    ],
)
def test_settings_of_both_pods(cluster: dict[str, Any], want: dict[str, Any]) -> None:
    plain, objects = rendered(), rendered(cluster=cluster)

    for job in (TRAIN, CONVERT):
        assert pod(objects, job) == {**pod(plain, job), **want}


def test_the_convert_stage_may_run_on_other_nodes() -> None:
    objects = rendered(cluster={"node_selector": {"gpu": "h100"}, "node_selector_convert": {}})

    assert pod(objects, TRAIN)["nodeSelector"] == {"gpu": "h100"}
    assert "nodeSelector" not in pod(objects, CONVERT)


def test_a_service_account_that_is_given_is_not_created() -> None:
    assert "ServiceAccount" in rendered()
    assert "ServiceAccount" not in rendered(cluster={"service_account": "mine"})


def test_the_account_that_a_run_makes_carries_the_annotations_of_workload_identity() -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/ftctl"}
    plain, objects = rendered(), rendered(cluster={"service_account_annotations": role})

    account = objects["ServiceAccount"]
    assert account["metadata"]["annotations"] == {
        **plain["ServiceAccount"]["metadata"]["annotations"],
        **role,
    }
    with pytest.raises(ValidationError, match="service_account=mine names one that is there"):
        rendered(cluster={"service_account": "mine", "service_account_annotations": role})


def test_a_queue_of_kueue_is_named_on_both_jobs_and_not_on_their_pods() -> None:
    objects = rendered(cluster={"queue": "team"})

    for job in (TRAIN, CONVERT):
        labels = objects[job]["metadata"]["labels"]
        assert labels["kueue.x-k8s.io/queue-name"] == "team"
        assert labels.keys() - objects[job]["spec"]["template"]["metadata"]["labels"].keys() == {
            "kueue.x-k8s.io/queue-name",
            "app.kubernetes.io/version",
        }


@pytest.mark.parametrize(
    ("cluster", "spec"),
    [
        pytest.param({"backoff_limit": 0}, {"backoffLimit": 0}, id="retries"),
        pytest.param({"deadline": 60}, {"activeDeadlineSeconds": 60}, id="deadline"),
        pytest.param({"ttl": 0}, {"ttlSecondsAfterFinished": 0}, id="ttl"),
    ],
)
def test_settings_of_both_jobs(cluster: dict[str, Any], spec: dict[str, Any]) -> None:
    plain, objects = rendered(), rendered(cluster=cluster)

    for job in (TRAIN, CONVERT):
        assert objects[job]["spec"] == {**plain[job]["spec"], **spec}


@pytest.mark.parametrize(
    ("cache", "want"),
    [
        pytest.param({"kind": "none"}, {"emptyDir": {}}, id="none"),
        pytest.param(
            {"kind": "pvc", "name": "models"},
            {"persistentVolumeClaim": {"claimName": "models"}},
            id="claim",
        ),
        pytest.param(
            {"kind": "hostPath", "name": "/mnt/models"},
            {"hostPath": {"path": "/mnt/models", "type": "DirectoryOrCreate"}},
            id="node",
        ),
    ],
)
def test_the_cache_is_where_the_profile_says(cache: dict[str, Any], want: dict[str, Any]) -> None:
    volumes = pod(rendered(cluster={"cache": cache}), TRAIN)["volumes"]

    assert [each for each in volumes if each["name"] == "cache"] == [{"name": "cache", **want}]


@pytest.mark.parametrize(
    ("gpus", "resource", "want"),
    [
        pytest.param(0, "nvidia.com/gpu", {}, id="none"),
        pytest.param(1, "nvidia.com/gpu", {"nvidia.com/gpu": "1"}, id="one"),
        pytest.param(4, "nvidia.com/gpu", {"nvidia.com/gpu": "4"}, id="four"),
        pytest.param(1, "nvidia.com/mig-3g.40gb", {"nvidia.com/mig-3g.40gb": "1"}, id="a-slice"),
    ],
)
def test_only_the_train_stage_asks_for_gpus(gpus: int, resource: str, want: dict[str, str]) -> None:
    objects = rendered(cluster={"gpus": gpus, "gpu_resource": resource})
    [train], [convert] = (pod(objects, job)["containers"] for job in (TRAIN, CONVERT))

    assert train["resources"] == {
        "requests": {"cpu": "4", "memory": "32Gi", **want},
        "limits": {"memory": "32Gi", **want},
    }
    assert convert["resources"] == {
        "requests": {"cpu": "4", "memory": "32Gi"},
        "limits": {"memory": "32Gi"},
    }


def test_a_pod_asks_for_no_disk_that_its_profile_does_not_name() -> None:
    named = {"resources": {"train": {"ephemeral_storage": "50Gi"}}}
    objects = run_objects(a_run(cluster=named))
    found = [
        job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"].get(
            "ephemeral-storage"
        )
        for job in objects[-2:]
    ]

    assert found == ["50Gi", None]


@pytest.mark.parametrize(
    ("cpu", "want"),
    [("4", 4), ("1.5", 1), ("500m", 1), ("3500m", 3), ("64", 64)],
)
def test_threads_are_whole_cores_that_were_asked_for(cpu: str, want: int) -> None:
    assert threads(ResourcesConfig(cpu=cpu)) == want


def test_a_proxy_serves_all_but_what_is_near() -> None:
    objects = rendered(
        cluster={"proxy": "http://proxy:3128"}, storage={"endpoint_url": "https://minio.corp:9000"}
    )
    found = environment(pod(objects, TRAIN))

    assert found["HTTP_PROXY"] == found["HTTPS_PROXY"] == "http://proxy:3128"
    assert found["NO_PROXY"] == "localhost,127.0.0.1,::1,.svc,.cluster.local,minio.corp"


def test_a_mirror_of_the_hub_is_named_to_both_stages() -> None:
    objects = rendered(cluster={"hf_endpoint": "https://mirror"})

    for job in (TRAIN, CONVERT):
        assert environment(pod(objects, job))["HF_ENDPOINT"] == "https://mirror"


@pytest.mark.parametrize(
    ("sections", "variables", "of_the_store"),
    [
        pytest.param({"cluster": {"ca_bundle": "a"}}, True, "/etc/ftctl/ca.pem", id="for-all"),
        pytest.param({"storage": {"ca_bundle": "a"}}, False, "/etc/ftctl/ca.pem", id="the-store"),
    ],
)
def test_certificates_are_mounted_and_named(
    sections: dict[str, Any], variables: bool, of_the_store: str
) -> None:
    objects = rendered(**sections, ca_pem="PEM")
    names = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    found = environment(pod(objects, TRAIN))

    assert objects["ConfigMap"]["data"]["ca.pem"] == "PEM"
    assert {name: found.get(name) for name in names} == dict.fromkeys(
        names, "/etc/ftctl/ca.pem" if variables else None
    )
    assert f"ca_bundle: {of_the_store}" in objects["ConfigMap"]["data"]["config.yaml"]


def test_the_environment_of_the_profile_wins() -> None:
    found = environment(pod(rendered(cluster={"env": {"FTCTL_THREADS": "7", "A": "1e3"}}), TRAIN))

    assert (found["FTCTL_THREADS"], found["A"]) == ("7", "1e3")


def test_the_key_of_a_hub_secret_may_be_named() -> None:
    found = environment(pod(rendered(cluster={"hf_secret": "hub/token"}), CONVERT))

    assert found["HF_TOKEN"] == {"secretKeyRef": {"name": "hub", "key": "token"}}


def test_each_stage_gets_the_trackers_or_the_registrys_keys_alone() -> None:
    objects = rendered(
        storage={"secret": "s3"}, tracking={"secret": "wandb"}, publish={"secret": "registry"}
    )
    [train], [convert] = (pod(objects, job)["containers"] for job in (TRAIN, CONVERT))

    assert train["envFrom"] == [{"secretRef": {"name": "s3"}}, {"secretRef": {"name": "wandb"}}]
    assert convert["envFrom"] == [
        {"secretRef": {"name": "s3"}},
        {"secretRef": {"name": "registry"}},
    ]


def test_pods_may_reach_the_registry_that_they_push_to() -> None:
    objects = rendered(publish={"oci": "registry.example:5000/ml/bot"})
    [policy] = [each for each in objects.values() if each["kind"] == "NetworkPolicy"]

    assert {"protocol": "TCP", "port": 5000} in policy["spec"]["egress"][1]["ports"]


def test_a_push_to_the_hub_needs_a_secret_with_a_token() -> None:
    with pytest.raises(ConfigError, match=r"publish.hub: pods push there, but no Secret"):
        rendered(publish={"hub": "org/bot"})


@pytest.mark.parametrize(
    ("sections", "ports"),
    [
        pytest.param({}, [443], id="https"),
        pytest.param({"storage": {"endpoint_url": "http://s3:8333"}}, [443, 8333], id="store"),
        pytest.param({"storage": {"endpoint_url": "http://s3"}}, [80, 443], id="plain-http"),
        pytest.param({"cluster": {"hf_endpoint": "https://hub:8443"}}, [443, 8443], id="hub"),
        pytest.param({"cluster": {"proxy": "http://proxy:3128"}}, [443, 3128], id="proxy"),
        pytest.param({"tracking": {"url": "http://mlflow:5000"}}, [443, 5000], id="tracker"),
        pytest.param({"cluster": {"egress_ports": [9000, 80]}}, [80, 443, 9000], id="further"),
    ],
)
def test_pods_may_reach_the_ports_of_the_urls(sections: dict[str, Any], ports: list[int]) -> None:
    _, egress, *_ = rendered(**sections)["NetworkPolicy"]["spec"]["egress"]

    assert egress == {"ports": [{"protocol": "TCP", "port": port} for port in ports]}


def test_without_a_secret_pods_may_ask_their_node_who_they_are() -> None:
    rules = rendered()["NetworkPolicy"]["spec"]["egress"]

    assert rules[2:] == [
        {
            "to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}],
            "ports": [{"protocol": "TCP", "port": 80}, {"protocol": "TCP", "port": 988}],
        }
    ]
    assert len(rendered(storage={"secret": "s3"})["NetworkPolicy"]["spec"]["egress"]) == 2


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        pytest.param(
            {"storage": {"url": "models"}},
            "storage.url: the store is models, and pods cannot reach this machine",
            id="folder",
        ),
        pytest.param({"storage": {"url": None}}, "the store is a folder, and pods", id="default"),
        pytest.param(
            {"cluster": {"gpus": 3}}, "4 rows a step cannot be shared equally by 3", id="gpus"
        ),
        pytest.param(
            {"cluster": {"cache": {"kind": "pvc"}}},
            "cluster.cache.name: the claim is not named",
            id="claim",
        ),
        pytest.param(
            {"cluster": {"cache": {"kind": "hostPath"}}},
            "cluster.cache.name: the path on the node is not named",
            id="host-path",
        ),
        pytest.param(
            {"other": {"hf_login": True}}, "no Secret with a hub token is named", id="token"
        ),
        pytest.param(
            {"cluster": {"proxy": "proxy:3128"}}, "cluster.proxy: 'proxy:3128' is no http", id="url"
        ),
        pytest.param(
            {"storage": {"endpoint_url": "http://s3:port"}},
            "storage.endpoint_url: 'http://s3:port' is no http",
            id="port",
        ),
    ],
)
def test_what_does_not_fit_a_cluster_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_objects(a_run(**sections))


def test_all_that_does_not_fit_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        run_objects(a_run(cluster={"gpus": 8, "cache": {"kind": "pvc"}}, storage={"url": "models"}))

    assert str(caught.value) == (
        "3 settings do not fit a cluster\n"
        "  storage.url: the store is models, and pods cannot reach this machine\n"
        "  training.gradient_accumulation_steps: 4 rows a step cannot be shared equally by 8 "
        "devices (per_device_train_batch_size 1 x gradient_accumulation_steps 4)\n"
        "  cluster.cache.name: the claim is not named"
    )


def test_certificates_that_no_config_map_holds_are_refused() -> None:
    with pytest.raises(
        ManifestError, match=r"take 1,05\d,\d{3} bytes, and a ConfigMap holds 1,048,576"
    ):
        rendered(cluster={"ca_bundle": "a"}, ca_pem="x" * 2**20)
