# make is CI: what passes here passes there. `make help` lists the targets.

GOVULNCHECK   = go run golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOLANGCI_LINT = go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

ADDR ?= :3001
DATA ?= ./data
# For `make bench`: which benchmarks, and for how long each.
BENCH     ?= .
BENCHTIME ?= 1s
# For `make fuzz`: how long each target.
FUZZTIME ?= 10s

# For `make chaos`: how long faults are made; SEED=n makes those of another run.
DURATION ?= 5m
SEED     ?=

# The race detector needs a C compiler; CI has one.
RACE ?= $(if $(shell command -v $$(go env CC)),-race)

.PHONY: help run build test chromium lint fmt vuln bench fuzz chaos

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile

run: build ## one node with demo shops on http://localhost:3001, data in ./data
	./bin/bms serve --dev --demo --addr $(ADDR) --data $(DATA)

build: ## the binary, in bin/bms
	CGO_ENABLED=0 go build -trimpath -o bin/bms ./cmd/bms

test: cmd/bms/e2e/node_modules/.package-lock.json chromium ## every test with the race detector, real JavaScript clients and a browser included
	go test $(RACE) -timeout 15m ./...

# The client libraries of the end-to-end tests, as the lock file has them.
cmd/bms/e2e/node_modules/.package-lock.json: cmd/bms/e2e/package.json cmd/bms/e2e/package-lock.json
	@command -v npm >/dev/null || { echo "make test needs Node and npm: the clients it tests with are JavaScript" >&2; exit 1; }
	cd cmd/bms/e2e && npm ci --no-audit --no-fund

# The browser of the end-to-end tests: Debian's package, where it is missing.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
			DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
		{ echo "make test needs a browser: install Chromium (on Debian: apt-get install chromium), or run it as root there" >&2; exit 1; }

lint: ## golangci-lint as .golangci.yml has it
	$(GOLANGCI_LINT) run ./...

fmt: ## gofumpt and goimports
	$(GOLANGCI_LINT) fmt ./...

vuln: ## known vulnerabilities in what is called; asks https://vuln.go.dev
	$(GOVULNCHECK) ./...

bench: cmd/bms/e2e/node_modules/.package-lock.json ## every benchmark; BENCH=regexp BENCHTIME=1s
	go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -timeout 60m ./...

fuzz: ## every fuzz target for FUZZTIME (10s)
	@set -e; for f in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
			echo "== $$(dirname $$f) $$t"; \
			go test -run '^$$' -fuzz "^$$t$$" -fuzztime $(FUZZTIME) $$(dirname $$f); \
		done; done

chaos: ## kill a node, its disk and its network for DURATION (5m), check what came of it; SEED=n
	CHAOS_DURATION=$(DURATION) CHAOS_SEED=$(SEED) go test -count=1 -v -timeout 0 -run TestChaos ./cmd/bms/chaos
