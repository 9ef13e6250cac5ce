"""Names that reach the cluster or the store are made here and nowhere else."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any

from ftctl.errors import ConfigError

HASH_DIGITS = 12
# DNS-1035 label, https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
DNS_LABEL_LENGTH = 63
OBJECT_DIGITS = 5
# `<run id>-convert-<5 hex>` is the longest object name, and a Job's pods add `-<5>`.
_SUFFIXES_LENGTH = len("-convert-00000-00000")
RUN_NAME_LENGTH = DNS_LABEL_LENGTH - _SUFFIXES_LENGTH - HASH_DIGITS - 1

_RUN_ID = re.compile(rf"[a-z]([a-z0-9-]*[a-z0-9])?-[0-9a-f]{{{HASH_DIGITS}}}")


def run_name(text: str) -> str:
    """
    Make a DNS-1035 label of at most RUN_NAME_LENGTH characters from any text.

    Raises:
        ConfigError: nothing of `text` is left, as with a name without a Latin letter or digit.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    label = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")
    if label and not label[0].isalpha():
        label = f"r-{label}"
    label = label[:RUN_NAME_LENGTH].rstrip("-")
    if not label:
        raise ConfigError(
            f"no run name can be made from {text!r}",
            where="name",
            hint="Set one of Latin letters, digits and hyphens: name=my-run.",
        )
    return label


def run_id(name: str, content_hash: str) -> str:
    """`<name>-<12 hex>`; `content_hash` is the full hexadecimal hash."""
    return f"{run_name(name)}-{content_hash[:HASH_DIGITS]}"


def is_run_id(text: str) -> bool:
    """Whether `text` has the form of a run id."""
    return _RUN_ID.fullmatch(text) is not None and len(text) <= RUN_NAME_LENGTH + 1 + HASH_DIGITS


def object_name(run_id: str, part: str, spec: Any) -> str:
    """
    `<run id>-<part>-<5 hex>`: another spec is another object, as Jobs cannot be changed.

    Args:
        part: the stage, or what else the object is.
        spec: what the digits are taken from, as plain JSON values.
    """
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{run_id}-{part}-{hashlib.sha256(canonical.encode()).hexdigest()[:OBJECT_DIGITS]}"
