# The door for people: each target is a few words here and a script in scripts/ where it takes more.
# CARGO_TARGET_DIR is obeyed; without it, build output is in ./target.

.DEFAULT_GOAL := help
.PHONY: help run test test-redis test-mcp test-openapi test-otlp test-sdks test-page agents agents-figures faults soak check lint deny fmt bench bench-gateway fuzz dist test-dist clean

# What `make run` starts; its tests put something cheaper here.
RUN = scripts/run.sh

help: ## say what there is
	@echo 'make run [PROMPT="..."]  build, fetch the default model once, print its answer'
	@echo 'make test                everything that can fail, on this machine'
	@echo 'make test-redis          shared state and replicas with a real redis-server; the program killed under load'
	@echo 'make test-mcp            the MCP server against the reference client (npm)'
	@echo 'make test-openapi        the HTTP server against its own OpenAPI document (schemathesis, pip)'
	@echo 'make test-otlp           what is exported, read by the messages and lists of OpenTelemetry itself (pip)'
	@echo 'make test-sdks           the official SDKs of Python and Node against a running server'
	@echo 'make test-page           the web page in a real browser (Chromium, Node)'
	@echo 'make agents              the genuine coding agents (npm) through the router, with nothing but a scripted upstream to talk to; PROGRAM=... for a program built already'
	@echo 'make agents-figures      what the router costs beside those agents: processor time a run, warm over cold, memory over 200 runs'
	@echo 'make faults              every fault of providers at its full length; `make test` plays them at a twentieth'
	@echo 'make soak                mixed faults for SOAK_MINUTES (30) at SOAK_RATE (200) requests a second: what leaks?'
	@echo 'make check               format, lints and tests of crates/core: no C++, for while you write'
	@echo 'make lint                format and lints of the whole workspace and its scripts'
	@echo 'make deny                licences, bans and sources of every dependency'
	@echo 'make fmt                 format the code'
	@echo 'make bench               measurements, a release build'
	@echo 'make bench-gateway       the server beside nginx; QUICK=1 for a short try-out, PROGRAM=... for a program built already'
	@echo 'make fuzz                every fuzz target for FUZZ_SECONDS (60) each'
	@echo 'make dist                one archive with its checksum in dist/'
	@echo 'make test-dist           that archive in an empty Debian (root, debootstrap)'
	@echo 'make clean               remove build output; models and answers stay in the cache folder'

# $(value) hands the prompt on as it was typed: make would read its dollar signs.
run: override export PROMPT := $(value PROMPT)
run:
	@$(RUN)

test:
	@scripts/test.sh

test-redis:
	@scripts/test-redis.sh

test-mcp:
	@scripts/test-mcp.sh

test-openapi:
	@scripts/test-openapi.sh

test-otlp:
	@scripts/test-otlp.sh

test-sdks:
	@scripts/test-sdks.sh

test-page:
	@scripts/test-page.sh

agents:
	@scripts/agents.sh

agents-figures:
	@scripts/agents.sh figures

faults: export LLM_ROUTER_FAULT_SCALE = 1
faults:
	@scripts/tools.sh
	cargo nextest run --locked -p llm-router-cli --test faults --no-capture

SOAK_MINUTES = 30
SOAK_RATE = 200
soak:
	cargo bench --locked -p llm-router-cli --bench soak -- $(SOAK_MINUTES) $(SOAK_RATE)

check:
	cargo fmt --all --check
	cargo clippy --locked -p ipfs-llm-router --all-targets --all-features -- -D warnings
	@if cargo nextest --version >/dev/null 2>&1; then \
	    cargo nextest run --locked -p ipfs-llm-router --all-features; \
	else \
	    cargo test --locked -p ipfs-llm-router --all-features --lib --tests; \
	fi

lint:
	@scripts/tools.sh
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --all-features --quiet
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	@[ -e fuzz/Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir '$(or $(CARGO_TARGET_DIR),target)' -- -D warnings
	@if command -v shellcheck >/dev/null 2>&1; then shellcheck -x scripts/*.sh tests/*/*.sh benches/*/*.sh .ci/run; else echo 'shellcheck is not here: scripts are not checked'; fi

deny:
	@scripts/deny.sh

fmt:
	cargo fmt --all

bench:
	@scripts/tools.sh
	cargo bench --locked --workspace
	cargo build --release --locked -p llm-router-cli
	@scripts/measure.sh

bench-gateway: export PROGRAM := $(PROGRAM)
bench-gateway:
	@benches/gateway/run.sh run $(if $(QUICK),--quick)

fuzz:
	@scripts/fuzz.sh

dist:
	@scripts/dist.sh

test-dist:
	@scripts/test-dist.sh

clean:
	cargo clean
	rm -rf dist
