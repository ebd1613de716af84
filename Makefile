# Everything here needs Go only, except: race (a C compiler), e2e (Node and Chromium),
# deploy-check (promtool, systemd-analyze), proto (protoc and its two Go plugins).

GO ?= go
BIN := bin/parley
FUZZTIME ?= 60s
E2E_FLAGS ?= --test-reporter=spec
# Packages with tests of their own; the whole-process ones have their own targets.
PACKAGES := ./...
HELM_VERSION := v3.18.6
NODES ?= ./actors/runtime ./edge/ws ./actors/webhook

.PHONY: run build test race race-nodes check integration chaos chaos-short mutants sim sim-night e2e bench proto fuzz storm clean deploy-check e2e-older

run: build ## Build and start one node on ./data
	$(BIN) serve

build: ## Build the one binary, which needs no library of the system
	CGO_ENABLED=0 $(GO) build -o $(BIN) ./cmd/parley

test: ## All tests that need nothing but Go
	$(GO) test $(PACKAGES)

race: ## The same under the race detector
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

chaos-short: ## Real processes in network namespaces, killed, cut off, their disks torn: a few of each
	$(GO) test -tags chaos -count=1 -timeout 20m ./test/chaos

chaos: ## The same as often as docs/reliability.md says, with its tables as result; hours, root, a calm machine
	$(GO) test -tags chaos -count=1 -timeout 8h -v ./test/chaos -chaos.long -chaos.report=$(CURDIR)/bin/chaos.md $(CHAOS)

mutants: ## Break the product on purpose, one promise at a time: the tests must notice
	$(GO) test -tags mutants -count=1 -timeout 60m ./test/mutants

SIM_SEEDS ?= 500
SIM_LASTS ?= 12s
# Each cluster draws from the one random source of its process, so seeds run beside each other in
# processes of their own.
sim: ## SIM_SEEDS simulated clusters among faults; SEED=n repeats one
	@$(GO) test -c -o bin/sim ./test/sim/cluster && $(if $(filter-out 0,$(SEED)),\
	bin/sim -test.v -test.run TestClusters -sim.lasts=$(SIM_LASTS) -sim.seed=$(SEED) -sim.seeds=1,\
	seq 1 25 $(SIM_SEEDS) | xargs -P $$(nproc) -I{} bin/sim -test.run TestClusters -test.timeout 9m -sim.lasts=$(SIM_LASTS) -sim.seed={} -sim.seeds=25 && \
	echo "$(SIM_SEEDS) clusters, 0 violations")

sim-night: ## Ten thousand simulated clusters
	@$(MAKE) --no-print-directory sim SIM_SEEDS=10000

e2e: build ## The demo page and the README in headless Chromium
	cd test/e2e && npm ci --ignore-scripts --no-audit --no-fund && PARLEY=$(CURDIR)/$(BIN) node --test --test-concurrency=1 $(E2E_FLAGS) ./*.test.mjs

# What may not be shipped is installed into a folder that is gone afterwards.
OLDER := nexmo-conversation@0.1.21 nexmo-stitch-2@npm:nexmo-stitch@2.0.5 nexmo-stitch-3@npm:nexmo-stitch@3.0.1 @vonage/client-sdk@2.3.1
e2e-older: build ## The SDKs whose licence forbids to ship them, in headless Chromium; asks npm for them
	cd test/e2e && npm ci --ignore-scripts --no-audit --no-fund && modules=$$(mktemp -d) && trap 'rm -rf "'"$$modules"'"' EXIT && \
	npm install --prefix "$$modules" --ignore-scripts --no-save --no-audit --no-fund $(OLDER) && \
	UNSHIPPED_MODULES="$$modules/node_modules/" PARLEY=$(CURDIR)/$(BIN) node --test --test-concurrency=1 --test-timeout=600000 $(E2E_FLAGS) ./unshipped/*.test.mjs

# GOFLAGS is for go test: the two builds are told theirs here.
deploy-check: ## The files of deploy/ against promtool, Helm, systemd-analyze and the binary
	GOFLAGS=-buildvcs=false $(GO) build -o $(BIN) ./cmd/parley
	GOFLAGS= GOBIN=$(CURDIR)/bin CGO_ENABLED=0 $(GO) install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)
	PATH="$(CURDIR)/bin:$$PATH" $(GO) test -tags deploy -count=1 ./deploy

bench: build ## Figures of docs/benchmarks.md, as ratios in one run
	$(GO) run ./test/bench

proto: ## Generate Go from the .proto files
	cd proto && find . -name '*.proto' -exec protoc -I . \
		--go_out=. --go_opt=paths=source_relative \
		--go-vtproto_out=. --go-vtproto_opt=paths=source_relative,features=marshal+unmarshal+size {} +

# At the end of its time a target may be said to have failed for "context deadline exceeded", without an input:
# golang/go#75804, mended in Go 1.27. That alone is no failure.
fuzz: ## Each fuzz target for FUZZTIME, as many at a time as there are processors
	@targets="$$($(GO) test -list '^Fuzz' ./...)" || { echo "$$targets"; exit 1; }; echo "$$targets" | awk '/^Fuzz/ { names[++n] = $$1 } /^ok/ { for (i = 1; i <= n; i++) print $$2, names[i]; n = 0 }' | \
	xargs -P $$(nproc) -n 2 sh -c 'out=$$($(GO) test -run "^$$" -fuzz "^$$2\$$" -fuzztime $(FUZZTIME) -parallel 1 "$$1" 2>&1) || \
		echo "$$out" | grep -A1 "^--- FAIL: " | grep -qx "    context deadline exceeded" || \
		{ echo "$$out"; echo "FAIL $$1 $$2"; exit 1; }; echo "ok   $$1 $$2"' fuzz

STORMS ?= 500
SEED ?= 0
storm: ## Seeded storms of three replicas; a failure is repeated with SEED=n STORMS=1
	$(GO) test ./cluster/shard -count=1 -timeout 60m -run TestStormsOfThreeNodes -storm.seed $(SEED) -storm.seeds $(STORMS)

clean:
	rm -rf bin
