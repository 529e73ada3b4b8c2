# `make` lists the targets. What a target needs beyond git, make and Go it brings
# itself, below .tools/ and bin/; nothing of the system is changed.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

GO      ?= go
TOOLS   := $(CURDIR)/.tools
LINT    := $(TOOLS)/bin/golangci-lint
BENCHSTAT := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# Knobs, all to be set on the command line.
PG    ?=
SEEDS ?= 2000
FIRST ?= 1
EXECS ?= 200000
RUN   ?=
COUNT ?= 6
TIME  ?= 1h
BENCH ?=
CLUSTER_FLAGS ?=

export PG
# A clone that git calls dubious must build, too; the version comes from above.
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false

UNIT  = $$($(GO) list ./... | grep -v '/test/')
# The race detector needs a C compiler; without one the assertions alone are on.
RACE := $(if $(shell command -v $${CC:-gcc} || command -v clang),-race,-tags invariants)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PG=14..18 picks a major of PostgreSQL; make test PG=17, make up PG=17"

## Using it

.PHONY: build
build: check-go ## Build the programs into bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X github.com/walhaven/walhaven/internal/daemon.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: up
up: build ## Start PostgreSQL, three safekeepers, a pageserver and a walproposer on loopback
	bin/walhaven up --detach $(CLUSTER_FLAGS)

.PHONY: down
down: build ## Stop what `make up` started
	bin/walhaven down $(CLUSTER_FLAGS)

## Testing it

.PHONY: test
test: check-go tools build lint test-unit test-plain test-sim test-system fuzz-short ## Set up what is needed, then all that CI runs
	@echo "make test: all passed"

.PHONY: test-fast
test-fast: check-go ## Tests that need only Go
	WALHAVEN_TEST_FAST=1 $(GO) test -short $(UNIT)

.PHONY: test-race
test-race: check-go ## All packages' tests with the race detector
	$(GO) test -race -timeout 20m ./...

.PHONY: test-invariants
test-invariants: check-go ## All packages' tests with assertions and fail points
	$(GO) test -tags invariants -timeout 20m ./...

.PHONY: test-pg
test-pg: check-go ## Tests with a PostgreSQL, against each of 14 to 18
	for major in 14 15 16 17 18; do \
	  echo "== PostgreSQL $$major"; \
	  $(GO) run ./compute/fetchpg -majors $$major; \
	  PG=$$major WALHAVEN_TEST_NEED_PG=1 $(GO) test -count=1 -timeout 20m ./compute/... ./walproposer/... ./safekeeper/... ./test/interop/... ./test/e2e/...; \
	done

.PHONY: test-long
test-long: check-go tools ## What takes hours: many seeds, long fuzzing, each major, each mutant
	$(MAKE) sim SEEDS=1000000
	$(GO) test -count=1 -timeout 2h ./replication/consensus -v -run '^TestExplore' -args -explore 2
	$(GO) test -race -count=5 -timeout 2h ./...
	WALHAVEN_SOAK_BYTES=1000000000 $(GO) test -count=1 -v -run Soak ./shmqueue
	$(GO) run ./compute/fetchpg -majors 14,15,16,17,18
	scripts/pgheaders.sh $(TOOLS)/pgheaders 15
	for major in 15 18; do PG=$$major $(GO) test -count=1 -v -run TestCustomResourceManagerOracle ./ingest; done
	WALHAVEN_ORACLE_MAJORS=all WALHAVEN_ORACLE_LSNS=20 $(GO) test -count=1 -v -timeout 2h -run 'TestOracle$$' ./ingest
	WALHAVEN_ORACLE_MAJORS=all WALHAVEN_ORACLE_CHECKSUMS=off WALHAVEN_ORACLE_SETTINGS='full_page_writes=off wal_log_hints=off' \
	  $(GO) test -count=1 -v -timeout 2h -run 'TestOracle$$' ./ingest
	WALHAVEN_ORACLE_MAJORS=all WALHAVEN_ORACLE_SQL=kinds WALHAVEN_ORACLE_LSNS=10 $(GO) test -count=1 -v -timeout 2h -run 'TestOracle$$' ./ingest
	WALHAVEN_ORACLE_MAJORS=all $(GO) test -count=1 -v -timeout 2h -run 'TestOracle$$' ./redo
	WALHAVEN_ORACLE_MAJORS=all WALHAVEN_ORACLE_SQL=kinds $(GO) test -count=1 -v -timeout 2h -run 'TestOracle$$' ./redo
	for major in 14 15 16 17 18; do \
	  $(GO) run ./compute/fetchpg -majors $$major; \
	  PG=$$major WALHAVEN_TEST_NEED_PG=1 WALHAVEN_SURVIVE_ROUNDS=60 WALHAVEN_ORACLE_LSNS=20 WALHAVEN_IMPORT_ROUNDS=20 \
	    $(GO) test -count=1 -v -timeout 3h -run 'TestPagesSurvive|TestImportSurvivesKills' ./test/e2e; \
	done
	$(MAKE) fuzz EXECS=2000000
	WALHAVEN_TEST_LONG=1 $(GO) test -count=1 -v -p 1 -timeout 2h ./walproposer ./test/e2e ./test/failpoints
	$(MAKE) chaos
	scripts/patroni.sh $(TOOLS)/patroni
	if [ -x $(TOOLS)/patroni/bin/patroni ]; then WALHAVEN_PATRONI=$(TOOLS)/patroni/bin $(GO) test -count=1 -v -run TestPatroniFailsOver ./test/interop; fi
	WALHAVEN_TEST_IN_PROCESS=true $(GO) test -count=1 -p 1 -timeout 2h ./walproposer ./test/e2e
	$(MAKE) test-pg
	$(MAKE) mutants

