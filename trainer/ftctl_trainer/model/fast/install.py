"""Gives a model of a known architecture the fast layers, for its training steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

from ftctl_trainer.model.fast.blocks import Attention, Mlp, Norm, decoder_layer, final_norm
from ftctl_trainer.model.fast.documents import documents
from ftctl_trainer.model.fast.head import label_loss
from ftctl_trainer.model.fast.main_memory import MainMemory
from ftctl_trainer.model.fast.offload import Offload
from ftctl_trainer.model.fast.projections import Projections, copy_adapters

if TYPE_CHECKING:
    from torch import Tensor

# Architectures whose layer is what blocks.py computes.
_KNOWN = frozenset({"llama", "mistral", "qwen2"})
_ATTRIBUTE = "_ftctl_fast"
# Arguments of transformers' forward that ask for what the fast layers do not have.
_ASKS_FOR_MORE = (
    "use_cache",
    "cache",
    "past_key_values",
    "output_hidden_states",
    "output_attentions",
)


class FastModel:
    """A causal language model's layers as halves; they share its weights."""

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: transformers' causal language model, with LoRA layers in place.
        Raises:
            ValueError: it is none that this is written for; the message says why.
        """
        config = model.config
        if config.model_type not in _KNOWN:
            raise ValueError(f"{config.model_type} layers are not among those it knows")
        if config.hidden_act != "silu":
            raise ValueError(f"its activation is {config.hidden_act}")
        if _slides(config):
            raise ValueError("its attention slides over the row")
        if config.attention_dropout:
            raise ValueError("its attention has dropout")
        _weight(model.get_output_embeddings())
        adapted = (layer for layer in model.modules() if hasattr(layer, "lora_A"))
        self._adapted: Any = next(adapted, None)
        self._trained = [] if self._adapted is None else list(self._adapted.active_adapters)
        self.causal, self.inner = model, model.model
        self.norm = _norm(self.inner.norm)
        self.attentions, self.mlps = [], []
        self.main_memory: MainMemory | None = None
        """Where what halves keep waits, of those that say so."""
        self.room = 0.0
        """Bytes on the device for what halves keep, where some of it waits in main memory."""
        self._stream: Any = None
        for layer in self.inner.layers:
            at, mlp = layer.self_attn, layer.mlp
            self.attentions.append(
                Attention(
                    _norm(layer.input_layernorm),
                    Projections([at.q_proj, at.k_proj, at.v_proj]),
                    Projections([at.o_proj]),
                    config.num_attention_heads,
                    config.num_key_value_heads,
                    at.scaling,
                )
            )
            self.mlps.append(
                Mlp(
                    _norm(layer.post_attention_layernorm),
                    Projections([mlp.gate_proj, mlp.up_proj]),
                    Projections([mlp.down_proj]),
                )
            )

        of_attention = [part for half in self.attentions for part in (half.qkv, half.out)]
        of_mlps = [part for half in self.mlps for part in (half.gate_up, half.down)]
        self.products: list[Projections] = of_attention + of_mlps
        """Those of all layers."""

    @property
    def head(self) -> Tensor:
        """Weight of the output layer, [V, H], or of the float32 copy of it that is trained."""
        return _weight(self.causal.get_output_embeddings())

    @property
    def dtype(self) -> torch.dtype:
        """Of the values between layers."""
        dtype: torch.dtype = self.inner.embed_tokens.weight.dtype
        return dtype

    @property
    def width_bytes(self) -> int:
        """Bytes of a value between layers."""
        return self.dtype.itemsize

    @property
    def adapters(self) -> bool | None:
        """Whether the model computes with its adapters; None: with others than are trained."""
        layer = self._adapted
        if layer is None or layer.disable_adapters:
            return layer is None
        return None if layer.merged or list(layer.active_adapters) != self._trained else True

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Leave the adapters out."""
        for products in self.products:
            products.bare = True
        try:
            yield
        finally:
            for products in self.products:
                products.bare = False

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.inner.embed_tokens.weight.device
        return device

    def _offload(self) -> Offload | None:
        if self.main_memory is None or not torch.is_grad_enabled():
            return None
        if self._stream is None and self.device.type == "cuda":
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        return Offload(self.main_memory, self.room, self._stream)

    def hidden(self, embedded: Tensor, positions: Tensor, lengths: Sequence[int]) -> Tensor:
        """
        Run all layers.

        Args:
            embedded: rows end to end, [T, H].
            positions: of every token in its row, [T].
            lengths: tokens of every row.
        Returns:
            Normed hidden values, [T, H].
        """
        rows = documents(self.inner.rotary_emb, positions, lengths)
        copy_adapters(self.products, embedded.dtype)
        x = embedded
        offload = self._offload()
        for attention, mlp in zip(self.attentions, self.mlps, strict=True):
            x = decoder_layer(x, attention, mlp, rows, offload)
        return final_norm(x, self.norm)


