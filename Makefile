.PHONY: demo test check setup clean

demo: setup  ## solve a bundled problem with the bundled models
	.venv/bin/fasttts solve --demo

test: setup check  ## all checks and tests that need no GPU
	scripts/test

check: setup  ## lint, types, patches
	scripts/check

setup:  ## create .venv
	scripts/setup

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