.PHONY: mutants
mutants: check-go pg ## Remove each protection in turn and show the test that then fails (RUN=pattern)
	$(GO) run ./test/mutants $(if $(RUN),-run '$(RUN)')

# A line a fault, and at the end how many there were of each kind and how many commits were
# checked. WALHAVEN_TEST_EARLY_PUSH=true has the walproposer push early, WALHAVEN_CHAOS_SEED
# repeats the faults of a run.
.PHONY: chaos
chaos: check-go pg ## Break machines, processes and links under clients (TIME=1h)
	WALHAVEN_CHAOS_TIME=$(TIME) WALHAVEN_TEST_NEED_PG=1 $(GO) test -count=1 -v -timeout 24h -run 'TestChaos$$' ./test/chaos

# On every core. Of two cores, a million takes half an hour or more, the quarter million besides
# in which operators change the membership 10 minutes, and the ten and five thousand on the real
# log 20. FIRST goes on where a run was stopped.
.PHONY: sim
sim: export GOGC = 400
sim: check-go ## Simulated schedules of the consensus (SEEDS=n FIRST=seed)
	$(GO) test -count=1 -timeout 12h -v -run 'Schedules$$' ./test/sim -args -first $(FIRST) -seeds $(SEEDS) -member-seeds $$(($(SEEDS) / 4)) -budget 11h
	$(GO) test -count=1 -timeout 12h -v -run 'OnStore$$' ./test/sim -args -first $(FIRST) -stores $$(($(SEEDS) / 100 + 1)) -budget 11h

.PHONY: fuzz
fuzz: check-go ## Fuzz each target (EXECS=200000 inputs each, RUN=pattern)
	scripts/fuzz.sh $(EXECS) 0 '$(RUN)'

.PHONY: bench
bench: bench-commits bench-keepers bench-pages ## Commits, safekeepers and pages, each beside what one would have instead

.PHONY: bench-commits
bench-commits: build pg ## Commits alone (BENCH="-rounds 3 -time 20s")
	$(GO) run ./bench/commits $(BENCH)

.PHONY: bench-keepers
bench-keepers: build pg fio ## One safekeeper alone: push, receive, waldump, timelines (BENCH="-rounds 3 -wal 512")
	$(GO) run ./bench/keepers -fio $(TOOLS)/bin/fio $(BENCH)

.PHONY: bench-pages
bench-pages: build pg ## Ingest, redo and page requests alone (BENCH="-rounds 3 -wal 1024")
	$(GO) run ./bench/pages $(BENCH)

.PHONY: bench-go
bench-go: check-go ## Benchmarks of single functions with benchstat (COUNT=6, RUN=pattern)
	@mkdir -p $(TOOLS)
	$(GO) test -run '^$$' -bench '$(or $(RUN),.)' -benchmem -count $(COUNT) ./... | tee $(TOOLS)/bench.txt
	$(GO) run $(BENCHSTAT) $(TOOLS)/bench.txt

.PHONY: lint
lint: check-go $(LINT) ## go vet and golangci-lint, as .golangci.yml says
	$(GO) vet ./...
	$(LINT) run ./...