def install(tuned: Any, *, float8: bool = False) -> None:
    """
    Let a PEFT model's training passes go through the fast layers.

    Passes without gradients stay as they are, but for those of a model in training mode: those
    are what DPO, KTO and GRPO compare with. Generation has a cache, and stays as it is.

    Args:
        float8: the products with the frozen weights are in 8-bit floats.
    Raises:
        ValueError: the model is none that they are written for; the message says why.
    """
    model = tuned.get_base_model()
    fast = FastModel(model)
    if float8:
        for products in fast.products:
            products.use_float8()
    fast.inner.forward = partial(_forward, fast, fast.inner.forward)
    setattr(model, _ATTRIBUTE, fast)


def refuse_fast(*, shards: bool) -> None:
    """
    Return where fast layers can be used, of machines with a GPU.

    Raises:
        ValueError: why not.
    """
    if find_spec("triton") is None:
        raise ValueError("Triton is not installed")
    if shards:
        raise ValueError("the base is split among devices")


def fast_model(model: Any) -> FastModel | None:
    """The fast layers of a model that `install` has given some; the model may be wrapped."""
    inner = getattr(model, "module", model)  # of several processes, each wraps its own
    inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
    found: FastModel | None = getattr(inner, _ATTRIBUTE, None)
    return found


def fast_label_loss(model: Any, fast: FastModel, batch: Mapping[str, Any]) -> Tensor:
    """
    Sum of the negative log-likelihoods of a batch's labels, in nats; a scalar with gradient.

    Args:
        batch: rows end to end, with `label_places` [N], where labels are predicted, and `targets`.
    """
    places, targets = batch["label_places"], batch["targets"]
    with _as_head(fast, lambda x, head: label_loss(x[0, places], _weight(head), targets)):
        total: Tensor = model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            row_lengths=batch["row_lengths"],
            use_cache=False,
        ).logits
    return total


def _forward(fast: FastModel, plain: Any, *arguments: Any, **named: Any) -> Any:
    """Replaces the inner model's forward; what a training step does not ask for stays its own."""
    ids, given = named.get("input_ids"), named.get("inputs_embeds")
    if arguments or (ids is None) == (given is None):
        return plain(*arguments, **named)
    if any(named.get(name) not in (None, False) for name in _ASKS_FOR_MORE):
        return plain(**named)
    adapters = fast.adapters
    if adapters is None or not (adapters if torch.is_grad_enabled() else fast.inner.training):
        return plain(**named)
    with nullcontext() if adapters else fast.bare():
        return _pass(fast, plain, **named)


def _pass(fast: FastModel, plain: Any, **named: Any) -> Any:
    """Rows end to end through the fast layers, and each back in its place."""
    from transformers.modeling_outputs import BaseModelOutputWithPast

    ids, given = named.get("input_ids"), named.get("inputs_embeds")
    embedded = fast.inner.embed_tokens(ids) if given is None else given
    if not _computes_in(embedded):
        return plain(**named)
    batch, length, width = embedded.shape
    if named.get("row_lengths") is not None:
        x = fast.hidden(embedded[0], named["position_ids"][0], named["row_lengths"])
        return BaseModelOutputWithPast(last_hidden_state=x[None])
    mask = named.get("attention_mask")
    real = embedded.new_ones(batch, length, dtype=torch.bool) if mask is None else mask.bool()
    positions = named.get("position_ids")
    positions = real.cumsum(1) - 1 if positions is None else positions.expand(batch, length)
    x = fast.hidden(embedded[real], positions[real], real.sum(1).tolist())
    whole = embedded.new_zeros(batch, length, width)
    whole[real] = x
    return BaseModelOutputWithPast(last_hidden_state=whole)


def _computes_in(embedded: Tensor) -> bool:
    """Whether no autocast would make the products' dtype another than the residual sum's."""
    device = embedded.device.type
    if not torch.is_autocast_enabled(device):
        return True
    return torch.get_autocast_dtype(device) == embedded.dtype


@contextmanager
def _as_head(fast: FastModel, loss: Any) -> Iterator[None]:
    """
    Let the output layer give a loss instead of logits.

    The pass itself must go through the outermost module: that of several processes prepares its
    exchange of gradients in it.
    """
    head = fast.causal.get_output_embeddings()
    # Libraries that move weights about put a forward of theirs there in the same way.
    own = vars(head).get("forward")
    head.forward = lambda x: loss(x, head)
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _weight(head: Any) -> Tensor:
    """
    Of the output layer, or of the copy of it that is trained.

    Raises:
        ValueError: it is more than a matrix.
    """
    from peft.utils import ModulesToSaveWrapper

    if isinstance(head, ModulesToSaveWrapper):
        head = head.modules_to_save[head.active_adapters[0]]
    if type(head) is not torch.nn.Linear or head.bias is not None:
        raise ValueError(f"its output layer is a {type(head).__name__}")
    return head.weight


def _norm(layer: Any) -> Norm:
    if layer.weight.requires_grad:
        raise ValueError("one of its norms is trained")
    return Norm(layer.weight.detach(), layer.variance_epsilon)


def _slides(config: Any) -> bool:
    if getattr(config, "sliding_window", None) is None:
        return False
    kinds = getattr(config, "layer_types", None)
    return kinds is None or any(kind != "full_attention" for kind in kinds)
