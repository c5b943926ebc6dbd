# Two commands to begin with: 'make demo' and 'make test'.

# Where rustup puts it, for a shell that has not heard of it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help demo test faults lint build bench deps

help:
	@echo 'make demo    one push, three hosts: twitcher at work on this machine (ARGS=--once ends by itself)'
	@echo 'make test    every test, against a real ZooKeeper'
	@echo 'make faults  servers, daemons and networks broken at random, two minutes or TWITCHER_FAULT_SECONDS'
	@echo 'make lint    formatting and lints'
	@echo 'make build   the program, optimised, as target/release/twitcher'
	@echo 'make bench   what a child, ten thousand watches and those who ask cost, beside the same without'
	@echo 'make deps    installs what the demo and the tests need: ZooKeeper, a Java runtime, git'

# Not optimised: that builds in half the time, and what the demo waits for is git and the network.
demo: deps
	cargo build --locked --bin twitcher --example demo
	@cargo run --quiet --locked --example demo -- $(ARGS)

# What breaks things at random is by itself, below: it wants the machine to itself.
test: deps
	cargo test --locked --lib --bins --test twitcher --test watch_files

faults: deps
	cargo test --locked --test faults

lint: deps
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings

build: deps
	cargo build --release --locked

bench: deps
	cargo bench --locked --bench load --bench spawn --bench watches

deps:
	@.ci/dependencies
