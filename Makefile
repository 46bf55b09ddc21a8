# Shorthand. Each target is one command that can be typed as well; nothing here needs more than Go,
# except `lint`.

GO ?= go
GOLANGCI_LINT ?= $(or $(shell command -v golangci-lint 2>/dev/null),$(shell $(GO) env GOPATH)/bin/golangci-lint)
GOLANGCI_LINT_VERSION := v2.15.0

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench mutants fines ci

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## run the demonstration: a thousand buyers on SQLite files
	$(GO) run ./cmd/ensue demo

test: ## run all tests
	$(GO) test ./...

lint: ## vet and golangci-lint
	$(GO) vet ./...
	@test -x "$(GOLANGCI_LINT)" || { echo 'golangci-lint is missing; install it with'; \
		echo '  go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)'; exit 1; }
	$(GOLANGCI_LINT) run ./...

bench: ## run the benchmarks
	$(GO) test -run '^$$' -bench . ./...

mutants: ## break each guarantee on purpose, and see its test fail
	$(GO) run ./internal/mutants

FINES ?= ../shared/data/fines
fines: ## run thirteen years of recorded fines, from the folder FINES, and compare the figures
	$(GO) run ./examples/trafficfines -data $(FINES) -dir "$$(mktemp -d)" -stats -check

ci: ## all that CI runs: lint, builds, tests with the race detector, mutants
	.ci/run
