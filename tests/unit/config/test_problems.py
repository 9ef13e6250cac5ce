from ftctl.config.problems import Problem, as_error, shown

ONE = Problem("a.yaml", "model.lora_r is 0; allowed: more", "Raise it.")
TWO = Problem(None, "x contradicts y")


def test_one_problem_is_an_error_of_its_own() -> None:
    error = as_error([ONE, ONE])
    assert (error.where, error.what, error.hint) == (ONE.where, ONE.what, ONE.hint)


def test_several_problems_are_told_at_once() -> None:
    assert str(as_error([ONE, TWO])) == (
        "2 problems in the configuration\n"
        "  a.yaml: model.lora_r is 0; allowed: more. Raise it.\n"
        "  x contradicts y"
    )


def test_values_are_shown_short_and_without_secrets() -> None:
    assert [shown(value) for value in (None, True, 3, "a")] == ["null", "true", "3", "'a'"]
    assert shown("x" * 200) == f"'{'x' * 76}..."
    assert shown("hf_" + "a1B" * 6) == "'***'"
