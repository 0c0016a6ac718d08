# demo · test · e2e · outlive · chain · soak · bfd-soak · keepers · interop · vm · page · lint · bench · bench-quick · bench-drain · bench-death ·
# deb · rpm · dist · container · sbom · packages-test · bench-scale · bench-probes · fuzz · simulate · build · runner · image · install · uninstall · lab · lab-down · picture.
# Only the installation and the lab need root. If you are not root, the Makefile calls sudo for them.

HOST := $(shell uname -m)-unknown-linux-gnu
TARGET := $(HOST)
CARGO_TARGET := CARGO_TARGET_$(shell echo $(TARGET) | tr a-z- A-Z_)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
BIN := target/lab/bin
MANUAL := target/lab/manual

# `release` is the profile of the installed programs. `quick` is the same without link-time optimisation, which takes minutes
# and makes no difference to the tests.
PROFILE ?= release
demo picture test e2e outlive chain chain-soak soak bfd-soak keepers interop vm lab runner image: export PROFILE := quick
OUT = target/$(TARGET)/$(PROFILE)
# The programs are static, so that they need neither the host's libc nor a node's. They relocate themselves, with glibc's code.
# If it is 2.36 or newer, it can read packed relocations. They are a seventieth as long, and a start reads all of them.
GLIBC := $(lastword $(shell getconf GNU_LIBC_VERSION 2>/dev/null))
PACKED := $(if $(GLIBC),$(shell printf '%s\n' 2.36 $(GLIBC) | sort -C -V && echo ' -Clink-arg=-Wl,-z,pack-relative-relocs'))
# For another architecture, with Debian's cross compiler.
CROSS = $(if $(filter-out $(HOST),$(TARGET)),$(CARGO_TARGET)_LINKER=$(firstword $(subst -, ,$(TARGET)))-linux-gnu-gcc)
CARGO_BUILD = env $(CROSS) $(CARGO_TARGET)_RUSTFLAGS="-Ctarget-feature=+crt-static$(PACKED)" cargo build --target $(TARGET) --profile $(PROFILE)
# The programs that the lab's hosts run. They are from the profile that was built last.
TO_LAB = install -D -m 755 -t $(BIN) $(addprefix $(OUT)/,announcer dsr-setup lab)
# The packages whose tests need root: tests/as-root runs them.
AS_ROOT := lab demo announcer-lab e2e

# Programs, units and man pages are installed below PREFIX. For a package, everything is installed below DESTDIR.
PREFIX := /usr/local
DESTDIR :=
BUILT = $(OUT)/built
SOURCES := Cargo.toml Cargo.lock $(shell find announcer/src announcer/import/src dsr-setup/src dsr-setup/netlink-dump/src dsr-setup/output/src announcer/manual/src announcer/router-config/src -name '*.rs')

.PHONY: demo demo-programs test e2e outlive chain soak bfd-soak keepers interop vm page page-pictures lint bench bench-quick bench-drain bench-death bench-scale bench-probes fuzz simulate build runner image needs install uninstall lab lab-down picture stage cross-build deb rpm dist container sbom packages-test

demo: demo-programs
	$(SUDO) $(OUT)/demo

demo-programs: needs
	@lab/demo/prepare $(CARGO_BUILD) -p announcer -p dsr-setup -p lab -p demo
	@$(TO_LAB)

# cargo always runs as your own user. sudo runs the tests that need root. It is one run of cargo: for other packages it would choose other
# features of the libraries, and build these and the daemon again.
test: build
	$(if $(SUDO),AS_ROOT="$(AS_ROOT)" $(CARGO_TARGET)_RUNNER="$(CURDIR)/tests/as-root") cargo test --workspace

# Runs only the end-to-end tests. ENGINE=containerlab runs the same tests with containerlab and Docker: lab/README.md. ONE=crash
# runs only the scenarios with that word in their names.
ENGINE ?= netns
ONE ?=

