# Everything here needs Go only, except: race (a C compiler), e2e (Node and Chromium),
# proto (protoc and its two Go plugins).

GO ?= go
BIN := bin/parley
FUZZTIME ?= 60s
E2E_FLAGS ?= --test-reporter=spec
# Packages with tests of their own; the whole-process ones have their own targets.
PACKAGES := ./...
NODES ?= ./actors/runtime ./edge/ws

.PHONY: run build test race race-nodes check integration mutants sim e2e bench proto fuzz storm clean

run: build ## Build and start one node on ./data
	$(BIN) serve

build: ## Build the one binary
	$(GO) build -o $(BIN) ./cmd/parley

test: ## All tests that need nothing but Go
	$(GO) test $(PACKAGES)

race: ## The same under the race detector, with costly invariants on
	CGO_ENABLED=1 $(GO) test -race $(PACKAGES)

# protoactor sets gRPC's logger, a variable without a lock, at each start of a node, while connections
# of other nodes in the process read it. A copy without that line takes its place here.
race-nodes: ## Clusters in one process under the race detector
	@copy=$$(mktemp -d) && trap 'chmod -R u+w '"$$copy"' && rm -rf '"$$copy" EXIT && \
	cp -r "$$($(GO) list -m -f '{{.Dir}}' github.com/asynkron/protoactor-go)" $$copy/protoactor && \
	chmod -R u+w $$copy && cp go.mod go.sum $$copy/ && \
	sed -i -e '/grpclog/d' -e '/io\/ioutil/d' $$copy/protoactor/remote/server.go && \
	$(GO) mod edit -replace github.com/asynkron/protoactor-go=$$copy/protoactor $$copy/go.mod && \
	CGO_ENABLED=1 $(GO) test -race -tags nodes -modfile $$copy/go.mod $(NODES)

check: ## Formatting, vet, house rules
	@unformatted="$$(gofmt -l .)"; \
	if [ -n "$$unformatted" ]; then echo "not formatted (run gofmt -w):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) test ./internal/arch

integration: ## Real processes, killed and started again
	$(GO) test -tags integration -count=1 -timeout 20m ./test/integration/...

mutants: ## Break the product on purpose, one promise at a time: the tests must notice
	$(GO) test -tags mutants -count=1 -timeout 60m ./test/mutants

sim: ## The simulation alone; SEED=n repeats one seed
	$(GO) test ./test/sim -count=1 $(if $(SEED),-sim.seed=$(SEED) -sim.seeds=1)

e2e: build ## The demo page and the README in headless Chromium
	cd test/e2e && npm ci --ignore-scripts --no-audit --no-fund && PARLEY=$(CURDIR)/$(BIN) node --test --test-concurrency=1 $(E2E_FLAGS) ./*.test.mjs

bench: build ## Figures of docs/benchmarks.md, as ratios in one run
	$(GO) run ./test/bench

proto: ## Generate Go from the .proto files
	cd proto && find . -name '*.proto' -exec protoc -I . \
		--go_out=. --go_opt=paths=source_relative \
		--go-vtproto_out=. --go-vtproto_opt=paths=source_relative,features=marshal+unmarshal+size {} +

fuzz: ## Each fuzz target for FUZZTIME, as many at a time as there are processors
	@$(GO) test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, names[i]; n = 0 }' | \
	xargs -P $$(nproc) -n 2 sh -c 'out=$$($(GO) test -run "^$$" -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) -parallel 1 "$$1" 2>&1) || \
		{ echo "$$out"; echo "FAIL $$1 $$2"; exit 1; }; echo "ok   $$1 $$2"' fuzz

STORMS ?= 500
SEED ?= 0
storm: ## Seeded storms of three replicas; a failure is repeated with SEED=n STORMS=1
	$(GO) test ./cluster/shard -count=1 -timeout 60m -run TestStormsOfThreeNodes -storm.seed $(SEED) -storm.seeds $(STORMS)

clean:
	rm -rf bin
