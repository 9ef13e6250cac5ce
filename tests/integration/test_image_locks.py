"""The files that images are built from say what pyproject.toml says, and alike."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "docker"
PINNED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
# What an image has; the second one's launcher searches.
EXTRAS = {"train": ("train", "wandb", "mlflow"), "convert": ("convert", "sweep")}
STAGES = tuple(EXTRAS)


def wanted(stage: str) -> list[Requirement]:
    """What an image's extras require of the index; torch is a build argument."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    of_extras = [project["optional-dependencies"][extra] for extra in EXTRAS[stage]]
    found = [Requirement(line) for line in sum(of_extras, project["dependencies"])]
    return [requirement for requirement in found if requirement.name != "torch"]


def locked(stage: str) -> dict[str, set[str]]:
    """Package to its versions: one, or one for each range of Python versions."""
    versions: dict[str, set[str]] = {}
    for name, version in PINNED.findall((DOCKER / stage / "requirements.txt").read_text()):
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.mark.parametrize("stage", STAGES)
def test_a_lock_has_what_its_extras_require(stage: str) -> None:
    versions = locked(stage)
    wrong = [
        f"{requirement}: {sorted(versions.get(requirement.name.lower(), set()))}"
        for requirement in wanted(stage)
        if not versions.get(requirement.name.lower())
        or any(
            Version(version) not in requirement.specifier
            for version in versions[requirement.name.lower()]
        )
    ]
    assert wrong == [], "`make lock` brings docker/*/requirements.txt up to date"


def test_both_images_have_the_same_version_of_what_both_have() -> None:
    train, convert = locked("train"), locked("convert")
    assert {
        name: (versions, convert[name])
        for name, versions in train.items()
        if name in convert and convert[name] != versions
    } == {}


def test_no_lock_decides_on_torch_or_its_cuda_libraries() -> None:
    names = {name for stage in STAGES for name in locked(stage)}
    assert {name for name in names if name in ("torch", "triton") or "nvidia" in name} == set()


def test_both_images_build_their_wheel_by_the_same_stages() -> None:
    """Word for word: one cached layer serves both, and both have the same wheel."""
    texts = [(DOCKER / stage / "Dockerfile").read_text() for stage in STAGES]
    shared = [
        re.search(
            r"^FROM \$\{BASE_IMAGE\} AS base\n.*?^RUN /build/bin/pip wheel[^\n]*", text, re.M | re.S
        )
        for text in texts
    ]
    train, convert = (match and match[0] for match in shared)
    assert train is not None
    assert train == convert


@pytest.mark.parametrize("stage", STAGES)
def test_an_image_runs_as_a_number_and_hands_signals_to_python(stage: str) -> None:
    text = (DOCKER / stage / "Dockerfile").read_text()
    assert re.findall(r"^(?:USER|ENTRYPOINT|HEALTHCHECK)\b.*", text, re.M) == [
        "USER 10001:10001",
        'ENTRYPOINT ["python", "-m", "ftctl_trainer"]',
    ]
