"""Memory of the train stage on its device, phase by phase, part by part."""

from __future__ import annotations

from ftctl.contract.spec import Config
from ftctl.estimate.activations import Forward, aligned, kept_bytes, working_bytes
from ftctl.estimate.architecture import Architecture
from ftctl.estimate.facts import Phase
from ftctl.estimate.load import Load
from ftctl.estimate.trained import FLOAT32, state_bytes, trained_weights

GIB = 2**30
# NF4 with double quantization, arXiv:2305.14314, section 3: half a byte, an 8-bit scale a block of
# 64, and a float32 scale for 256 of those.
NF4_BYTES = 1 / 2 + 1 / 64 + FLOAT32 / (64 * 256)
# LLM.int8 (arXiv:2208.07339): a byte; its scales, one a row, vanish beside it.
INT8_BYTES = 1.0
# Families whose layers the trainer has its own for on a GPU (model/fast/install.py there).
_FAST = ("llama", "mistral", "qwen2")
# Matrices that are one product there.
_PRODUCTS = (
    ("q_proj", "k_proj", "v_proj"),
    ("o_proj",),
    ("gate_proj", "up_proj"),
    ("down_proj",),
)
# CUDA's context with cuBLAS's workspaces; what the allocator cannot use between its blocks.
_CONTEXT_BYTES = GIB // 2
_GPU_WASTE = 0.05
# PyTorch, transformers and PEFT in a process of their own. On a CPU glibc keeps what is freed, in
# pieces: of the quickstart's 3.6 GiB a third.
LIBRARIES_BYTES = GIB
_CPU_WASTE = 0.4
# Bytes of logits that the fast layers' loss has at a time: of one part of the labels, and of the
# part before it (model/fast/head.py there).
_LOGITS = 2 * 2**29
# Rows that the held-out loss is taken of at once, at least (trainer/ftctl_trainer/methods/sft.py).
_EVAL_ROWS = 8
# Bytes a logit: compute dtype, its float32 copy, and the log-softmax over it; with its gradient.
_LOGIT_BYTES, _LOGIT_GRADIENT_BYTES = 10, 14


def phases(shape: Architecture, config: Config, load: Load, *, recompute: bool) -> list[Phase]:
    """The phases of the train stage in their order; a phase that does not happen is left out."""
    gpu, split = config.cluster.gpus > 0, config.cluster.splits
    found = [_training(shape, config, load, recompute=recompute)]
    if split:
        # It is loaded before it is split.
        found.insert(0, Phase(name="loading", parts=_weights(shape, config, holders=1)))
    if load.evaluates:
        found.append(_held_out(shape, config, load))
    if config.testing.test:
        found.append(_answers(shape, config, load))
    if not (gpu and split):  # then it is the processor's
        found.append(_reference(shape, config, load))
    whole = [Phase(name=it.name, parts=_with_runtime(it.parts, gpu=gpu)) for it in found]
    return whole if gpu else _kept_from_training(whole)


def activation_bytes(shape: Architecture, config: Config, load: Load, *, recompute: bool) -> int:
    """Bytes that the forward pass of a training batch keeps."""
    targets = tuple(config.model.lora_target_modules)
    forward = forward_of(shape, config)
    if forward.kernels == "fast":
        kept = kept_bytes(shape, targets, 1, load.tokens, forward, recompute=recompute)
        return kept + working_bytes(shape, load.tokens, forward, recompute=recompute)
    return kept_bytes(shape, targets, load.rows, load.length, forward, recompute=recompute)


def resident_bytes(shape: Architecture, config: Config) -> int:
    """Bytes that the model takes before the first batch, its adapter with it."""
    return sum(_weights(shape, config).values())


def forward_of(shape: Architecture, config: Config) -> Forward:
    """How a configuration's layers are computed."""
    gpu, model = config.cluster.gpus > 0, config.model
    fast = gpu and shape.family in _FAST and not config.cluster.splits
    return Forward(
        number_bytes=number_bytes(config),
        kernels="fast" if fast and not (model.use_8bit or model.use_dora) else "plain",
        autocast=gpu,
        dropout=config.model.lora_dropout > 0,
        eager=config.model.attn_implementation == "eager",
        rank=model.lora_r,
        offloads=config.training.gradient_checkpointing == "offload",
    )