# One scenario runs the daemon as cargo builds it by default, because libfaketime cannot be loaded into a static program.
e2e: build $(if $(filter containerlab,$(ENGINE)),image)
	cargo build -p announcer
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") LAB_ENGINE=$(ENGINE) \
		cargo test $(if $(ONE),-p e2e --test e2e -- $(ONE),-p lab -p e2e --test $(ENGINE) --test topologies --test e2e)

# Upgrades and kills the daemon under a real systemd, ROUNDS times each, beside FRR and BIRD and under 2,000 requests a second: no router
# may notice it. It prints figures.
outlive: build
	cargo test -p e2e --test outlive --no-run
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test -p e2e --test outlive -- --ignored --nocapture

# Counts which connections break when frontends leave, join, stop, crash or lose their power: 4 and 8 frontends, in one LAN and over
# routed links with a VXLAN, IPv4 and IPv6, 1,000 long-lived connections and 2,000 new ones a second. It prints tables.
# ONE=routed_links_with_4 plays only the scenarios with that word in their names; without it, two daemons also look for a packet filter
# between them, which takes 90 s.
chain: build
	cargo test -p e2e --test chain --no-run
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test -p e2e --test chain -- --ignored --nocapture $(or $(ONE),every_change)
	$(if $(ONE),,$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test -p announcer --test chain_firewall -- --ignored)

# Counts the members of the chain that are lost on a busy host: 4 frontends under load, stress-ng on every processor, for MINUTES in one
# LAN and as long over routed links with a VXLAN. The figures are those of the daemons. Needs stress-ng on this host.
chain-soak: MINUTES ?= 10
chain-soak: build
	cargo test -p e2e --test chain --no-run
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") MINUTES=$(MINUTES) cargo test -p e2e --test chain -- --ignored --nocapture busy_

# Reloads, upgrades, kills and activates web servers repeatedly, for MINUTES under load. No VIP may be withdrawn.
soak: MINUTES ?= 10
soak: build
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") LAB_ENGINE=$(ENGINE) SOAK=$(MINUTES) \
		cargo test -p e2e --test e2e -- --ignored --nocapture

# Counts the false alarms of BFD on a busy host: 5,000 VIPs, 100 reloads in MINUTES, stress-ng on every processor, FRR and BIRD with
# 100 ms x 3; then without real-time scheduling for a sixth of the time. Needs frr, bird2, tcpdump and stress-ng on this host.
bfd-soak: MINUTES ?= 30
bfd-soak: build
	cargo test -p e2e --test bfd_soak --no-run
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") MINUTES=$(MINUTES) cargo test -p e2e --test bfd_soak -- --ignored --nocapture

# Tries the daemon and `dsr-setup watch` with every program that configures addresses: networkd, NetworkManager, netplan, ifupdown and ip,
# on a Debian with systemd. It prints how long each VIP was away. Then it lets the daemon find a full table of connections.
keepers: build
	cargo test -p e2e --test keepers --no-run
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test -p e2e --test keepers -- --ignored --nocapture
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test -p announcer --test host -- --ignored

# Runs announcer with the routers of docs/interop.md, and writes that page. It also compares the routes of a router before and after
# `announcer import exabgp`: docs/migrate.md. Then it replaces and kills the daemon beside FRR and BIRD, and has unnumbered sessions with
# them. At last it counts the connections that FRR and BIRD give to frontends with weights, and those that a change of a weight breaks.
interop: build
	cargo build -p interop
	$(SUDO) target/debug/interop
	cargo test -p announcer --test routers --test migrate --test takeover_routers --test unnumbered --test weights --no-run
	$(SUDO) env PATH="$$PATH" cargo test -p announcer --test routers --test migrate -- --ignored --nocapture
	$(SUDO) env PATH="$$PATH" cargo test -p announcer --test takeover_routers --test unnumbered -- --ignored --nocapture --test-threads 2
	$(SUDO) env PATH="$$PATH" cargo test -p announcer --test weights -- --ignored --nocapture --test-threads 1

# Runs the scripts of tests/vm/run.d, or of SCRIPTS, in a virtual machine with Debian's kernel: tests/vm/run explains it. It is for
# what needs another kernel than this host's, such as AppArmor. CONTAINERLAB=FILE gives it a containerlab program.
vm: build
	$(SUDO) env PATH="$$PATH" CONTAINERLAB="$(CONTAINERLAB)" tests/vm/run $(SCRIPTS)

