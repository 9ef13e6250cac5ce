import pytest

from ftctl.config.sources import Layer, Sources, nested

SOURCES = Sources(
    (
        Layer("a.yaml", 0, {"model": {"lora_r": 16, "revision": None}}),
        Layer("b.yaml", 1, {"model": {"lora_r": 8}}),
    )
)


@pytest.mark.parametrize(
    ("key", "want"),
    [
        pytest.param("model.lora_r", "b.yaml", id="the-last-layer-wins"),
        pytest.param("model.revision", "a.yaml", id="null-is-a-value"),
        pytest.param("model.other", "b.yaml", id="else-who-set-the-section"),
        pytest.param("training.seed", None, id="nobody"),
    ],
)
def test_origin(key: str, want: str | None) -> None:
    assert SOURCES.origin(key) == want


def test_nested() -> None:
    assert nested("a.b", 1) == {"a": {"b": 1}}
    assert nested("", {"a": 1}) == {"a": 1}