def number_bytes(config: Config) -> int:
    """Bytes of the base's compute dtype; a CPU without bfloat16 takes float32, and more memory."""
    compute = config.training.compute
    dtype = {"bf16": 2, "fp16": 2, "fp32": 4, "fp8": 2}.get(compute or "")
    return dtype or (FLOAT32 if config.model.torch_dtype == "float32" else 2)


def _training(shape: Architecture, config: Config, load: Load, *, recompute: bool) -> Phase:
    gpu = config.cluster.gpus > 0
    trained = trained_weights(shape, config.model)
    parts = _weights(shape, config)
    parts["gradients"] = FLOAT32 * trained.weights
    parts["optimizer"] = round(state_bytes(config.training.optim, gpu=gpu) * trained.weights)
    parts["activations"] = activation_bytes(shape, config, load, recompute=recompute)
    parts["output layer"] = _head(shape, config, load, trained_whole=trained.saved > 0)
    parts["weights unpacked"] = number_bytes(config) * _largest(shape)
    forward = forward_of(shape, config)
    if forward.kernels == "fast":
        parts["adapter, as it is multiplied"] = _copies(shape, config)
        if config.training.method == "sft":
            parts["weights unpacked"] = _unpacked(shape, config)
            work = working_bytes(shape, load.tokens, forward, recompute=recompute)
            # There is one or the other.
            beside = work + parts["weights unpacked"]
            parts["output layer"] = max(0, _fast_head(shape, config, load) - beside)
    return Phase(name="training", parts=parts)


def _held_out(shape: Architecture, config: Config, load: Load) -> Phase:
    """The held-out loss between two steps: no gradients, and logits of every label."""
    gpu = config.cluster.gpus > 0
    trained = trained_weights(shape, config.model)
    parts = _weights(shape, config)
    parts["optimizer"] = round(state_bytes(config.training.optim, gpu=gpu) * trained.weights)
    rows = max(_EVAL_ROWS, config.training.per_device_eval_batch_size)
    parts["output layer"] = _LOGIT_BYTES * rows * load.answer * shape.vocabulary
    parts["activations"] = _passing(shape, config, rows * load.length)
    parts["weights unpacked"] = number_bytes(config) * _largest(shape)
    return Phase(name="held-out loss", parts=parts)


def _answers(shape: Architecture, config: Config, load: Load) -> Phase:
    """Answers to held-out rows; on a CPU a float32 copy of the model gives them."""
    gpu = config.cluster.gpus > 0
    parts = _weights(shape, config)
    width = number_bytes(config)
    if not gpu and not config.model.use_8bit:
        parts["dense copy"] = FLOAT32 * shape.parameters
        width = FLOAT32
    answer = config.testing.max_new_tokens or load.answer
    tokens = config.testing.batch_size * (load.length + answer)
    parts["key-value cache"] = 2 * width * tokens * shape.layers * shape.kv_size
    parts["activations"] = _passing(shape, config, config.testing.batch_size * load.length)
    return Phase(name="answers", parts=parts)


def _reference(shape: Architecture, config: Config, load: Load) -> Phase:
    """The base without quantization, with the adapter: what the export is compared with."""
    width = 2 if config.cluster.gpus > 0 else FLOAT32
    trained = trained_weights(shape, config.model)
    # Logits of a whole row, then log-probabilities of its answer, with the adapter and without.
    logits = (width * load.length + 4 * FLOAT32 * load.answer) * shape.vocabulary
    parts = {
        "base, whole": width * shape.parameters,
        "adapter": FLOAT32 * trained.weights,
        "output layer": logits,
        "activations": _passing(shape, config, load.length),
    }
    return Phase(name="reference", parts=parts)


