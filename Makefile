# Two commands for a newcomer: `make demo` and `make test`. Everything stays inside this folder, except
# Debian packages and, as root, the private database cluster under /var/lib/ad-survey (`make clean`).
SERVE ?= 1
# Programs that insist on a home (Chromium, Jupyter) get one inside the checkout.
RUN = env HOME="$(CURDIR)/.cache/home" XDG_CACHE_HOME="$(CURDIR)/.cache" XDG_CONFIG_HOME="$(CURDIR)/.cache/home/.config" \
      ADSURVEY_STATE_DIR="$(CURDIR)/.adsurvey"
BIN = .venv/bin

.PHONY: help demo test check format bench clean

help:
	@echo "make demo          run the main job on an invented landscape and serve the map (Ctrl-C ends)"
	@echo "make demo SERVE=0  the same, but stop after checking the endpoints"
	@echo "make test          style, types, import contracts and all tests"
	@echo "make format        rewrite the code in the project's style"
	@echo "make clean         remove everything that was made here, the private database included"

demo:
	@.ci/install run
	@mkdir -p .cache/home
	@$(RUN) $(BIN)/python -m sample_tiles.demo --folder rounds/demo $(if $(filter 0,$(SERVE)),--no-serve)

# The same examples every time: a gate must not depend on luck. Plain pytest explores others.
test: check
	@$(RUN) $(BIN)/python -m pytest -n 2 --dist loadgroup --basetemp=.cache/pytest \
		--hypothesis-profile=ci $(PYTEST)

check:
	@.ci/install dev
	@mkdir -p .cache/home
	@$(RUN) $(BIN)/ruff check .
	@$(RUN) $(BIN)/ruff format --check --quiet .
	@$(RUN) $(BIN)/mypy

format:
	@.ci/install dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	@if [ -x $(BIN)/adsurvey ]; then $(RUN) $(BIN)/adsurvey database remove; fi
	rm -rf .venv .cache .adsurvey rounds/demo .ruff_cache .mypy_cache .pytest_cache .import_linter_cache .hypothesis .coverage* dist tests/engine/node_modules
	@rmdir rounds 2>/dev/null || true
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
