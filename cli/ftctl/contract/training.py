"""How a run trains: the sections training, grpo, dpo, orpo and kto of its configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ftctl.contract.rewards import parse_reward
from ftctl.contract.section import Positive, Section

Method = Literal["sft", "dpo", "orpo", "kto", "grpo"]


class TrainingConfig(Section):
    """How the adapter is trained. Names are those of transformers' TrainingArguments."""

    method: Method = Field("sft", description="training method")
    per_device_train_batch_size: Positive = Field(1, description="rows a device and forward pass")
    per_device_eval_batch_size: Positive = Field(1, description="the same in evaluation")
    gradient_accumulation_steps: Positive = Field(4, description="forward passes an optimizer step")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="peak learning rate")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="schedule after the warm-up"
    )
    max_seq_length: int = Field(
        2048, ge=8, description="tokens a row; longer rows are cut, and counted"
    )
    gradient_checkpointing: bool | Literal["auto", "offload"] = Field(
        True,
        description="recompute activations in the backward pass: less memory, more time; auto: "
        "what memory does not hold; offload: auto, with main memory beside the GPU's (long rows), "
        "by the fast layers; as true on a CPU, in 8 bits, with DoRA or cluster.shard, and for "
        "families without them",
    )
    num_train_epochs: float = Field(
        3, gt=0, description="passes over the training rows, unless max_steps is set"
    )
    max_steps: int = Field(
        -1, ge=-1, description="optimizer steps; -1 lets num_train_epochs decide"
    )
    eval_steps: Positive = Field(20, description="steps between evaluations of the held-out loss")
    logging_steps: Positive = Field(5, description="steps between lines in metrics.jsonl")
    warmup_steps: int = Field(10, ge=0, description="steps until the learning rate is at its peak")
    fp16: bool = Field(False, description="override autocast: float16")
    bf16: bool = Field(False, description="override autocast: bfloat16")
    weight_decay: float = Field(0.05, ge=0, le=1, description="AdamW weight decay")
    max_grad_norm: float = Field(
        1.0, ge=0, description="gradient norm is clipped to this; 0 turns clipping off"
    )
    optim: str = Field(
        "paged_adamw_8bit",
        description="optimizer, by transformers' name; on a CPU AdamW in float32",
    )
    neftune_noise_alpha: float = Field(
        0, ge=0, description="NEFTune noise on embeddings (arXiv:2310.05914); 0 is off"
    )
    save_steps: Positive = Field(20, description="steps between checkpoints")
    save_total_limit: Positive = Field(5, description="checkpoints kept")
    load_best: bool = Field(
        False, description="publish the checkpoint with the lowest held-out loss"
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="looks at the held-out rows without a gain after which training ends; "
        "null: never",
    )
    loraplus_ratio: float | None = Field(
        None,
        ge=1,
        description="learning rate of LoRA's B over A's (LoRA+, arXiv:2402.12354); null: alike",
    )
    group_by_length: bool = Field(
        False, description="batches of rows of like length: less padding, another order of rows"
    )
    packing: bool = Field(
        False,
        description="put several rows into one sequence of max_seq_length tokens, each row unseen "
        "by the others (sft only); changes the steps of an epoch",
    )
    seed: int = Field(42, ge=0, lt=2**32, description="seed of every random choice")
    deterministic: bool = Field(
        False, description="bit-for-bit repeatable on a GPU, and slower; a CPU always is"
    )
    compute: Literal["bf16", "fp16", "fp32", "fp8"] | None = Field(
        None, description="overrides model.torch_dtype and fp16/bf16 at once"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainingConfig:
        if self.fp16 and self.bf16:
            raise ValueError("fp16 and bf16 are both true; set one of them, or training.compute")
        if self.max_steps == 0:
            raise ValueError("max_steps is 0, which trains nothing; use -1 for whole epochs")
        if self.packing and self.method != "sft":
            raise ValueError(f"packing is for method=sft: {self.method} compares whole answers")
        if self.method == "kto" and self.per_device_train_batch_size < 2:
            raise ValueError(
                "method=kto needs per_device_train_batch_size=2 at least: how far the model is "
                "from its reference is taken from other answers of the same pass"
            )
        return self


class GrpoConfig(Section):
    """Group relative policy optimization (arXiv:2402.03300)."""

    train_data: str | None = Field(
        None, description="data set of this method, instead of dataset.train"
    )
    val_data: str | None = Field(
        None, description="held-out rows of this method, instead of dataset.eval"
    )
    max_completion_length: int | None = Field(
        None, ge=1, description="tokens a completion may have; null: 256"
    )
    num_generations: int = Field(2, ge=2, description="completions a prompt")
    use_cache: bool = Field(True, description="key-value cache while generating")
    beta: float = Field(0.04, ge=0, description="weight of the KL term")
    rewards: list[str] = Field(
        ["json_action"],
        min_length=1,
        description="reward functions, summed: json_action, json_schema:FILE.json, regex:PATTERN, "
        "length:TOKENS, similarity, FILE.py:FUNCTION; each may have a weight: 0.5*length:40",
    )

    @field_validator("rewards")
    @classmethod
    def _known_rewards(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_reward(text)
        return value

    @property
    def completion_tokens(self) -> int:
        """Tokens a completion may have."""
        return self.max_completion_length or 256


class DpoConfig(Section):
    """Direct preference optimization (arXiv:2305.18290)."""

    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference model")


class OrpoConfig(Section):
    """Odds ratio preference optimization (arXiv:2403.07691)."""

    beta: float = Field(
        0.1, gt=0, description="weight of the odds ratio beside the chosen answer's likelihood"
    )


class KtoConfig(Section):
    """Kahneman-Tversky optimization (arXiv:2402.01306)."""

    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference model")
    desirable_weight: float = Field(
        1.0, gt=0, description="weight of good answers; set it where there are fewer of them"
    )
    undesirable_weight: float = Field(1.0, gt=0, description="weight of bad answers")
