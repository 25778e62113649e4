# One gate that never writes (`verify`), one that does (`fix`). All tests share the profile `ci`, so that
# everything is built once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-s3 test-kafka soak takeover mutants verify fix bench bench-build bench-peers

# `make test LOCKED=--locked` refuses a Cargo.lock that doesn't fit.
LOCKED ?=
# `make bench BENCH=--short` for a first look.
BENCH ?=
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Durations that tests measured, one row a line.
MEASURES := $(TARGET)/measures.jsonl
# Passes everything through and says at the end what it came to.
SUMMARY := awk '{ print; fflush() } \
	/^test result:/ { passed += $$4; failed += $$6; ignored += $$8; suites++ } \
	END { printf "%d tests passed, %d failed, %d ignored, in %d suites\n", passed, failed, ignored, suites }'

help:
	@echo "make demo     the story in a minute: a cluster, a job, three kills, a verdict"
	@echo "make test     every test, a few rounds of the slow ones"
	@echo "make test-s3  the tests against an S3 server (moto's, from PyPI), with a binary that speaks S3"
	@echo "make test-kafka  the tests against a Kafka broker (tansu's, from crates.io), with a binary that speaks Kafka"
	@echo "make verify   format, lints, documentation and tests; writes nothing"
	@echo "make mutants  takes rules out of the code and sees tests fail; TOGETHER=1 is quick"
	@echo "make takeover what losing a leader or a worker takes, measured into docs/benchmarks.md; on a quiet machine"
	@echo "make bench    beside etcd, ZooKeeper and Flink, into docs/benchmarks.md, on a quiet machine; BENCH=--short for a first look"
	@echo "make fix      formats, writes docs/metrics.md and the tables of docs/job-file.md, and lets the lints mend what they can"
	@echo "make soak     full counts of the slow tests, into docs/; REGENT_DATA names the year's flights"

demo:
	cargo run --release $(LOCKED) -- demo

# Process tests mostly wait, so two cores bear three of them.
THREADS := $(shell cores=$$(nproc); echo $$(( cores > 3 ? cores : 3 )))

# The workspace's tests build the program too, before any of them runs. Building it alone first would choose
# other features for a dependency, and with that build everything above it twice.
test:
	REGENT_BIN="$(TARGET)/ci/regent" RUST_TEST_THREADS="$(THREADS)" \
	  cargo test --profile ci $(LOCKED) --workspace --no-fail-fast 2>&1 | $(SUMMARY)
	@echo "not among them: make test-s3 and make test-kafka, whose clients and servers take many minutes to build"

# Kept apart from `test`: the S3 client and its TLS take minutes to build. In a target directory of its
# own, so that the binary without S3 stays what the other tests run.
MOTO := $(TARGET)/moto/bin/moto_server
test-s3: $(MOTO)
	CARGO_TARGET_DIR="$(TARGET)/s3" cargo test --profile ci $(LOCKED) -p regent-storage --features s3 objects
	CARGO_TARGET_DIR="$(TARGET)/s3" cargo build --profile ci $(LOCKED) -p regent --features s3
	REGENT_MOTO="$(MOTO)" REGENT_BIN="$(TARGET)/s3/ci/regent" \
	  cargo test --profile ci $(LOCKED) -p regent-chaos --features s3 --test s3 -- --nocapture --test-threads=1

$(MOTO):
	python3 -m venv "$(TARGET)/moto"
	"$(TARGET)/moto/bin/pip" install --quiet 'moto[server]'

# Kept apart for the same reason: librdkafka is built from its C sources, and the broker from 500 crates.
TANSU := $(TARGET)/tansu/bin/tansu
# The same packages and features each time, so that everything is built once; the first also builds the binary.
KAFKA := CARGO_TARGET_DIR="$(TARGET)/kafka" cargo test --profile ci $(LOCKED) --workspace \
	--features regent/kafka,regent-worker/kafka,regent-chaos/kafka
test-kafka: $(TANSU)
	$(KAFKA) --no-run
	$(KAFKA) --lib kafka
	REGENT_TANSU="$(TANSU)" REGENT_BIN="$(TARGET)/kafka/ci/regent" $(KAFKA) --test kafka -- --nocapture --test-threads=1

$(TANSU):
	CARGO_TARGET_DIR="$(TARGET)/tansu/build" cargo install tansu --version 0.6.0 --features dynostore --locked --root "$(TARGET)/tansu"

