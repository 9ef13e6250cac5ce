"""The table of commands: written by hand so that --help imports nothing, held to the code here."""

import importlib
import inspect

import pytest
import typer

from ftctl.app import COMMANDS


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_help_line_of_a_command_is_that_of_its_code(name: str) -> None:
    target, line = COMMANDS[name]
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    text = found.info.help if isinstance(found, typer.Typer) else inspect.getdoc(found)
    assert str(text).splitlines()[0] == line
