"""Amounts of memory as Kubernetes writes them."""

from __future__ import annotations

import re
from decimal import Decimal

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_UNITS = {
    "": 1,
    "k": 1000,
    "M": 1000**2,
    "G": 1000**3,
    "T": 1000**4,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti)?")


def quantity_bytes(text: str) -> int:
    """
    Bytes of an amount such as `80Gi`, `1.5G` or `1024`.

    Raises:
        ValueError: `text` is no such amount.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no amount of memory; write it as 80Gi or 80G")
    return int(Decimal(match[1]) * _UNITS[match[2] or ""])


def quantity(count: int) -> str:
    """Bytes in whole Mi or Gi, rounded up: what a pod asks for."""
    mib = -(-count // 2**20)
    return f"{-(-mib // 1024)}Gi" if mib >= 1024 else f"{mib}Mi"
