"""The pipeline through `submit`: both stages in pods that restricted Pod Security admits."""

from __future__ import annotations

import hashlib
import json

from ftctl.cluster import kinds
from ftctl.cluster.apply import pod_of
from ftctl.cluster.client import Cluster
from ftctl.contract.labels import run_selector
from ftctl.contract.layout import RunLayout
from ftctl.contract.lineage import Manifest
from tests.e2e.cluster.conftest import GPU
from tests.e2e.cluster.laptop import Laptop, until
from tests.integration.s3_server import ACCESS_KEY, SECRET_KEY

# Run in a pod as the train stage's is: what it finds of the cluster's credentials.
_LOOK_FOR_TOKENS = """
import json, os, ssl, urllib.error, urllib.request
folder = "/var/run/secrets"
found = [os.path.join(r, f) for r, _, files in os.walk(folder) for f in files]
address = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
try:
    url = f"{address}/api/v1/namespaces/default/secrets"
    urllib.request.urlopen(url, timeout=5, context=ssl._create_unverified_context())
    answer = "200"
except urllib.error.HTTPError as error:
    answer = str(error.code)
except OSError:
    answer = "unreachable"
print(json.dumps({"files": found, "answer": answer}))
"""


WITH_GPU = "cluster.gpus=1"


def test_a_submitted_run_ends_in_a_published_gguf(
    cluster: Cluster, laptop: Laptop, gpu: None
) -> None:
    done = laptop.ftctl("submit", "--yes", "--wait", "--json", *laptop.settings, WITH_GPU)

    assert done.code == 0, done.stderr
    answer = done.values
    run_id = answer["run_id"]
    layout, store = RunLayout(run_id), laptop.store()
    manifest = Manifest.model_validate_json(store.read(layout.manifest))
    [gguf] = [file for file in manifest.outputs if file.name.endswith(".gguf")]
    assert answer["state"] == "succeeded"
    assert answer["gguf"] == [f"{laptop.store_url}/{layout.root}{gguf.name}"]
    assert hashlib.sha256(store.read(layout.root + gguf.name)).hexdigest() == gguf.sha256
    assert manifest.images == laptop.images
    [train] = cluster.list(kinds.POD, laptop.namespace, labels=run_selector(run_id, "train"))
    assert train["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"

    status = laptop.status(run_id)
    assert (status["state"], status["problems"]) == ("succeeded", [])
    stages = status["cluster"]["stages"]
    assert [(one["stage"], one["state"], one["failures"]) for one in stages] == [
        ("train", "succeeded", 0),
        ("convert", "succeeded", 0),
    ]

    again = laptop.ftctl("submit", "--yes", *laptop.settings, WITH_GPU)
    assert again.code == 0
    assert f"{run_id} is published already" in again.stderr
    listed = laptop.ftctl("list", "--json", *laptop.storage).values["runs"]
    assert [(run["run_id"], run["state"]) for run in listed] == [(run_id, "succeeded")]
    _no_secret_is_written_down(cluster, laptop, run_id)


def test_a_pod_of_a_run_has_no_access_to_the_cluster(cluster: Cluster, laptop: Laptop) -> None:
    run_id = laptop.submit()
    [train] = cluster.list(kinds.JOB, laptop.namespace, labels=run_selector(run_id, "train"))
    pod = pod_of(train)
    [container] = pod["spec"]["containers"]
    container["command"] = ["python", "-c", _LOOK_FOR_TOKENS]
    container["resources"] = {}
    # Links to services are off; the kubelet's own variables are there all the same.
    name = cluster.create(pod)["metadata"]["name"]
    until(
        lambda: cluster.get(kinds.POD, name, laptop.namespace)["status"]["phase"],
        lambda phase: phase in ("Succeeded", "Failed"),
        120,
    )

    [line] = cluster.log(laptop.namespace, name, "train")
    seen = json.loads(line)
    assert seen["files"] == []
    assert seen["answer"] in ("401", "403", "unreachable")


def _no_secret_is_written_down(cluster: Cluster, laptop: Laptop, run_id: str) -> None:
    """Of the store's keys nothing is in an object of the cluster, a log, or the store."""
    selector = run_selector(run_id)
    texts = {
        kind.name: json.dumps(list(cluster.list(kind, laptop.namespace, labels=selector)))
        for kind in (kinds.JOB, kinds.POD, kinds.CONFIG_MAP)
    }
    texts["events"] = json.dumps(list(cluster.list(kinds.EVENT, laptop.namespace)))
    texts["logs"] = laptop.ftctl("logs", run_id, *laptop.storage).stdout
    store = laptop.store()
    small = [item.key for item in store.list() if item.size < 2**20]
    texts |= {key: store.read(key).decode(errors="replace") for key in small}

    assert texts["logs"]
    assert [name for name, text in texts.items() if SECRET_KEY in text] == []
    assert [name for name, text in texts.items() if ACCESS_KEY in text] == []
