# demo · test · e2e · soak · interop · lint · bench · bench-quick · bench-scale · fuzz · simulate · build · install · uninstall · lab · lab-down ·
# picture.
# Root is needed to install and by the lab alone; sudo is asked for it where you are not root.

TARGET := $(shell uname -m)-unknown-linux-gnu
CARGO_TARGET := CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
BIN := target/lab/bin
MANUAL := target/lab/manual

# `release` is what is installed. `quick` is the same without link-time optimisation, which takes minutes and changes nothing
# that a test sees.
PROFILE ?= release
demo picture test e2e soak interop lab: export PROFILE := quick
OUT = target/$(TARGET)/$(PROFILE)
# Static, so that neither the host's libc matters nor a node's.
CARGO_BUILD = env $(CARGO_TARGET)_RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --target $(TARGET) --profile $(PROFILE)
# What the lab's hosts run, whichever profile was built last.
TO_LAB = install -D -m 755 -t $(BIN) $(addprefix $(OUT)/,announcer dsr-setup lab)
# The packages whose tests need root.
AS_ROOT := -p lab -p demo -p e2e

# Where it is installed: programs, units and man pages below PREFIX, all of it below DESTDIR for a package.
PREFIX := /usr/local
DESTDIR :=
BUILT = $(OUT)/built
SOURCES := Cargo.toml Cargo.lock $(shell find announcer/src dsr-setup/src announcer/manual/src -name '*.rs')

.PHONY: demo demo-programs test e2e soak interop lint bench bench-quick bench-scale fuzz simulate build needs install uninstall lab lab-down picture

demo: demo-programs
	$(SUDO) $(OUT)/demo

demo-programs: needs
	@lab/demo/prepare $(CARGO_BUILD) -p announcer -p dsr-setup -p lab -p demo
	@$(TO_LAB)

# cargo is always run as who you are; the tests that need root are run by sudo.
test: build
	cargo test --workspace $(AS_ROOT:-p%=--exclude%)
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test $(AS_ROOT)

# The end-to-end tests alone. ENGINE=containerlab plays the same on real containerlab and Docker: lab/README.md.
ENGINE ?= netns

# One scenario runs the daemon as cargo builds it by default: libfaketime gets into no static program.
e2e: build
	cargo build -p announcer
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") LAB_ENGINE=$(ENGINE) \
		cargo test -p lab -p e2e --test $(ENGINE) --test topologies --test e2e

# Web servers are reloaded, upgraded, killed and activated again and again, for MINUTES under load: none may be withdrawn.
MINUTES ?= 10

soak: build
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") LAB_ENGINE=$(ENGINE) SOAK=$(MINUTES) \
		cargo test -p e2e --test e2e -- --ignored --nocapture

# Against the routers of docs/interop.md, which it writes.
interop: build
	cargo build -p interop
	$(SUDO) target/debug/interop
	cargo test -p announcer --test routers --no-run
	$(SUDO) env PATH="$$PATH" cargo test -p announcer --test routers -- --ignored --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
	cargo deny check bans licenses sources

# Against the others of tests/bench/peers, taking turns: docs/benchmarks.md is written by it, in under 50 minutes. The first run fetches
# anycast_healthchecker from PyPI. Nothing else should run meanwhile.
bench: build
	$(CARGO_BUILD) -p bench
	$(SUDO) $(OUT)/bench

# A run of each, with few services: to see that it works, in 10 minutes. Writes nothing.
bench-quick: build
	$(CARGO_BUILD) -p bench
	$(SUDO) $(OUT)/bench --quick

build: needs
	$(CARGO_BUILD) -p announcer -p dsr-setup -p lab -p manual
	$(TO_LAB)
	$(OUT)/manual $(MANUAL)
	touch $(BUILT)

needs:
	@lab/needs

# `make build` first, as the one whose target/ it is; then `sudo make install`. What is running goes on running.
install: $(BUILT)
	announcer/packaging/install --programs $(OUT) --manual $(MANUAL) "$(DESTDIR)" "$(PREFIX)"

uninstall:
	announcer/packaging/install --remove "$(DESTDIR)" "$(PREFIX)"

$(BUILT): $(SOURCES)
	@if [ -n "$$SUDO_USER" ]; then echo "make build first, as $$SUDO_USER: what is built is older than its sources" >&2; exit 1; fi
	$(MAKE) build

lab: build
	$(SUDO) $(BIN)/lab up --engine $(ENGINE)

lab-down:
	$(SUDO) $(BIN)/lab down --all

picture: demo-programs
	$(SUDO) docs/picture $(OUT)/demo docs/demo.svg

# Each decoder for TIME seconds, from the seeds beside it. cargo-fuzz runs on a stable toolchain with RUSTC_BOOTSTRAP, and
# without a sanitizer: there is next to no `unsafe` to look after, and an allocator holds the memory to its bound.
TIME ?= 60
FUZZ := wire config drain control
FUZZ_DIR := announcer/fuzz

fuzz:
	@cargo fuzz --version >/dev/null 2>&1 || { echo 'cargo-fuzz is missing, installing it (needs a C++ compiler)'; \
		cargo install --locked cargo-fuzz; }
	for target in $(FUZZ); do \
		mkdir -p $(FUZZ_DIR)/corpus/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run -O -s none --fuzz-dir $(FUZZ_DIR) $$target \
			$(FUZZ_DIR)/corpus/$$target $(FUZZ_DIR)/seeds/$$target \
			-- -max_total_time=$(TIME) -timeout=1 -max_len=8192 -print_final_stats=1 || exit 1; \
	done

# Two machines on a virtual clock. A seed that fails is printed: `make simulate SEED=n` runs it alone.
SEEDS ?= 1000000

simulate:
	$(if $(SEED),SEED=$(SEED)) SEEDS=$(SEEDS) cargo test --release -p announcer --test simulation -- --nocapture

# 5,000 VIPs to 8 peers.
bench-scale:
	cargo bench -p announcer --bench scale
