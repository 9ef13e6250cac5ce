"""
The configuration of a run, as pydantic models. Hydra composes it, these check it.

Every key, its type, default, unit and effect stand here, in training.py and in operational.py;
`ftctl config explain` and the reference in docs/ read them. conf/ repeats the defaults for Hydra
to override.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ftctl.contract import qtypes
from ftctl.contract.filename import FileName
from ftctl.contract.operational import (
    ClusterConfig,
    PublishConfig,
    StorageConfig,
    TrackingConfig,
)
from ftctl.contract.section import Positive, Section
from ftctl.contract.training import DpoConfig as DpoConfig
from ftctl.contract.training import GrpoConfig as GrpoConfig
from ftctl.contract.training import KtoConfig as KtoConfig
from ftctl.contract.training import Method as Method
from ftctl.contract.training import OrpoConfig as OrpoConfig
from ftctl.contract.training import TrainingConfig as TrainingConfig

Dtype = Literal["float16", "bfloat16", "float32"]


class ModelConfig(Section):
    """The base model, its adapter, and the types of the exported file."""

    model_name: str = Field(
        "Vikhrmodels/Vikhr-YandexGPT-5-Lite-8B-it",
        min_length=1,
        description="hub id, folder, .gguf file, or package:NAME/FILE in a Python package",
    )
    revision: str | None = Field(
        None,
        description="hub commit, branch or tag; null is resolved to a commit. Of a model that "
        "no hub has its sha256, by which the store has it",
    )
    lora_r: int = Field(16, ge=1, le=1024, description="LoRA rank")
    lora_alpha: float = Field(32, gt=0, description="LoRA scale; the update is (alpha / r) B A")
    lora_dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the adapter's input")
    use_rslora: bool = Field(
        False, description="scale the update by alpha / sqrt(r) (rsLoRA, arXiv:2312.03732)"
    )
    use_dora: bool = Field(
        False, description="learn each weight's length apart (DoRA, arXiv:2402.09353); slower"
    )
    lora_target_modules: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        min_length=1,
        description="names of the linear layers that get an adapter",
    )
    init_adapter: str | None = Field(
        None,
        description="adapter to go on from: an earlier run of the store by its id, or a folder of "
        "PEFT; DPO, KTO and GRPO take it as their reference",
    )
    modules_to_save: list[str] = Field(
        ["lm_head"], description="layers trained whole, in float32, beside the adapter"
    )
    qtype: str | list[str] = Field("q4_1", description="GGUF quantization, or a list of them")
    torch_dtype: Dtype = Field("float16", description="compute dtype of the base")
    attn_implementation: (
        Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None
    ) = Field(None, description="attention of transformers; null takes the best there is")
    use_8bit: bool = Field(False, description="load the base in 8 bits (LLM.int8) instead of NF4")
    dataset_name: str | None = Field(
        None, description="training file below paths.data_dir, when dataset.train is not set"
    )
    new_model: str | None = Field(
        None, description="name of the tuned model; the run takes it unless `name` is set"
    )
    outfile: FileName | None = Field(
        None, description="file name of the GGUF; several types get their name before .gguf"
    )
    train_steps: int | None = Field(None, ge=1, description="older spelling of training.max_steps")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")

    @field_validator("modules_to_save", mode="before")
    @classmethod
    def _null_is_none_saved(cls, value: Any) -> Any:
        return [] if value is None else value

    @field_validator("qtype")
    @classmethod
    def _known_types(cls, value: str | list[str]) -> str | list[str]:
        names = [value] if isinstance(value, str) else value
        if not names:
            raise ValueError("an empty list; name at least one type, for example q4_1")
        for name in names:
            if qtypes.canonical(name) not in qtypes.FTYPES:
                raise ValueError(
                    f"unknown quantization type {name!r}; known: {', '.join(qtypes.FTYPES)}"
                )
        found = [qtypes.canonical(name) for name in names]
        if len(set(found)) < len(found):
            raise ValueError("a type is named twice")
        return found[0] if isinstance(value, str) else found

    @property
    def qtypes(self) -> tuple[str, ...]:
        """The types as a tuple, in the order asked for."""
        return (self.qtype,) if isinstance(self.qtype, str) else tuple(self.qtype)


class PathsConfig(Section):
    """Folders and programs on the machine that runs a stage."""

    data_dir: str = Field("data", description="where relative data files are looked for")
    output_dir: str = Field(
        "models", description="the folder store of `ftctl run`, unless storage.url is set"
    )
    llama_cpp_dir: str = Field("../llama.cpp", description="llama.cpp's sources, for its converter")
    quantized_path: str = Field(
        "build/bin/llama-quantize", description="quantizer below llama_cpp_dir"
    )
    final_weights_path: str | None = Field(
        None, description="folder to copy the published GGUF files to"
    )
    merged_model_path: str | None = Field(
        None, description="folder to keep the merged safetensors model in"
    )


class OtherConfig(Section):
    """Keys that older configs have in this section."""

    cutoff_len: int | None = Field(
        None, ge=8, description="older spelling of training.max_seq_length"
    )
    hf_login: bool = Field(False, description="refuse to start without a hub token")
    hf_token: str | None = Field(
        None,
        repr=False,
        description="reference to a token, ${oc.env:HF_TOKEN,null}; a literal is refused",
    )


class TestingConfig(Section):
    """Answers to held-out rows, before and after training and from each published file."""

    test: bool = Field(False, description="generate answers and score them")
    test_dataset: str | None = Field(
        None, description="held-out rows to answer; null takes the evaluation split"
    )
    output_test_file: str | None = Field(
        None, description="write every answer to this JSON file too"
    )
    max_new_tokens: Positive | None = Field(
        256,
        description="tokens an answer may have; null: a quarter more than the longest right one",
    )
    limit: int | None = Field(None, ge=1, description="answer only the first rows")
    batch_size: Positive = Field(16, description="answers generated at once")


class DatasetConfig(Section):
    """The rows to learn from."""

    train: str | list[str] | None = Field(
        None, description="files, globs, s3:// URLs, or sha256:DIGEST from the store"
    )
    eval: str | list[str] | None = Field(None, description="the same for held-out rows")
    format: Literal[
        "auto",
        "actions",
        "messages",
        "instruction",
        "prompt_completion",
        "dialogue",
        "preference",
        "labelled",
        "ranked",
    ] = Field("auto", description="row format; auto detects it")
    eval_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of training rows held out when eval is not set"
    )
    max_bad: int = Field(0, ge=0, description="bad rows left out before the run is refused")
    template: str = Field(
        "actions", description="prompt layout: a name in conf/dataset/templates, or a .jinja file"
    )
    always_allowed_actions: list[str] = Field(
        [], description="actions allowed in every row besides its own"
    )
    assistant_only: bool = Field(True, description="loss on assistant tokens only")
    shuffle: bool = Field(True, description="new order of rows in every epoch, from the seed")
    limit: int | None = Field(None, ge=1, description="take only the first training rows")


class Thresholds(Section):
    """Limits of one quantization type's verification."""

    mean_kl: float = Field(gt=0, description="mean KL(tuned || gguf), nats a token")
    p99_kl: float = Field(gt=0, description="its 99th percentile")
    top1_agreement: float = Field(gt=0, le=1, description="least share of equal most likely tokens")
    perplexity_ratio: float = Field(gt=1, description="most by which the perplexity may grow")


