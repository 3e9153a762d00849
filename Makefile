# SPDX-License-Identifier: GPL-2.0
# Every target does its own set-up. `make` alone says what there is.

PREFIX ?= /usr/local
# Tests are always built with the internal checks on. `make test` builds them for looking for faults;
# where all of them run, and for long, they are optimised, with assertions and exclusivity checked:
# a third of the time.
TEST_FLAGS = -Xswiftc -DBCACHEFS_INTERNAL_CHECKS
OPTIMISED_FLAGS = -c release --scratch-path .build-tests -Xswiftc -enable-testing \
  -Xswiftc -assert-config -Xswiftc Debug -Xswiftc -enforce-exclusivity=checked $(TEST_FLAGS)
SWIFT_SOURCES = Sources Tests Examples $(wildcard Benchmarks/Sources Benchmarks/Package.swift) Package.swift
FORMAT_FLAGS = --configuration .swift-format --parallel --recursive

.PHONY: help setup demo test check bench test-kernel test-engine-long fuzz format format-check install clean

help:
	@echo "make demo          build a volume from a real directory and look at it"
	@echo "make test          all tests (debug, internal checks on)"
	@echo "make check         format, tests (optimised, all checks on), release build, hot paths, fuzz smoke"
	@echo "make bench         benchmarks, beside mke2fs, mksquashfs, tar, LMDB, passthrough_ll, ..."
	@echo "make test-kernel   tests against the real Linux driver; builds that kernel once (10 min)"
	@echo "make test-engine-long  millions of transactions, 100,000 crashes (an hour or two; optimised)"
	@echo "make fuzz          every fuzzer for a while (FUZZ_SEED=n repeats a run)"
	@echo "make format        format the sources;  make format-check only looks"
	@echo "make install       install command, manual, completions (PREFIX=$(PREFIX))"
	@echo "make setup         only install what building needs;  make clean removes builds"

setup:
	@scripts/install-packages build test
	@scripts/check-toolchain

demo: setup
	@scripts/demo

test: setup
	@scripts/run-tests $(TEST_FLAGS)

check: setup format-check
	@scripts/run-tests $(OPTIMISED_FLAGS)
	swift build -c release
	@scripts/hot-path-check
	.build/release/bcachefs-fuzz smoke
	@echo "check: passed"

bench: setup
	@scripts/install-packages bench
	@scripts/bench

test-kernel: setup
	@BCACHEFS_TEST_KERNEL="$$(scripts/build-test-kernel)" && export BCACHEFS_TEST_KERNEL && \
	  BCACHEFS_TEST_LONG=1 scripts/run-tests $(TEST_FLAGS) --filter '^KernelTests\.'

# What the engine's tests do for a moment, for long: optimised, and with all checks. A process for
# each suite: what one of them does to memory or to the machine is not the others' trouble.
LONG_TESTS ?= TransactionModelTests EngineCrashTests SuperblockCrashTests LiveEngineTests \
  DeviceFailureTests FullVolumeTests FreezeTests SnapshotCleaningTests \
  FileModelTests FileThreadTests FileCrashTests FileContentsTests ContentCrashTests \
  ContentThreadTests KilledCommandTests FilledVolumeTests MountTurnsTests ExerciseTests
test-engine-long: setup
	swift build --build-tests $(OPTIMISED_FLAGS)
	@for suite in $(LONG_TESTS); do \
	  echo "== $$suite"; \
	  BCACHEFS_TEST_LONG=1 scripts/run-tests --skip-build $(OPTIMISED_FLAGS) --filter "$$suite" || exit 1; \
	done

# Optimised, and with assertions: loads that release builds do not check are checked here.
fuzz: setup
	swift build -c release --product bcachefs-fuzz --scratch-path .build-fuzz \
	  -Xswiftc -assert-config -Xswiftc Debug
	.build-fuzz/release/bcachefs-fuzz all $(FUZZ_SEED)

format:
	swift format format --in-place $(FORMAT_FLAGS) $(SWIFT_SOURCES)

format-check:
	swift format lint --strict $(FORMAT_FLAGS) $(SWIFT_SOURCES)

install: setup
	swift build -c release --product bcachefs
	install -D -m 755 .build/release/bcachefs $(DESTDIR)$(PREFIX)/bin/bcachefs
	mkdir -p $(DESTDIR)$(PREFIX)/sbin
	ln -sf ../bin/bcachefs $(DESTDIR)$(PREFIX)/sbin/mount.fuse.bcachefs
	ln -sf ../bin/bcachefs $(DESTDIR)$(PREFIX)/sbin/umount.fuse.bcachefs
	@scripts/install-extras .build/release/bcachefs $(DESTDIR)$(PREFIX)

clean:
	rm -rf .build .build-* Benchmarks/.build
