# The front door. Each target does only what is left to do.
#   make demo    set up, build, bring a real small model, compress it, compare before and after
#   make test    build and run all tests (no GPU; no network beyond the package registries)
#   make build   the program at build/swage
#   make tidy    clang-tidy on every source (make test: on those without libtorch); a quarter of an hour
#   make bench   where the time of the demo's job goes, against what the machine can do
#   make sanitize  all unit tests under AddressSanitizer and UBSan, those of threads under ThreadSanitizer
#   make fuzz    build all fuzz targets and run each for FUZZ_SECONDS (60)
#   make soak    disturb runs of every kind for SOAK_SECONDS (3600), compare what comes out
#   make install the program under PREFIX (/usr/local), with its libraries, headers, recipes, man page and completion; DESTDIR is put before it
#   make deps    libraries only; make deps CUDA=run also what running on a GPU needs (2 GB)
.PHONY: build test demo bench install sanitize fuzz soak tidy deps clean
PRESET ?= release
PREFIX ?= /usr/local
BUILD := $(if $(filter dev,$(PRESET)),build-dev,build)

deps:
	@CUDA=$(CUDA) tools/deps

build: deps
	@[ -f $(BUILD)/build.ninja ] || cmake --preset $(PRESET)
	@cmake --build $(BUILD) --target swage

test: build
	@cmake --build $(BUILD)
	@tools/check_layers
	@tools/check_style
	@tools/check_errors_tested
	@tools/check_roles
	@tools/check_docs
	@tools/check_tidy
	@[ ! -d ../shared/data ] || tools/model  # what is compared with the full data sets runs on the real model
	@cd $(BUILD) && SWAGE_TEST_MODEL=$$([ ! -d ../shared/data ] || echo $(CURDIR)/demo/SmolLM2-135M-Instruct) ctest --output-on-failure -j $$(nproc)

demo: build
	@tools/demo

bench: build
	@tools/bench

sanitize: deps
	@tools/sanitize all

fuzz: deps
	@tools/fuzz

soak: build
	@cmake --build $(BUILD) --target swage_faults
	@tools/soak --seconds $(or $(SOAK_SECONDS),3600)

install: build
	@DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(PREFIX)

tidy: build
	@tools/check_tidy --all

clean:
	rm -rf build build-dev build-tsan build-fuzz