# The tests of the status page with Chromium, which `make test` prints as skipped if there is none. `make page-pictures` writes the
# pictures in docs/.
page page-pictures:
	@command -v chromium >/dev/null || { echo 'make page: chromium is missing; on Debian: apt-get install chromium' >&2; exit 1; }
	cargo test -p announcer --test page --no-run
	$(SUDO) env PATH="$$PATH" cargo test -p announcer --test page -- $(if $(filter page-pictures,$@),--ignored pictures,--nocapture)

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --document-private-items
	cargo deny check bans licenses sources

# Compares announcer with the programs of tests/bench/peers, in turns, and writes docs/benchmarks.md in an hour and a half. The
# first run downloads anycast_healthchecker from PyPI. Nothing else should run on the machine during this time.
bench: build
	$(CARGO_BUILD) -p bench
	$(SUDO) $(OUT)/bench

# Runs each program once, with few services, to see that the benchmark works. It takes 10 minutes and writes no page.
bench-quick: build
	$(CARGO_BUILD) -p bench
	$(SUDO) $(OUT)/bench --quick

# Drains a frontend under long requests, three times, in turns with ExaBGP, in four minutes. docs/operations.md has the figures.
bench-drain: build
	$(CARGO_BUILD) -p bench
	$(SUDO) $(OUT)/bench --long-requests 3

# A host dies, with BFD and without, ten times with FRR and with BIRD as routers, in a quarter of an hour. It writes that section of
# docs/benchmarks.md alone. TIMES=1 is a try.
TIMES ?= 10

bench-death: build
	$(CARGO_BUILD) -p bench
	$(SUDO) $(OUT)/bench --host-death $(TIMES)

# Plain ECMP and the chain in turns, with four frontends in one LAN: flows that break, cost, and a flood of bogus ACKs. A turn takes a
# minute and a half. It writes that section of docs/benchmarks.md alone.
bench-chain: build
	$(CARGO_BUILD) -p bench
	$(SUDO) $(OUT)/bench --chain $(TIMES)

build: needs
	$(CARGO_BUILD) -p announcer -p dsr-setup -p lab -p manual
	$(TO_LAB)
	$(OUT)/manual $(MANUAL)
	touch $(BUILT)

# The program that plays failures against your own files: lab/README.md.
runner: build
	$(CARGO_BUILD) -p announcer-lab
	install -D -m 755 -t $(BIN) $(OUT)/announcer-lab

# The lab's image for Docker, with the version in Cargo.toml: the nodes of every topology, and the scenarios, which need no Rust there.
# IMAGE: another name.
IMAGE :=

image: runner
	e2e=$$($(subst cargo build,cargo test,$(CARGO_BUILD)) -p e2e --test e2e --no-run --message-format=json | \
		sed -n 's|.*"executable":"\([^"]*/e2e-[0-9a-f]*\)".*|\1|p') && install -s -m 755 "$$e2e" $(BIN)/e2e
	$(SUDO) lab/images/build $(IMAGE)

needs:
	@lab/needs

# Run `make build` first, as the owner of target/, then `sudo make install`. Running programs continue to run.
install: $(BUILT)
	announcer/packaging/install --programs $(OUT) --manual $(MANUAL) "$(DESTDIR)" "$(PREFIX)"

# What the packages, the archive and the container image hold: the installation below /usr, with the licences of the libraries.
# The results are in target/package.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PACKAGE := target/package
# have NAME: a program of cargo, which is installed if it is missing.
have = command -v $(1) >/dev/null || { echo '$(1) is missing, installing it'; cargo install --quiet --locked $(1) $(2); }

stage: $(if $(CROSS),cross-build,build)
	@$(call have,cargo-about,--features cli)
	rm -rf $(PACKAGE)/tree && mkdir -p $(PACKAGE)/tree
	cargo about generate --locked --config announcer/packaging/about.toml --manifest-path announcer/Cargo.toml \
		--output-file $(PACKAGE)/THIRD-PARTY-LICENCES announcer/packaging/about.hbs
	announcer/packaging/install --programs $(OUT) --manual $(MANUAL) --licences $(PACKAGE)/THIRD-PARTY-LICENCES $(PACKAGE)/tree /usr