def _weights(shape: Architecture, config: Config, holders: int | None = None) -> dict[str, int]:
    """
    What the model takes on one device.

    Args:
        holders: devices that the layers of the base are split among; None: as configured.
    """
    holders = holders or (config.cluster.processes if config.cluster.splits else 1)
    a_weight = INT8_BYTES if config.model.use_8bit else NF4_BYTES
    trained = trained_weights(shape, config.model)
    parts = {
        f"base in {8 if config.model.use_8bit else 4} bits": round(
            a_weight * shape.linear_weights / holders
        ),
        "embedding and output layer": number_bytes(config) * shape.other_weights,
        "adapter": FLOAT32 * trained.lora,
    }
    if holders > 1:  # the one that is computed, and the next
        parts["layers gathered"] = round(2 * a_weight * shape.linear_weights / shape.layers)
    if trained.saved:
        parts["layers trained whole"] = FLOAT32 * trained.saved
    return parts


def _head(shape: Architecture, config: Config, load: Load, *, trained_whole: bool) -> int:
    """
    The loss at the positions that count.

    On a GPU TRL takes log-probabilities tile by tile and keeps no logits; a trained output layer
    is cast for its product, and its gradient too.
    """
    cast = 2 * number_bytes(config) * shape.embedding_weights if trained_whole else 0
    if config.cluster.gpus > 0:
        return 2 * FLOAT32 * load.rows * load.length * shape.hidden + cast
    labels = load.rows * load.answer
    return _LOGIT_GRADIENT_BYTES * labels * shape.vocabulary + cast


def _fast_head(shape: Architecture, config: Config, load: Load) -> int:
    """
    The fast layers' loss: logits of some labels, their places' values and gradients.

    An output layer that is trained is cast; its gradient stands beside that of a step's passes
    before.
    """
    width = number_bytes(config)
    found = min(_LOGITS, width * load.tokens * shape.vocabulary)
    found += 2 * width * load.tokens * shape.hidden
    if trained_weights(shape, config.model).saved:
        found += width * shape.embedding_weights
        passes = config.training.gradient_accumulation_steps
        found += FLOAT32 * shape.embedding_weights if passes > 1 else 0
    return found


def _unpacked(shape: Architecture, config: Config) -> int:
    """A layer's weights: those of most products wait unpacked for its backward pass."""
    return round(number_bytes(config) * shape.linear_weights / shape.layers)


def _copies(shape: Architecture, config: Config) -> int:
    """Of the fast layers: A and B in the compute dtype, those of products together aligned."""
    model, numbers = config.model, 0
    wanted = {name.rpartition(".")[2] for name in model.lora_target_modules}
    for group in _PRODUCTS:
        members = [item for item in shape.linears if item.name in group]
        rank = aligned(model.lora_r * sum(item.name in wanted for item in members))
        if members:
            numbers += rank * (members[0].inputs + sum(item.outputs for item in members))
    return number_bytes(config) * numbers * shape.layers


def _passing(shape: Architecture, config: Config, tokens: int) -> int:
    """Of a pass without gradients: the stream, and the widest part of one layer."""
    widest = max(3 * shape.intermediate, 4 * shape.query_size) + 2 * shape.hidden
    return number_bytes(config) * tokens * widest


def _largest(shape: Architecture) -> int:
    """Weights of the largest matrix: it is unpacked whole for its product."""
    return max(linear.weights // linear.copies for linear in shape.linears)


def _kept_from_training(found: list[Phase]) -> list[Phase]:
    """On a CPU what training freed stays with the process, in pieces too small for a model."""
    pieces = ("activations", "output layer", "fragmentation")
    kept = sum(found[0].parts[name] for name in pieces)
    return [
        phase
        if phase.name in ("training", "held-out loss")
        else Phase(name=phase.name, parts={**phase.parts, "kept from training": kept})
        for phase in found
    ]


def _with_runtime(parts: dict[str, int], *, gpu: bool) -> dict[str, int]:
    """
    The same with what the libraries take, and with memory that is lost between the pieces.

    Weights are loaded once and lie close together; what comes and goes does not.
    """
    lasting = ("base", "embedding", "adapter", "layers trained whole", "optimizer", "dense copy")
    moving = sum(count for name, count in parts.items() if not name.startswith(lasting))
    share = _GPU_WASTE if gpu else _CPU_WASTE
    runtime = _CONTEXT_BYTES if gpu else LIBRARIES_BYTES
    name = "CUDA context" if gpu else "libraries"
    return {**parts, "fragmentation": round(share * moving), name: runtime}
