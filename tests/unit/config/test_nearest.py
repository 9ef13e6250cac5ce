import pytest

from ftctl.config.nearest import nearest, nearest_key

KEYS = [
    "model",
    "model.lora_r",
    "model.lora_alpha",
    "training",
    "training.learning_rate",
    "training.seed",
]


@pytest.mark.parametrize(
    ("name", "want"),
    [
        pytest.param("trainng", "training", id="a-letter-missing"),
        pytest.param("TRAINING", "training", id="case"),
        pytest.param("zzz", None, id="nothing-is-close"),
    ],
)
def test_nearest_name(name: str, want: str | None) -> None:
    assert nearest(name, ["model", "training"]) == want


@pytest.mark.parametrize(
    ("key", "want"),
    [
        pytest.param("training.lerning_rate", "training.learning_rate", id="typo-in-the-name"),
        pytest.param("learning_rate", "training.learning_rate", id="section-missing"),
        pytest.param("model.learning_rate", "training.learning_rate", id="wrong-section"),
        pytest.param("modl.lora_r", "model.lora_r", id="typo-in-the-section"),
        pytest.param("q.w", None, id="nothing-is-close"),
    ],
)
def test_nearest_dotted_key(key: str, want: str | None) -> None:
    assert nearest_key(key, KEYS) == want
