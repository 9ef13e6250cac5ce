"""
`python -m ftctl_trainer train|convert|wait --config FILE`.

Every process that a stage spawns imports this file again: what it needs itself waits for its turn.
"""

if __name__ == "__main__":
    from ftctl_trainer.main import end, main

    end(main())
