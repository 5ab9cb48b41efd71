# Front door: build QEMU with the additions of this repository, try it, test it.
#
# SPDX-License-Identifier: GPL-2.0-or-later

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:

# Another build directory, perhaps of another version of QEMU: make QEMU_BUILD=DIR
build := $(or $(QEMU_BUILD),build)
export QEMU_BUILD := $(abspath $(build))
ninja := ninja -C $(build)/obj
demo_programs := qemu-img qemu-io qemu-system-x86_64 \
	storage-daemon/qemu-storage-daemon
check_programs := $(demo_programs) qemu-nbd \
	$(patsubst %.c,%,$(wildcard tests/unit/test-*.c tests/qtest/*-test.c)) \
	tests/qtest/libhost-zoned.so

.PHONY: all
all: overlay
	@$(ninja)

.PHONY: help
help:
	@echo 'make                build everything (runs ./configure at first)'
	@echo 'make demo           a Linux guest uses a zoned qcow2 image'
	@echo 'make check          all tests'
	@echo 'make check-SUITE    one of: unit qtest iotests iotests-qemu guest scripts'
	@echo 'make check-crash    the power-loss harness, all of it'
	@echo 'make check-fuzz     100,000 crafted images'
	@echo 'make check-distributed  images over NBD, SSH, NFS and RBD, on loopback'
	@echo 'make check-arm64    guests with pages of 16 and 64 KiB, on arm64'
	@echo 'make check-stress   an hour of random operations against a model'
	@echo 'make check-versions unit, qtest, iotests, guest on each version of QEMU'
	@echo 'make check-locks    our files under clang'"'"'s analysis of thread safety'
	@echo 'make check-tsan     the unit tests of zones under the thread sanitizer'
	@echo 'make bench          how fast zoned images are; build/bench/bench.svg'
	@echo 'make bench-guest    NVMe namespaces in a Linux guest'
	@echo 'make series         build/series/*/*.patch, for git am on QEMU'
	@echo 'make check-series   compile and test each step of the series'
	@echo 'make overlay        only bring build/qemu up to date'
	@echo 'make clean          remove what was built; QEMU'"'"'s source stays'
	@echo 'make distclean      remove build/'
	@echo 'With QEMU_BUILD=DIR it is DIR, not build, see ./configure --build-dir=DIR'

# Configure when that was never done, was cleaned away, or has changed since;
# with the options of the last time, if there was one.
.PHONY: configured
configured:
	@if [ ! -x $(build)/config.status ]; then ./configure; \
	elif [ ! -f $(build)/obj/build.ninja ] || \
	     [ configure -nt $(build)/config.status ]; then \
		$(abspath $(build))/config.status; fi

.PHONY: overlay
overlay: configured
	@scripts/overlay

.PHONY: demo-programs check-programs
demo-programs: overlay
	@$(ninja) $(demo_programs)
check-programs: overlay
	@$(ninja) $(check_programs)

# Kernels and userlands of the guests; fetched while QEMU compiles.
.PHONY: guest-image
guest-image: configured
	@scripts/guest-image default newest

.PHONY: demo demo-guest
demo-guest: configured
	@scripts/guest-image
demo: configured
	@$(MAKE) -j2 demo-programs demo-guest
	@tests/guest/demo

.PHONY: check check-guest
check: configured
	@$(MAKE) -j2 check-programs guest-image
	@scripts/check
# Every guest test; check has a quick selection.  GUEST_LINUX=newest, or oldest, has
# them on another kernel.
check-guest: configured
	@$(MAKE) -j2 check-programs guest-image
	@scripts/check guest-full

.PHONY: check-unit check-qtest check-iotests check-iotests-qemu check-scripts
check-unit check-qtest check-iotests check-iotests-qemu check-scripts: \
	check-%: check-programs
	@scripts/check $*

# An hour; it is not part of check (see meson.build).
.PHONY: check-stress
check-stress: check-programs
	@tests/stress/run --seconds 3600

# Every version that the patches are kept for, in a build directory of its own.
.PHONY: check-versions
check-versions:
	@scripts/check-versions

# 10,000 states and more; the quick selection is part of check.
.PHONY: check-crash
check-crash: check-programs
	@tests/crash/run

# 100,000 images; check has 2,000 of them.
.PHONY: check-fuzz
check-fuzz: check-programs
	@tests/fuzz/run

# Images on other machines' storage; builds QEMU once more, with more libraries.
.PHONY: check-distributed
check-distributed: check-programs
	@scripts/check-distributed

# Large pages; builds QEMU once more, for arm64.
.PHONY: check-arm64 arm64-image
arm64-image: configured
	@scripts/guest-image $${GUEST_LINUX:-arm64-16k arm64-64k}
check-arm64: configured
	@$(MAKE) -j2 check-programs arm64-image
	@scripts/check-arm64

# Needs clang 18 or later.
.PHONY: check-locks
check-locks: demo-programs
	@scripts/check-locks

# Threads; builds QEMU once more.
.PHONY: check-tsan
check-tsan: overlay
	@scripts/check-tsan

.PHONY: bench bench-guest
bench: check-programs
	@tests/bench/run
bench-guest: check-programs
	@tests/bench/run --directory $(build)/bench-guest nvme-guest

.PHONY: series
series: overlay
	@scripts/series --check

# Each step by itself, in a build of its own; the first time takes an hour.
.PHONY: check-series
check-series: overlay
	@scripts/series --check --checkpatch --build

.PHONY: clean distclean
clean:
	rm -rf $(addprefix $(build)/,obj bench bench-guest tsan arm64 check crash fuzz stress \
		distributed series series-build)
distclean:
	rm -rf $(build)
