"""What a pod looks like from the inside. The images and the manifests agree on it."""

from __future__ import annotations

# The user that images run as; a volume's group, so that it may write there.
USER_ID = 10001

CONFIG_DIR = "/etc/ftctl"
CONFIG_FILE = "config.yaml"
CA_FILE = "ca.pem"
CONFIG_PATH = f"{CONFIG_DIR}/{CONFIG_FILE}"
CA_PATH = f"{CONFIG_DIR}/{CA_FILE}"
# Writable, beside /tmp and /dev/shm; all else is read-only.
WORK_DIR = "/work"
CACHE_DIR = "/cache"

# Containers: a stage's has the stage's name.
WAIT = "wait"
# Keys of the Secrets that a profile names.
HUB_TOKEN = "HF_TOKEN"
REGISTRY_USER, REGISTRY_PASSWORD = "OCI_USERNAME", "OCI_PASSWORD"
# Environment: the images of the run, for its lineage.
IMAGE_VARIABLES = {"train": "FTCTL_IMAGE_TRAIN", "convert": "FTCTL_IMAGE_CONVERT"}

# Environment of the train stage where several processes train together: how many a pod, in how
# many pods, and the host and port of the first. A pod's number comes from its Indexed Job.
PROCESSES = "FTCTL_PROCESSES"
NODES = "FTCTL_NODES"
RENDEZVOUS = "FTCTL_RENDEZVOUS"
SHARD = "FTCTL_SHARD"  # set: the base is split among them
COMPLETION_INDEX = "JOB_COMPLETION_INDEX"


def default_image(stage: str, version: str) -> str:
    """The image of a stage where a profile names none, as `make images` tags it."""
    return f"ftctl-{stage}:{version}"
