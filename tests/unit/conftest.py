"""Examples by hypothesis take as long as they take: a busy machine is no failure."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ftctl", deadline=None)
settings.load_profile("ftctl")
