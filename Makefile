# build · lab · lab-down · test · interop · lint. Root is needed by the lab alone, so sudo is asked for it alone.

TARGET := $(shell uname -m)-unknown-linux-gnu
CARGO_TARGET := CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
BIN := target/lab/bin

.PHONY: build lab lab-down test interop lint

# Static, so that neither the host's libc matters nor a node's.
build:
	$(CARGO_TARGET)_RUSTFLAGS=-Ctarget-feature=+crt-static cargo build --release --target $(TARGET) --bins
	mkdir -p $(BIN)
	cd target/$(TARGET)/release && install -m 755 announcer dsr-setup lab $(CURDIR)/$(BIN)

lab: build
	$(SUDO) $(BIN)/lab up

lab-down:
	$(SUDO) $(BIN)/lab down --all

# cargo is always run as who you are; the tests of these two packages are run by sudo.
test: build
	cargo test --workspace --exclude lab --exclude e2e
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test -p lab -p e2e

# Against the routers of docs/interop.md, which it writes.
interop: build
	cargo build -p e2e --bin interop
	$(SUDO) target/debug/interop

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny check bans licenses sources
