# Two commands: `make reproduce` runs the notebook series, `make test` runs the tests. Both set up what they need.
PYTHON  ?= python3
VENV    ?= .venv
PROFILE ?= laptop
DATASET ?= synthfaces
TESTS   ?=
ARGS    ?=
LOCK    ?=
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# A target's name takes a space only behind a backslash.
nothing :=
PY    := $(VENV)/bin/python
STAMP := $(subst $(nothing) ,\ ,$(VENV))/.roigan-installed

.PHONY: help install owner reproduce experiments site page test lab clean

help:
	@echo "make reproduce [PROFILE=smoke|laptop|thesis] [DATASET=folder|celeba|…]      run the notebook series"
	@echo "make test      [TESTS=tests/test_masks.py]         run the tests, and the notebooks at smoke size"
	@echo "make experiments [ARGS='--only penalty']           the thesis' claims, with and without: 45 minutes of one core"
	@echo "make site                                                    write the stored course as a static site to build/site"
	@echo "make page                                          the explorer without Python, in build/page (needs npm for its runtime)"
	@echo "make lab                                                                   open JupyterLab on the notebooks"
	@echo "make clean                                            remove build/ and caches; keeps runs/ and $(VENV)"
	@echo "Also: PYTHON=python3.12 (which Python), VENV=/path (reuse an environment), LOCK=1 (the tried versions),"
	@echo "ARGS='--force --only 03 04' (more options of reproduce)"

install: $(STAMP)

# A failed creation leaves nothing behind, or the next try would take the half-made environment for a whole one.
$(STAMP): pyproject.toml | owner
	@if [ ! -x "$(PY)" ]; then \
	  command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON): install Python 3.10 or newer, or name one with PYTHON=/path/to/python3."; exit 1; }; \
	  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$$("$(PYTHON)" -V) is too old: this kit needs Python 3.10 or newer; name one with PYTHON=/path/to/python3."; exit 1; }; \
	  "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot create environments: on Debian and Ubuntu run 'apt install python3-venv' first."; exit 1; }; \
	  [ ! -e "$(VENV)" ] || { echo "$(VENV) is there already but holds no Python that can be run: remove it, or name another place with VENV=…"; exit 1; }; \
	  echo "Creating $(VENV) …"; \
	  "$(PYTHON)" -m venv "$(VENV)" || { rm -rf "$(VENV)"; echo "The environment $(VENV) could not be created: see the message above."; exit 1; }; \
	fi
	@echo "Installing; the first time this fetches PyTorch and takes some minutes …"
	@"$(PY)" -m pip install --quiet $(if $(LOCK),--constraint requirements.lock) --editable ".[notebooks,test]" || \
	  { echo "The installation failed: the lines above say which package; run make again when that is mended."; exit 1; }
	@pwd -P > "$@"

# The package is installed in place, so an environment serves one checkout; its stamp says which.
owner:
	@told=$$(cat "$(VENV)/.roigan-installed" 2>/dev/null); [ "$${told:-$$(pwd -P)}" = "$$(pwd -P)" ] || { \
	  echo "The environment $(VENV) runs the checkout in $$told: name another by VENV=…, or remove $(VENV)/.roigan-installed to install this checkout into it."; exit 1; }

reproduce: $(STAMP)
	@"$(PY)" -m roigan_lib reproduce --profile "$(PROFILE)" --dataset "$(DATASET)" $(ARGS)

experiments: $(STAMP)
	@"$(PY)" -m roigan_lib experiments $(ARGS)

site: $(STAMP)
	@"$(PY)" .ci/build_site.py

page: $(STAMP)
	@"$(PY)" -m pip install --quiet --editable ".[page]"
	@"$(PY)" -m roigan_lib page $(ARGS)

# All of them in two processes, a file at a time; a few of them in one, whose output names each file.
test: $(STAMP)
	@"$(PY)" -m pytest $(if $(TESTS),$(TESTS),--numprocesses 2 --dist loadfile)

lab: $(STAMP)
	@"$(PY)" -m jupyter lab --LabApp.default_url=/lab/tree/notebooks

clean:
	rm -rf build .pytest_cache *.egg-info
	find roigan_lib tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
