"""
The trees of operations that llama.cpp's converter makes of tensors, with ours as the leaves.

llama.cpp's gguf-py/gguf/lazy.py keeps every value of a tree once it is there. Here a tree can be
evaluated again and again, also for the tensors before the adapter changed them, and keeps nothing.
"""

from __future__ import annotations

from collections.abc import ItemsView
from importlib import import_module
from typing import Any

import numpy as np

from ftctl_trainer.export.tensors import Array, Tensor


class Leaves:
    """A node of the converter's kind for each tensor."""

    def __init__(self, tensors: list[Tensor], lazy: Any) -> None:
        """`lazy` is the converter's LazyTorchTensor."""
        self._torch = import_module("torch")
        self._kind = _stack_aware(lazy, self._torch, self)
        self._nodes = {tensor.name: self._leaf(tensor) for tensor in tensors}
        self._tensors = {id(self._nodes[tensor.name]): tensor for tensor in tensors}
        self._stacks: dict[int, tuple[Any, Tensor]] = {}

    def items(self) -> ItemsView[str, Any]:
        """Names and nodes, in the tensors' order."""
        return self._nodes.items()

    def origin(self, node: Any) -> Tensor | None:
        """The tensor that a node stands for: one of ours, or a stack of ours."""
        if id(node) in self._stacks:
            return self._stacks[id(node)][1]
        return self._tensors.get(id(node))

    def stacked(self, node: Any, parts: list[Any]) -> None:
        """Note that a node stacks others along a new first axis."""
        tensors = [self._tensors.get(id(part)) for part in parts]
        ours = tuple(tensor for tensor in tensors if tensor is not None)
        if ours and len(ours) == len(parts):
            made = _stack(ours)
            # The node is kept, so that its id stays its own.
            self._stacks[id(node)] = (node, made)

    def any_changed(self, tree: Any) -> bool:
        """Whether an adapter changed a tensor that a tree is made of."""
        if id(tree) in self._tensors:
            return self._tensors[id(tree)].base is not None
        return any(self.any_changed(node) for node in _children(tree))

    def value(self, tree: Any, *, before: bool) -> Any:
        """Evaluate a tree; `before`: as if the adapter had changed nothing."""
        if tensor := self._tensors.get(id(tree)):
            values = tensor.base() if before and tensor.base else tensor.load()
            return self._torch.from_numpy(np.require(values, requirements=["C", "W"]))
        if isinstance(tree, list | tuple):
            return type(tree)(self.value(part, before=before) for part in tree)
        if not _is_node(tree):
            return tree
        if tree._data is not None:
            return tree._data
        with self._torch.inference_mode():
            return tree._func(*self.value(tree._args, before=before), **tree._kwargs)

    def _leaf(self, tensor: Tensor) -> Any:
        meta = self._kind.meta_with_dtype_and_shape(self._torch.float32, tensor.shape)
        return self._kind(meta=meta, args=(), func=_unexpected)


def _stack_aware(lazy: Any, torch: Any, leaves: Leaves) -> Any:
    """The converter's kind of node, that reports stacks."""

    def torch_function(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = lazy.__torch_function__.__func__(cls, func, types, args, kwargs)
        along = (kwargs or {}).get("dim", args[1] if len(args) > 1 else 0)
        if func is torch.stack and along == 0:
            leaves.stacked(made, args[0])
        return made

    return type(
        "Leaf",
        (lazy,),
        {"_tensor_type": torch.Tensor, "__torch_function__": classmethod(torch_function)},
    )


def _stack(parts: tuple[Tensor, ...]) -> Tensor:
    def load() -> Array:
        return np.stack([part.load() for part in parts])

    def base() -> Array:
        return np.stack([part.base() if part.base else part.load() for part in parts])

    changed = any(part.base for part in parts)
    shape = (len(parts), *parts[0].shape)
    return Tensor(parts[0].name, shape, load, base if changed else None, parts=parts)


def _children(tree: Any) -> list[Any]:
    if isinstance(tree, list | tuple):
        return list(tree)
    return list(tree._args) if _is_node(tree) and tree._data is None else []


def _is_node(value: Any) -> bool:
    return isinstance(value, import_module("gguf").LazyBase)


def _unexpected(*_args: object) -> None:
    raise RuntimeError("a tensor was read while the model was only described")
