"""Bad input to the whole `ftctl run`: a paragraph, the right exit code, and nothing written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ftctl import app as program
from ftctl.contract.operational import StorageConfig
from ftctl.storage.open import open_store
from tests.integration.disks import disk_of, make_read_only
from tests.integration.run.conftest import Published, Workplace

TOKEN = "hf_" + "a1B2c3D4e5F6g7H8i9J0"  # of the form, and nobody's


class Attempt:
    """`ftctl run` of the tiny model with other settings, in this process."""

    def __init__(self, workplace: Workplace, store: Path) -> None:
        self.workplace, self.store = workplace, store

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Return the exit code and stderr; nothing is ever printed on stdout, or stored."""
        settings = [f"storage.url={self.store}", *self.workplace.settings, *arguments]
        done = CliRunner().invoke(program.app, ["run", *settings], prog_name="ftctl")
        assert done.stdout == ""
        assert not self.store.exists()
        return done.exit_code, done.stderr


@pytest.fixture
def attempt(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    monkeypatch.chdir(tmp_path)
    return Attempt(workplace, tmp_path / "store")


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        pytest.param(
            ["training.learnig_rate=1e-4"],
            "override training.learnig_rate=1e-4: there is no key training.learnig_rate\n"
            "Did you mean training.learning_rate?",
            id="mistyped-override",
        ),
        pytest.param(
            ["training.max_steps=many"],
            "override training.max_steps=many: training.max_steps is 'many'; allowed: a whole",
            id="wrong-type",
        ),
        pytest.param(
            ["model.lora_r=0"],
            "override model.lora_r=0: model.lora_r is 0; allowed: a whole number, at least 1",
            id="lora-r-0",
        ),
        pytest.param(
            ["training.learning_rate=-1e-4"],
            "override training.learning_rate=-1e-4: training.learning_rate is -0.0001; allowed:",
            id="negative-learning-rate",
        ),
        pytest.param(
            ["model=smollm3"],
            "override model=smollm3: group model has no choice 'smollm3'\n"
            "Did you mean smollm2-135m?",
            id="unknown-group-option",
        ),
        pytest.param(
            ["model.qtype=q4_9"],
            "override model.qtype=q4_9: model.qtype: unknown quantization type 'q4_9'",
            id="unknown-qtype",
        ),
        pytest.param(
            ["model.qtype=iq3_m", "paths.llama_cpp_dir=/nonexistent"],
            "model.qtype: quantization type iq3_m needs llama.cpp's own quantizer",
            id="qtype-without-its-tool",
        ),
        pytest.param(
            ["model.outfile=a/b.gguf"],
            "override model.outfile=a/b.gguf: model.outfile: 'a/b.gguf' is a path",
            id="outfile-in-a-folder",
        ),
        pytest.param(
            ["dataset.train=nosuch.json"],
            "dataset.train: there is no file 'nosuch.json'\nLooked in:",
            id="missing-data-file",
        ),
        pytest.param(
            ["model.model_name=/nosuch/model"],
            "model.model_name: /nosuch/model does not exist",
            id="no-such-folder",
        ),
        pytest.param(
            ["model.model_name=package:nosuch/m.gguf"],
            "model.model_name: the Python package 'nosuch' is not installed",
            id="no-such-package",
        ),
    ],
)
def test_a_bad_setting_is_refused(attempt: Attempt, settings: list[str], want: str) -> None:
    code, said = attempt(*settings)
    assert code == 3
    assert said.startswith(f"error: {want}")


def test_a_mistyped_key_in_a_file_is_refused_with_the_file(
    attempt: Attempt, tmp_path: Path
) -> None:
    experiment = tmp_path / "conf" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text("# @package _global_\ntraining:\n  learnig_rate: 1e-4\n")
    assert attempt("--config-dir", str(tmp_path / "conf"), "experiment=mine") == (
        3,
        "error: conf/experiment/mine.yaml: there is no key training.learnig_rate\n"
        "Did you mean training.learning_rate? `ftctl config explain training` lists the keys.\n",
    )