class VerifyConfig(Section):
    """How a GGUF is proven before it is published."""

    tokens: int = Field(256, ge=16, description="held-out label tokens compared")
    top: int = Field(
        64,
        ge=8,
        le=256,
        description="most likely tokens kept a position; the rest is one remainder",
    )
    thresholds: dict[str, Thresholds] = Field(default_factory=dict, description="limits by type")


class QuantizeConfig(Section):
    """Export to GGUF."""

    imatrix: bool = Field(False, description="importance matrix from the training rows")
    verify: VerifyConfig = Field(
        default_factory=VerifyConfig, description="how a GGUF is proven before it is published"
    )
    merge_base: Literal["full", "nf4", "best"] = Field(
        "full", description="weights that the adapter is added to"
    )
    save_merged: bool = Field(False, description="publish the merged safetensors model too")
    split_gb: float | None = Field(
        None, gt=0, description="split a GGUF above this size, in GB of 10^9 bytes"
    )
    modelfile: bool = Field(True, description="write a Modelfile for Ollama")
    adapter_gguf: bool = Field(
        False,
        description="publish the adapter alone as a GGUF too, proven over the F16 base; needs "
        "model.modules_to_save=[]",
    )


class Config(Section):
    """A whole configuration."""

    name: str | None = Field(
        None, description="first part of the run id; null: model.new_model or the model's name"
    )
    model: ModelConfig = Field(
        default_factory=ModelConfig,
        description="base model, adapter, and types of the exported file",
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="how the adapter is trained"
    )
    grpo: GrpoConfig = Field(
        default_factory=GrpoConfig, description="settings of training.method=grpo"
    )
    dpo: DpoConfig = Field(default_factory=DpoConfig, description="settings of training.method=dpo")
    orpo: OrpoConfig = Field(
        default_factory=OrpoConfig, description="settings of training.method=orpo"
    )
    kto: KtoConfig = Field(default_factory=KtoConfig, description="settings of training.method=kto")
    paths: PathsConfig = Field(
        default_factory=PathsConfig, description="folders and programs of this machine"
    )
    other: OtherConfig = Field(
        default_factory=OtherConfig, description="keys that older configs have"
    )
    testing: TestingConfig = Field(
        default_factory=TestingConfig, description="answers to held-out rows, before and after"
    )
    dataset: DatasetConfig = Field(
        default_factory=DatasetConfig, description="rows to learn from, and how to read them"
    )
    quantize: QuantizeConfig = Field(
        default_factory=QuantizeConfig, description="export to GGUF and its proof"
    )
    cluster: ClusterConfig = Field(default_factory=ClusterConfig, description="where the pods run")
    storage: StorageConfig = Field(default_factory=StorageConfig, description="the store")
    tracking: TrackingConfig = Field(
        default_factory=TrackingConfig, description="an experiment tracker"
    )
    publish: PublishConfig = Field(
        default_factory=PublishConfig, description="where proven files are pushed to"
    )

    @model_validator(mode="after")
    def _something_is_looked_at(self) -> Config:
        held_out = self.dataset.eval or self.dataset.eval_fraction or self.grpo.val_data
        pushed = str(self.dataset.train or "").startswith("sha256:")  # may have a split of its own
        if self.training.early_stopping and not (held_out or pushed):
            raise ValueError(
                "training.early_stopping needs held-out rows; set dataset.eval or "
                "dataset.eval_fraction"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Config:
        t, group = self.training, self.grpo.num_generations
        answers = t.per_device_train_batch_size * t.gradient_accumulation_steps
        if t.method == "grpo" and answers % group:
            raise ValueError(
                f"grpo.num_generations={group} does not divide the {answers} answers of a step "
                "(training.per_device_train_batch_size * training.gradient_accumulation_steps)"
            )
        return self

    @model_validator(mode="after")
    def _precision_agrees(self) -> Config:
        t = self.training
        if t.compute is None:
            for flag, dtype in ((t.fp16, "float16"), (t.bf16, "bfloat16")):
                if flag and self.model.torch_dtype not in (dtype, "float32"):
                    raise ValueError(
                        f"training.{'fp16' if dtype == 'float16' else 'bf16'}=true contradicts "
                        f"model.torch_dtype={self.model.torch_dtype}; "
                        "set them alike, or set training.compute"
                    )
        return self
