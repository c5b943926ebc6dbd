# Two commands to begin with: 'make demo' and 'make test'.

# Where rustup puts it, for a shell that has not heard of it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

PROGRAM = $${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/twitcher

# Not stripped further than it was built: a backtrace has the names of functions.
DEB = cargo deb --no-build --no-strip --output target/packages/

RPM = rpmbuild -bb --quiet --define '_sourcedir $(CURDIR)' --define '_topdir $(CURDIR)/target/rpmbuild' \
	--define '_rpmdir $(CURDIR)/target/packages' \
	--define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm'

.PHONY: help demo test faults test-boot lint deny build pages deb rpm bench bench-limits deps deps-build

help:
	@echo 'make demo       one push, three hosts: twitcher at work on this machine (ARGS=--once ends by itself)'
	@echo 'make test       every test, against a real ZooKeeper'
	@echo 'make faults     servers, daemons and networks broken at random, two minutes or TWITCHER_FAULT_SECONDS'
	@echo 'make test-boot  the package on a machine of its own, booted by systemd-nspawn (as root)'
	@echo 'make lint       formatting and lints'
	@echo 'make deny       licences and sources of what is depended on'
	@echo 'make build      the program, optimised, as target/release/twitcher'
	@echo 'make deb        a Debian package, in target/packages'
	@echo 'make rpm        an RPM package, in target/packages'
	@echo 'make bench      what twitcher costs, beside what one would take instead: a table'
	@echo 'make bench-limits  what must not become slower: fails if it has'
	@echo 'make deps       installs what the demo and the tests need: ZooKeeper, a Java runtime, git'
	@echo 'make deps-build  installs what the program is built with beside a Rust toolchain: a C compiler'

# Not optimised: that builds in half the time, and what the demo waits for is git and the network.
demo: deps
	cargo build --locked --bin twitcher --example demo
	@cargo run --quiet --locked --example demo -- $(ARGS)

# What breaks things at random is by itself, below: it wants the machine to itself.
test: deps
	cargo test --locked --lib --bins --test twitcher --test watch_files

faults: deps
	cargo test --locked --test faults

# The second packages, to upgrade to, have another program: the first with a section more, which takes no build.
test-boot: deps deb rpm
	@.ci/dependencies boot
	mkdir -p target/next/release
	objcopy --add-section .twitcher.next=CHANGELOG.md $(PROGRAM) target/next/release/twitcher
	CARGO_TARGET_DIR=target/next $(DEB) --deb-revision 2
	$(RPM) --define 'program $(CURDIR)/target/next/release/twitcher' --define 'revision 2' packaging/twitcher.spec
	cargo test --locked --test boot

# The last two are in no '--all-targets': plain 'cargo test' is not to run them.
lint: deps-build
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --test faults --test boot --locked -- -D warnings

deny: deps-build
	@.ci/dependencies deny
	cargo deny --config .ci/deny.toml --log-level error check bans licenses sources

build: deps-build
	cargo build --release --locked

# Man pages and completions, beside the program in every package.
pages: deps-build
	cargo run --quiet --locked --example pages -- target/pages

deb: build pages
	@.ci/dependencies deb
	mkdir -p target/packages
	$(DEB) --deb-revision 1

rpm: build pages
	@.ci/dependencies rpm
	$(RPM) --define "program $(PROGRAM)" packaging/twitcher.spec

# What it is compared with is left out where it is not installed, and the table says so.
bench: deps
	-@.ci/dependencies bench
	PATH="$$PATH:$${XDG_CACHE_HOME:-$$HOME/.cache}/twitcher" cargo bench --locked --bench cost

bench-limits: deps
	cargo bench --locked --bench load --bench spawn

deps:
	@.ci/dependencies test

deps-build:
	@.ci/dependencies build