# The kills are run against the program as users build it. One at a time: their moments are random, and
# two clusters on one machine would hurt each other.
soak:
	cargo build --release $(LOCKED) -p regent
	cargo build --profile ci $(LOCKED) -p regent
	cargo build --profile ci $(LOCKED) -p regent-chaos --bins --tests
	rm -f "$(MEASURES)"
	REGENT_SOAK=1 REGENT_MEASURES="$(MEASURES)" \
	  REGENT_BIN="$(TARGET)/release/regent" REGENT_STEPS_BIN="$(TARGET)/ci/regent" \
	  cargo test --profile ci $(LOCKED) --no-fail-fast -p regent-storage -p regent-ha -p regent-chaos -p custom-operator \
	  -- --nocapture --test-threads=1 2>/dev/null | $(SUMMARY) | tee docs/soak.txt || failed=1; \
	"$(TARGET)/ci/benchmarks" "$(MEASURES)" docs/benchmarks.md "make soak"; exit $${failed:-0}
	REGENT_SOAK=1 $(MAKE) test-s3 2>/dev/null | $(SUMMARY) | tee -a docs/soak.txt
	REGENT_SOAK=1 $(MAKE) test-kafka 2>/dev/null | $(SUMMARY) | tee -a docs/soak.txt

# What a takeover takes, and only that: less than ten minutes after the builds. What was measured is written down
# even if a test failed.
takeover:
	cargo build --release $(LOCKED) -p regent
	cargo build --profile ci $(LOCKED) -p regent-chaos --bins --tests
	rm -f "$(MEASURES)"
	REGENT_SOAK=1 REGENT_MEASURES="$(MEASURES)" REGENT_BIN="$(TARGET)/release/regent" \
	  cargo test --profile ci $(LOCKED) -p regent-chaos --test it \
	  -- --nocapture --test-threads=1 takeover:: failover:: handover:: worker_loss:: 2>/dev/null | $(SUMMARY) || failed=1; \
	"$(TARGET)/ci/benchmarks" "$(MEASURES)" docs/benchmarks.md "make takeover"; exit $${failed:-0}

# Takes each rule of chaos-tests/mutants.txt out of the sources in turn, and puts it back.
mutants:
	cargo run --profile ci $(LOCKED) -p regent-chaos --bin mutants -- $(if $(TOGETHER),--together) $(if $(ONLY),"$(ONLY)")

# Beside etcd, ZooKeeper and Flink. What is missing is installed if it can be, and said in a line if not;
# nothing fails for want of a peer. Everything that is started is ended, its data is below target/.
FLINK_DIR = $(TARGET)/bench-peers
FLINK_LIB = $(FLINK_DIR)/pyflink/lib
bench: bench-build bench-peers
	"$(TARGET)/release/regent-bench" peers $(BENCH) --dir "$(TARGET)" --report docs/benchmarks.md
	"$(TARGET)/release/regent-bench" dataplane $(BENCH) --dir "$(TARGET)" --flink "$(FLINK_LIB)" --report docs/benchmarks.md
	"$(TARGET)/release/regent-bench" scale $(BENCH) --dir "$(TARGET)" --report docs/benchmarks.md

bench-build:
	cargo build --release $(LOCKED) -p regent
	cargo build --release $(LOCKED) -p regent-bench

bench-peers:
	@command -v etcd >/dev/null && [ -e /usr/share/java/zookeeper.jar ] \
	  || { apt-get update && apt-get install -y --no-install-recommends etcd-server zookeeper; } >/dev/null 2>&1 \
	  || echo "left out: etcd and ZooKeeper; as root: apt-get install etcd-server zookeeper"
	@[ -d "$(FLINK_LIB)" ] || { mkdir -p "$(FLINK_DIR)" && cd "$(FLINK_DIR)" \
	  && python3 -m pip download -q --no-deps apache-flink-libraries==2.3.0 \
	  && python3 -m zipfile -e apache_flink_libraries-2.3.0*.whl . && rm apache_flink_libraries-2.3.0*.whl; } >/dev/null 2>&1 \
	  || echo "left out: Flink; pip download --no-deps apache-flink-libraries==2.3.0 does not work here (329 MB)"

verify:
	cargo fmt --all --check
	cargo clippy --profile ci $(LOCKED) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --profile ci $(LOCKED) --workspace --no-deps
	$(MAKE) test

fix:
	REGENT_FIX=1 cargo test --profile ci -p regent --test it generated
	cargo clippy --profile ci --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all
