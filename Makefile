# Two commands set everything up: `make demo` and `make test`.
# Both make or reuse .venv; a second call skips what is already there.

.PHONY: demo test test-slow lint setup setup-test clean

demo: setup
	@bash tools/demo.sh

test: setup-test
	@.venv/bin/ruff check mlip_autopipe tests benchmarks
	@.venv/bin/mypy
	@.venv/bin/codespell mlip_autopipe tests benchmarks docs README.md CHANGELOG.md
	@bash tools/run_tests.sh -m "not slow"

test-slow: setup-test
	@bash tools/run_tests.sh -m slow

setup:
	@bash tools/bootstrap.sh run

setup-test:
	@bash tools/bootstrap.sh test

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache demo
