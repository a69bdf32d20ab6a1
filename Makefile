# Everything a clean checkout needs is set up by these targets; `make` alone lists them.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz bench audit fmt

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

# The development profile: it builds in a fraction of the release profile's time, and `make test` uses its parts again.
demo: ## run everything on loopback ports and print what to try with curl
	@scripts/setup build
	$(CARGO) run --locked -- demo

test: ## format, lints, documentation, tests
	@scripts/setup build test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	$(CARGO) test --locked

fuzz: ## each fuzz target for a minute (SECONDS=n sets another time; the build takes minutes)
	@scripts/setup build fuzz
	@scripts/fuzz

bench: ## criterion benches (release profile: the build takes minutes)
	@scripts/setup build
	$(CARGO) bench --locked

audit: ## licences, bans, sources and advisories of every dependency (cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || \
		{ echo "make audit needs cargo-deny; install it with: cargo install cargo-deny --locked" >&2; exit 1; }
	$(CARGO) deny --locked check

fmt: ## format the code
	$(CARGO) fmt --all
