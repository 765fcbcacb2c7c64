# `make help` lists the commands.
# The folder of the Python environment.  A variable VENV of the shell does not change it, because
# `.ci/setup` may delete and remake the folder.
VENV := .venv
BIN := $(VENV)/bin
ARGS :=
MINUTES := 30
READERS := 64
COUNT := 1000

MIRROR :=
PREFIX := /usr/local
LIB := $(PREFIX)/lib/esrffs
SHARE := $(PREFIX)/share
# PYTHON=/path/to/python3 on the command line or in the shell; if it is empty, .ci/python chooses
PYTHON ?=
export PYTHON
# mount(8) looks for its helpers in /sbin and nowhere else
SBIN := $(if $(filter /usr /usr/local,$(PREFIX)),/usr/sbin,$(PREFIX)/sbin)
UNITS := $(PREFIX)/lib/systemd
UDEV := $(PREFIX)/lib/udev
SHOWN := $(PREFIX)

.PHONY: help setup demo lint test pytest bench soak live fuzz gauntlet pictures docs dist deb debcheck install uninstall install-program install-files clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  */\1\t/p' $(MAKEFILE_LIST) | expand -t 11

setup:  ## system packages (apt-get) and .venv with esrffs in it
	@.ci/setup test $(VENV)

demo:  ## make a small experiment, mount it, look around, unmount (KEEP=1 leaves it mounted)
	@.ci/setup demo $(VENV)
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/demo.sh

lint: setup  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint  ## lint, then all tests (ARGS="-k names" chooses some)
	$(BIN)/pytest $(ARGS)

pytest: setup
	$(BIN)/pytest $(ARGS)

bench: setup  ## measure against h5py, silx, fabio, numpy (ARGS=--quick: less; ARGS="--only slow": behind a file server)
	$(BIN)/pip install --quiet '.[bench]'
	$(BIN)/python -m benchmarks $(ARGS)

soak: setup  ## readers, a writer, killers and a corrupter at once, all bytes compared (MINUTES=30)
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) --processes $(READERS)

live: setup  ## 10 000 random changes of a file under its readers; an acquisition with locks, 200 scans
	$(BIN)/python -m tests.faults.live $(ARGS)

fuzz: setup  ## mutated files against the readers (COUNT=1000 of each format)
	$(BIN)/python -m tests.faults.fuzz --count $(COUNT)

gauntlet: setup  ## 5 540 malformed, damaged and mutated files in a mount beside 50 sound ones, all read
	$(BIN)/python -m tests.faults.gauntlet $(ARGS)

pictures: setup  ## docs/terminal.svg, corrected.png, diatom.png and performance.png anew
	$(BIN)/pip install --quiet '.[bench]'
	@PATH="$(CURDIR)/$(BIN):$$PATH" demo/pictures.sh docs

docs: setup  ## the pages of docs/ as a website in build/site
	$(BIN)/pip install --quiet '.[docs]'
	$(BIN)/mkdocs build --quiet --strict

dist: setup  ## wheel and sdist in dist/, each installed into an empty environment, mounted and read
	$(BIN)/pip install --quiet build twine
	packaging/dist.sh $(BIN)/python

deb:  ## a Debian package in dist/, for the Debian that this is
	@.ci/setup deb
	packaging/deb.sh

debcheck:  ## that package, made and installed in a fresh Debian 12 and 13, its units in a booted systemd (root, debootstrap)
	packaging/deb-check.sh bookworm $(MIRROR)
	packaging/deb-check.sh trixie $(MIRROR)

install: install-program install-files  ## esrffs, helpers, units, manual pages, completions (PREFIX=/usr/local)

install-program:
	packaging/venv.sh $(LIB)

install-files:
	install -d $(PREFIX)/bin $(SBIN) $(UNITS)/system $(UNITS)/user $(PREFIX)/lib/tmpfiles.d $(UDEV)/rules.d \
		$(SHARE)/man/man1 $(SHARE)/man/man8 $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	ln -sfn $(LIB)/bin/esrffs $(PREFIX)/bin/esrffs
	ln -sfn $(LIB)/bin/mount.esrffs $(SBIN)/mount.esrffs
	sed 's|/usr/bin/esrffs|$(SHOWN)/bin/esrffs|' systemd/esrffs@.service >$(UNITS)/system/esrffs@.service
	sed 's|/usr/bin/esrffs|$(SHOWN)/bin/esrffs|' systemd/user/esrffs@.service >$(UNITS)/user/esrffs@.service
	install -m 644 systemd/esrffs.tmpfiles.conf $(PREFIX)/lib/tmpfiles.d/esrffs.conf
	install -m 755 systemd/esrffs-read-ahead $(UDEV)
	install -m 644 systemd/99-esrffs.rules $(UDEV)/rules.d
	sed 's|/usr/lib/udev|$(SHOWN)/lib/udev|' systemd/esrffs-read-ahead@.service >$(UNITS)/system/esrffs-read-ahead@.service
	install -m 644 man/esrffs.1 $(SHARE)/man/man1
	install -m 644 man/mount.esrffs.8 $(SHARE)/man/man8
	install -m 644 completions/esrffs.bash $(SHARE)/bash-completion/completions/esrffs
	install -m 644 completions/_esrffs $(SHARE)/zsh/site-functions
	install -m 644 completions/esrffs.fish $(SHARE)/fish/vendor_completions.d

uninstall:  ## take away what `install` put there (with the same PREFIX)
	rm -rf $(LIB)
	rm -f $(PREFIX)/bin/esrffs $(SBIN)/mount.esrffs \
		$(UNITS)/system/esrffs@.service $(UNITS)/user/esrffs@.service \
		$(PREFIX)/lib/tmpfiles.d/esrffs.conf \
		$(UDEV)/esrffs-read-ahead $(UDEV)/rules.d/99-esrffs.rules $(UNITS)/system/esrffs-read-ahead@.service \
		$(SHARE)/man/man1/esrffs.1 $(SHARE)/man/man8/mount.esrffs.8 \
		$(SHARE)/bash-completion/completions/esrffs $(SHARE)/zsh/site-functions/_esrffs \
		$(SHARE)/fish/vendor_completions.d/esrffs.fish

clean:  ## take away .venv and everything else that was made here
	rm -rf .venv .venv-3.* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
