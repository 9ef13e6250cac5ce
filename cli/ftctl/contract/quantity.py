"""Amounts of memory and processors as Kubernetes writes them."""

from __future__ import annotations

import re
from decimal import Decimal

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_DECIMAL, _BINARY = "kMGTPE", ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(_DECIMAL, 1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(_BINARY, 1)},
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|[kMGTPE]|[KMGTPE]i)?")


def quantity_bytes(text: str) -> int:
    """
    Bytes of an amount such as `80Gi`, `1.5G` or `1024`.

    Raises:
        ValueError: `text` is no such amount.
    """
    return int(_amount(text, "memory; write it as 80Gi or 80G"))


def cpu_cores(text: str) -> float:
    """
    Cores of an amount: `4`, `1.5` or `500m`.

    Raises:
        ValueError: `text` is no such amount.
    """
    return float(_amount(text, "cores; write it as 2 or 500m"))


def quantity(count: int) -> str:
    """Bytes in whole Mi or Gi, rounded up: what a pod asks for."""
    mib = -(-count // 2**20)
    return f"{-(-mib // 1024)}Gi" if mib >= 1024 else f"{mib}Mi"


def _amount(text: str, of: str) -> Decimal:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no amount of {of}")
    return Decimal(match[1]) * _UNITS[match[2] or ""]
