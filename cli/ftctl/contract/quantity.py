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
# What the API server writes besides: smaller units, and exponents.
_API_UNITS = {**_UNITS, "n": Decimal("1e-9"), "u": Decimal("1e-6")}
_API_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?\d+)?)([A-Za-z]*)")


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


def api_quantity(text: str) -> float:
    """An amount that the API server wrote, in units of one: `500m` is 0.5; 0 for what is none."""
    found = _API_QUANTITY.fullmatch(text.strip())
    if not found or found[2] not in _API_UNITS:
        return 0.0
    return float(found[1]) * float(_API_UNITS[found[2]])


def _amount(text: str, of: str) -> Decimal:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no amount of {of}")
    return Decimal(match[1]) * _UNITS[match[2] or ""]