cross-build: needs
	$(CARGO_BUILD) -p announcer -p dsr-setup
	cargo run --quiet -p manual -- $(MANUAL)

# REVISION is the number after the version in the packages' names.
REVISION ?= 1

deb: stage
	@$(call have,cargo-deb)
	cargo deb --quiet --no-build --no-strip --package announcer --target $(TARGET) --deb-revision $(REVISION) --output $(PACKAGE)/

rpm: stage
	@$(call have,cargo-generate-rpm)
	cargo generate-rpm --package announcer --target $(TARGET) --set-metadata 'release = "$(REVISION)"' --output $(PACKAGE)/

# The static programs with everything that `make install` needs, for hosts without packages. TARGET=aarch64-unknown-linux-gnu makes
# the one for ARM64, with gcc-aarch64-linux-gnu and `rustup target add`.
dist: stage
	announcer/packaging/archive $(PACKAGE) announcer-$(VERSION)-$(firstword $(subst -, ,$(TARGET)))-linux $(OUT) $(MANUAL)

# The daemon's own image: the two programs and nothing else. docs/operations.md says how it is run.
container: stage
	announcer/packaging/image/build $(PACKAGE)/tree/usr/bin announcer:$(VERSION)

# The libraries of the programs, for scanners.
sbom:
	@$(call have,cargo-cyclonedx)
	announcer/packaging/sbom $(PACKAGE)/announcer-$(VERSION).cdx.json

# Installs, upgrades and removes the package on a Debian with only systemd and nginx, which peers with a host that runs FRR.
packages-test: deb
	$(MAKE) deb REVISION=2
	cargo test -p e2e --test packages --no-run
	$(if $(SUDO),$(CARGO_TARGET)_RUNNER="$(SUDO) -E") cargo test -p e2e --test packages -- --ignored --nocapture

uninstall:
	announcer/packaging/install --remove "$(DESTDIR)" "$(PREFIX)"

$(BUILT): $(SOURCES)
	@if [ -n "$$SUDO_USER" ]; then echo "make build first, as $$SUDO_USER: what is built is older than its sources" >&2; exit 1; fi
	$(MAKE) build

lab: build
	$(SUDO) $(BIN)/lab up --engine $(ENGINE)

lab-down:
	$(SUDO) $(BIN)/lab down --below lab

picture: demo-programs
	$(SUDO) docs/picture $(OUT)/demo docs/demo.svg

# Runs each fuzz target for TIME seconds, from its own seeds. cargo-fuzz runs on a stable toolchain with RUSTC_BOOTSTRAP, and
# without a sanitizer: there is very little `unsafe` code, and an allocator limits the memory.
TIME ?= 60
FUZZ := wire bfd chain answers state config drain control discovery
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

# Simulates two BGP state machines, and then a ring of up to 32 hosts, on a virtual clock. It prints each seed that fails;
# `make simulate SIMULATION=chain_ring SEED=n` runs only that seed of one of them, and THREADS=1 uses one processor.
SIMULATION ?= simulation chain_ring
SEEDS ?= 1000000

simulate:
	$(if $(SEED),SEED=$(SEED)) SEEDS=$(SEEDS) cargo test --profile simulation -p announcer $(SIMULATION:%=--test %) -- --nocapture

# 5,000 VIPs to 8 peers, and as root a start with 3,000 VIPs that are not on lo.
bench-scale:
	cargo bench -p announcer --bench scale

# What probes of 100 and 1,000 services cost, over HTTP and HTTPS, with `reuse` and without: in turns, in a quarter of an hour. It
# writes that section of docs/benchmarks.md alone. Nothing else should run on the machine during this time.
bench-probes:
	cargo bench -p announcer --bench probes --no-run
	$(SUDO) env PATH="$$PATH" cargo bench -p announcer --bench probes -- 3 page
