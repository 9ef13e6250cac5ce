import pytest

from ftctl.config import schema


@pytest.mark.parametrize(
    ("path", "want"),
    [
        pytest.param("model.lora_r", "a whole number, at least 1 and at most 1024", id="range"),
        pytest.param("training.learning_rate", "a number, above 0 and at most 1", id="exclusive"),
        pytest.param("training.method", "one of sft, dpo, orpo, kto, grpo", id="choices"),
        pytest.param(
            "training.gradient_checkpointing", "true or false or one of auto, offload", id="union"
        ),
        pytest.param("model.lora_target_modules", "a list of text (at least one)", id="list"),
        pytest.param("dataset.limit", "a whole number, at least 1 or null", id="nullable"),
        pytest.param("training.seed", "a whole number, at least 0 and below 4294967296", id="big"),
        pytest.param("quantize.verify.tokens", "a whole number, at least 16", id="nested"),
        pytest.param(
            "cluster.resources.train.cpu", "text, such as 2, 500m, 16Gi", id="deeply-nested"
        ),
        pytest.param("cluster.env", "a mapping", id="mapping"),
    ],
)
def test_what_is_allowed_is_said_in_words(path: str, want: str) -> None:
    assert schema.keys()[path].allowed == want


def test_every_key_says_what_it_means_and_what_is_allowed() -> None:
    for path, key in schema.keys().items():
        assert key.description, path
        assert key.is_section or key.allowed != "a value", path


@pytest.mark.parametrize(
    ("path", "want"),
    [
        pytest.param("training.seed", "training.seed", id="a-key"),
        pytest.param("training", "training", id="a-section"),
        pytest.param("cluster.env.ANY", "cluster.env", id="inside-an-open-mapping"),
        pytest.param(
            "cluster.node_selector_convert.any",
            "cluster.node_selector_convert",
            id="inside-an-open-mapping-that-may-be-null",
        ),
        pytest.param("training.sed", None, id="unknown"),
        pytest.param("training.seed.x", None, id="below-a-plain-key"),
    ],
)
def test_find(path: str, want: str | None) -> None:
    found = schema.find(path)
    assert (found.path if found else None) == want


def test_the_json_schema_refuses_unknown_keys() -> None:
    made = schema.json_schema()
    assert made["additionalProperties"] is False
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(made["properties"]) >= {"model", "training", "dataset", "storage"}
