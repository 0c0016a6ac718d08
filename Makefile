# demo · build · lab · lab-down · test · lint · picture. Only the lab needs root: sudo is asked for it alone.

TARGET := $(shell uname -m)-unknown-linux-gnu
BIN := target/lab/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# Static, so that the libc of the host and that of a node do not matter.
STATIC := CARGO_TARGET_$(shell echo $(TARGET) | tr 'a-z-' 'A-Z_')_RUSTFLAGS=-Ctarget-feature=+crt-static
RELEASE := $(STATIC) cargo build --release --target $(TARGET)

.PHONY: demo build needs lab lab-down test lint picture

demo: build
	$(RELEASE) --bin demo
	$(SUDO) target/$(TARGET)/release/demo

build: needs
	$(RELEASE) --bin announcer --bin dsr-setup --bin lab
	mkdir -p $(BIN)
	for program in announcer dsr-setup lab; do \
		install -m 755 target/$(TARGET)/release/$$program $(BIN)/$$program || exit 1; \
	done

needs:
	@lab/needs

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

picture: build
	$(RELEASE) --bin demo
	$(SUDO) docs/picture target/$(TARGET)/release/demo docs/demo.svg