def test_a_literal_token_is_refused_and_not_shown(attempt: Attempt) -> None:
    code, said = attempt(f"other.hf_token={TOKEN}")
    assert code == 3
    assert said.startswith("error: override other.hf_token=***: other.hf_token holds a literal")
    assert TOKEN not in said


@pytest.fixture(scope="module")
def good(workplace: Workplace) -> bytes:
    """The training rows as one JSON document."""
    lines = workplace.train.read_text(encoding="utf-8").splitlines()
    return json.dumps([json.loads(line) for line in lines], indent=0).encode()


def without_an_answer(rows: bytes) -> bytes:
    first, *rest = json.loads(rows)
    return json.dumps([{**first, "answer": None}, *rest]).encode()


def with_a_row_of_100_mb(rows: bytes) -> bytes:
    first, *rest = json.loads(rows)
    prompt = {**first["prompt"], "UserInput": "x" * 100_000_000}
    return json.dumps([{**first, "prompt": prompt}, *rest]).encode()


@pytest.mark.parametrize(
    ("damage", "want"),
    [
        pytest.param(lambda rows: b"", "the file is empty", id="empty-file"),
        pytest.param(lambda rows: b"[]", "the data set is empty: no rows", id="no-rows"),
        pytest.param(lambda rows: rows[: len(rows) // 2], "the JSON stops in the middle", id="cut"),
        pytest.param(without_an_answer, ":1: row-0: no answer", id="no-answer"),
        pytest.param(
            lambda rows: rows.replace(b"it is dark", b"it \xffis dark", 1),
            "invalid UTF-8: byte 0xff at offset",
            id="invalid-utf-8",
        ),
        pytest.param(
            lambda rows: rows.decode().encode("utf-16"),
            "the file is UTF-16, and only UTF-8 is read",
            id="utf-16",
        ),
        pytest.param(
            lambda rows: rows.replace(b'"answer"', b'"answer": {}, "answer"', 1),
            'the key "answer" stands twice',
            id="a-key-twice",
        ),
        pytest.param(
            with_a_row_of_100_mb, "the limit is 16,777,216 bytes (16 MiB) a row", id="100-mb-row"
        ),
    ],
)
def test_a_bad_data_file_is_refused(
    attempt: Attempt, tmp_path: Path, good: bytes, damage: Callable[[bytes], bytes], want: str
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(damage(good))
    code, said = attempt(f"dataset.train={path}")
    assert code == 3
    assert said.startswith("error: rows.json:")
    assert want in said


def test_a_byte_order_mark_is_no_part_of_the_data(
    workplace: Workplace, published: Published, good: bytes, tmp_path: Path
) -> None:
    """The run is the one without the mark, which is published already."""
    path = tmp_path / "rows.json"
    path.write_bytes(b"\xef\xbb\xbf" + good)
    settings = [*workplace.settings, f"dataset.train={path}", f"storage.url={published.store}"]
    done = CliRunner().invoke(program.app, ["run", *settings])
    assert done.exit_code == 0
    assert f"{published.run_id} is published already." in done.stderr


def test_a_row_whose_whole_answer_is_cut_off_fails_before_a_model_is_loaded(
    workplace: Workplace, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    arguments = ("run", f"storage.url={store}", *workplace.settings, "training.max_seq_length=16")
    done = workplace.ftctl(*arguments)
    [run] = (store / "runs").iterdir()
    assert done.code == 3
    assert "training.max_seq_length: 16 tokens cut off the whole answer of 24 rows" in done.stderr
    assert "All of these rows fit with training.max_seq_length=" in done.stderr
    assert "loading model" not in done.stderr
    assert sorted(path.name for path in run.iterdir() if path.name.startswith("_")) == ["_FAILED"]
    assert not (run / "adapter").exists()


def test_a_model_without_a_chat_template_is_refused(
    attempt: Attempt, workplace: Workplace, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(workplace.model, tmp_path / "model"))
    (model / "chat_template.jinja").unlink()
    code, said = attempt(f"model.model_name={model}")
    assert code == 3
    assert said.startswith(f"error: {model}: the model's tokenizer has no chat template\n")


def test_an_architecture_that_cannot_be_exported_is_refused(
    attempt: Attempt, workplace: Workplace, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(workplace.model, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    changed = {**config, "architectures": ["MambaForCausalLM"], "model_type": "mamba"}
    (model / "config.json").write_text(json.dumps(changed))
    code, said = attempt(f"model.model_name={model}", "paths.llama_cpp_dir=/nonexistent")
    assert code == 3
    assert said.startswith("error: model.model_name: MambaForCausalLM cannot be exported without")


def test_wrong_s3_keys_are_refused(
    attempt: Attempt, s3_config: StorageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"storage.endpoint_url={s3_config.endpoint_url}"
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
        code, said = attempt(f"storage.url={s3_config.url}", endpoint)
    assert code == 5
    assert said.startswith(f"error: {s3_config.url}/datasets/")
    assert "access denied" in said
    assert "hunter2" not in said
    assert list(open_store(s3_config).list()) == []


def test_a_missing_bucket_is_refused(attempt: Attempt, s3_config: StorageConfig) -> None:
    endpoint = f"storage.endpoint_url={s3_config.endpoint_url}"
    code, said = attempt("storage.url=s3://no-such-bucket/x", endpoint)
    assert code == 5
    assert said.startswith("error: s3://no-such-bucket/x/datasets/")
    assert "there is no such bucket" in said


def test_a_store_that_cannot_be_written_is_refused(attempt: Attempt, tmp_path: Path) -> None:
    with disk_of(2, tmp_path / "disk") as disk:
        make_read_only(disk)
        code, said = attempt(f"storage.url={disk}/store")
    assert code == 5
    assert "permission denied" in said
    assert "choose another with storage.url" in said


def test_a_disk_too_small_for_the_data_set_is_told(attempt: Attempt, tmp_path: Path) -> None:
    with disk_of(1, tmp_path / "disk") as disk:
        (disk / "ballast").write_bytes(bytes(2**20 - 8192))
        code, said = attempt(f"storage.url={disk}/store")
        assert list((disk / "store").rglob("digest.json")) == []
        assert list((disk / "store").rglob("*.tmp")) == []
    assert code == 5
    assert "no space is left" in said


def test_a_disk_that_fills_up_in_the_last_stage_publishes_nothing_until_there_is_room(
    workplace: Workplace, published: Published, tmp_path: Path
) -> None:
    with disk_of(16, tmp_path / "disk") as disk:
        store = Path(shutil.copytree(published.store, disk / "store"))
        folder = store / published.layout.root
        (folder / "_SUCCESS").unlink()
        shutil.rmtree(folder / "gguf")
        fill(disk, leave=100_000)

        done = workplace.ftctl("resume", published.run_id, f"storage.url={store}")

        assert done.code == 5, done.stderr
        # Its files are written side by side: which of them meets the end is chance.
        assert re.search(r"/gguf/[^/]+: no space is left to write this", done.stderr)
        assert "Traceback" not in done.stderr
        assert not any(
            (folder / name).exists() for name in ("_SUCCESS", "_FAILED", "gguf/_COMPLETE")
        )
        assert list(folder.rglob("*.gguf")) == list(folder.rglob("*.tmp")) == []
        assert json.loads((folder / "status.json").read_bytes())["state"] == "failed"

        (disk / "ballast").unlink()
        again = workplace.ftctl("resume", published.run_id, f"storage.url={store}")

        assert again.code == 0, again.stderr
        assert (folder / "gguf" / "tiny-Q8_0.gguf").read_bytes() == (
            published.folder / "gguf" / "tiny-Q8_0.gguf"
        ).read_bytes()


def fill(disk: Path, *, leave: int) -> None:
    """Write a file that leaves so many bytes of a disk free."""
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - leave))
