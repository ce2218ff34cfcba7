# Sotto's few commands. `make` alone prints them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export CARGO_TARGET_DIR ?= $(HOME)/.cache/sotto/target
# Tools that the checks need and the machine lacks are installed here once, not into the system.
export CHECK_TOOLS ?= $(HOME)/.cache/sotto/tools
export PATH := $(CHECK_TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)
# The toolchain that is there is the toolchain that is used.
export RUSTUP_AUTO_INSTALL ?= 0

# `make run` answers to these: make run ADDR=127.0.0.1:9000 DATA=/tmp/sotto
ADDR ?= 127.0.0.1:8080
DATA ?= .sotto/server
HISTORIES ?= 10000

.DEFAULT_GOAL := help
.PHONY: help run build web test lint fmt deny wasm doc sim bench clean

help: ## Print this
	@echo "Sotto: chat between peers. The commands of this repository:"
	echo
	grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' \
		| awk -F'\t' '{ printf "  make %-7s %s\n", $$1, $$2 }'
	echo
	echo "Programs are built in $$CARGO_TARGET_DIR (set CARGO_TARGET_DIR to change it)."

run: ## Build and start a server, and say where to open the app (ADDR=…, DATA=…)
	@scripts/need rust node
	echo "Building the web app, the server and the peer. The first time takes some minutes; later it is seconds."
	scripts/web
	cargo build --locked -p sotto-server -p sotto-peer-client
	exec scripts/run "$(ADDR)" "$(DATA)"

build: ## Build both programs, the server with the web app in it
	@scripts/web
	cargo build --locked -p sotto-server -p sotto-peer-client

web: ## Build the web app and the browser SDK alone
	@scripts/web

test: ## Everything: formatting, lints, licences, wasm32, all tests, in Chromium too. What CI runs
	@scripts/test

lint: ## Formatting, clippy, biome, types, licences, wasm32
	@scripts/test lint

fmt: ## Format all Rust and web code
	@cargo fmt --all
	scripts/need web
	npm --prefix web run --silent format

deny: ## Licences and sources of the dependencies
	@scripts/test deny

wasm: ## Check that the peer's core compiles for browsers
	@scripts/test wasm

doc: ## Build the API documentation of all crates
	@cargo doc --locked --workspace --no-deps
	echo "Open $$CARGO_TARGET_DIR/doc/sotto_peer_core/index.html"

sim: ## Simulate 10,000 seeded histories of peers and relay (HISTORIES=…)
	@scripts/need rust nextest
	SOTTO_SIM_HISTORIES=$(HISTORIES) cargo nextest run --locked -p sotto-tests -E 'binary(/^sim/)' --no-fail-fast

bench: ## Measure against bare SQLite, a bare WebRTC channel and, in Chromium, PeerJS
	@scripts/need rust
	scripts/bench

clean: ## Remove what `make run` kept, and what was built
	@rm -rf .sotto web/node_modules web/core/pkg web/*/dist
	cargo clean
