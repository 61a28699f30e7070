.PHONY: demo test check setup clean

demo: setup  ## solve a bundled problem with the bundled models
	.venv/bin/fasttts solve --demo

test: setup check  ## all checks and tests that need no GPU
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile

check: setup  ## lint, types, patches
	scripts/check

setup:  ## create .venv
	scripts/setup

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