# The parts of `make test`.
.PHONY: test-unit test-plain test-sim test-system fuzz-short
test-unit: check-go pg
	WALHAVEN_TEST_NEED_PG=1 $(GO) test $(RACE) -parallel 4 -timeout 20m $(UNIT)
# Again as a release build is, assertions and fail points compiled out: the
# packages that have some, and those that count allocations. The others are the
# same with and without.
test-plain: check-go pg
	WALHAVEN_TEST_NEED_PG=1 $(GO) test -short -parallel 4 -timeout 10m $$($(GO) list -f '{{range .Imports}}{{$$.ImportPath}} {{.}}{{"\n"}}{{end}}{{range .TestImports}}{{$$.ImportPath}} {{.}}{{"\n"}}{{end}}{{range .XTestImports}}{{$$.ImportPath}} {{.}}{{"\n"}}{{end}}' ./... | sed -nE 's, github.com/walhaven/walhaven/internal/(invariant|alloctest)$$,,p' | sort -u | grep -v '/test/')
test-sim: check-go
	$(GO) test -count=1 -timeout 10m ./test/sim -v -run . -args -seeds $(SEEDS) | grep -v '^=== '
	$(GO) test -count=1 -timeout 10m ./replication/consensus -v -run '^TestExplore' -args -explore 1 | grep -v '^=== '
test-system: build pg promtool
	@mkdir -p $(TOOLS) && rm -f $(TOOLS)/failpoints.txt
	FAILPOINTS_REPORT=$(TOOLS)/failpoints.txt PROMTOOL=$(TOOLS)/bin/promtool WALHAVEN_TEST_NEED_PG=1 $(GO) test -count=1 -p 1 -timeout 20m $$($(GO) list ./test/... | grep -v /test/sim)
	@cat $(TOOLS)/failpoints.txt
fuzz-short: check-go
	scripts/fuzz.sh 20000 240

## Keeping it

.PHONY: tools
tools: check-go pg promtool $(LINT) ## Bring all that tests need: PostgreSQL, linter, promtool

.PHONY: pg
pg: check-go # A PostgreSQL, unless there is one.
	@$(GO) run ./compute/fetchpg -majors '$(PG)' >/dev/null

.PHONY: fio
fio: # What bench/keepers puts beside a safekeeper's disk, where Debian's package can be had.
	@scripts/fio.sh $(TOOLS)/bin/fio

.PHONY: promtool
promtool: # Prometheus's checker of metrics, where Debian's package can be had.
	@scripts/promtool.sh $(TOOLS)/bin/promtool

$(TOOLS)/bin/%: tools/go.mod tools/go.sum
	@mkdir -p $(@D)
	@echo "building $* (once, a minute or two)"
	cd tools && GOBIN=$(@D) $(GO) install -trimpath $$($(GO) list -f '{{.ImportPath}}' tool | grep '/$*$$')
	@touch $@

.PHONY: format
format: check-go $(LINT) ## gofumpt and import order
	$(LINT) fmt ./...

.PHONY: generate
generate: check-go ## go generate, and say whether it changed anything
	$(GO) generate ./...
	@git status --short

.PHONY: docs
docs: check-go ## Check that the documentation names what there is
	$(GO) test -count=1 ./internal/archtest ./cmd/walhaven

.PHONY: release
release: check-go ## Archives of static programs for linux/amd64 and linux/arm64 in dist/
	@rm -rf dist && mkdir -p dist
	for arch in amd64 arm64; do \
	  dir=dist/walhaven-$(VERSION)-linux-$$arch; mkdir -p $$dir; \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '-s -w -X github.com/walhaven/walhaven/internal/daemon.version=$(VERSION)' -o $$dir/ ./cmd/...; \
	  cp README.md CHANGELOG.md $$dir/; \
	  tar -C dist -czf $$dir.tar.gz $${dir#dist/}; rm -r $$dir; \
	done
	cd dist && sha256sum *.tar.gz | tee SHA256SUMS

.PHONY: clean
clean: ## Remove bin/, dist/ and .tools/ (not walhaven-data/)
	rm -rf bin dist .tools

.PHONY: check-go
check-go:
	@v=$$($(GO) env GOVERSION 2>/dev/null || GOTOOLCHAIN=local $(GO) env GOVERSION 2>/dev/null || true); case "$$v" in \
	  go1.2[5-9]*|go1.[3-9][0-9]*|go[2-9]*|devel*) ;; \
	  *) echo "walhaven needs Go 1.25 or newer (found $${v:-none}): install it from https://go.dev/dl/ and put it first in PATH" >&2; exit 1 ;; \
	esac
