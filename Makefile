# build · lab · lab-down · test · lint · fuzz · simulate · bench-scale. Only the lab needs root: sudo is asked for it alone.

TARGET := $(shell uname -m)-unknown-linux-gnu
BIN := target/lab/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Static, so that the libc of the host and that of a node do not matter.
STATIC := CARGO_TARGET_$(shell echo $(TARGET) | tr 'a-z-' 'A-Z_')_RUSTFLAGS=-Ctarget-feature=+crt-static

.PHONY: build lab lab-down test lint fuzz simulate bench-scale

build:
	$(STATIC) cargo build --release --target $(TARGET) --bins
	mkdir -p $(BIN)
	for program in announcer dsr-setup lab; do \
		install -m 755 target/$(TARGET)/release/$$program $(BIN)/$$program || exit 1; \
	done

lab: build
	$(SUDO) $(BIN)/lab up

lab-down:
	$(SUDO) $(BIN)/lab down --all

test: build
	cargo test --workspace --no-run
	$(SUDO) env "PATH=$$PATH" "HOME=$$HOME" cargo test --workspace

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny check bans licenses sources

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
