# The commands to know: `make demo` shows what the milter does, `make test` runs every test, `make packages` builds the
# Debian package and the RPMs, `make test-packages` tries them, `make tarball` makes the rest of a release.
# All install the Debian packages that are missing, and run the tests as root: the lab makes networks of its own.

CARGO ?= cargo
ifneq ($(shell id -u),0)
AS_ROOT := --config "target.'cfg(all())'.runner = ['sudo', '-E']"
endif

.PHONY: demo test bench dependencies install packages program tarball test-packages

demo: dependencies
	$(CARGO) test $(AS_ROOT) --test demo

test: dependencies
	$(CARGO) test $(AS_ROOT)

bench: dependencies
	$(CARGO) bench

test-packages: dependencies packages
	$(if $(AS_ROOT),sudo) tests/packages/make-roots
	$(CARGO) test $(AS_ROOT) --test packages

dependencies:
	@tests/install-packages

# The program is built once, unless one is named: make packages PROGRAM=...
ifndef PROGRAM
PROGRAM := $(or $(CARGO_TARGET_DIR),target)/release/conbool-milter
packages: program
endif

# No path of the machine that builds gets into the program, so the same sources give the same program anywhere.
program: remapped = $(CURDIR)=. $(or $(CARGO_HOME),$(HOME)/.cargo)=cargo $(addsuffix =target,$(CARGO_TARGET_DIR))
program:
	CFLAGS='$(CFLAGS) $(remapped:%=-ffile-prefix-map=%)' RUSTFLAGS='$(RUSTFLAGS) $(remapped:%=--remap-path-prefix=%)' \
	    $(CARGO) build --release --locked $(STATIC:%=--target %)

packages:
	PROGRAM='$(PROGRAM)' packaging/build-deb
	PROGRAM='$(PROGRAM)' packaging/build-rpm

# The program for any Linux, statically linked with musl, as a tarball, with checksums of all packages and the list of what
# is in the program: for releases, so it asks for what they need (packaging/RELEASING.md).
tarball: export CC_x86_64_unknown_linux_musl := musl-gcc
tarball: STATIC := x86_64-unknown-linux-musl
tarball: program
	PROGRAM='$(or $(CARGO_TARGET_DIR),target)/$(STATIC)/release/conbool-milter' packaging/build-tarball

# What packages install, under DESTDIR. The program is built before: it writes its own shell completions.
prefix ?= /usr/local
sbindir ?= $(prefix)/sbin
datadir ?= $(prefix)/share
mandir ?= $(datadir)/man
docdir ?= $(datadir)/doc/conbool-milter
sysconfdir ?= /etc
unitdir ?= /usr/lib/systemd/system
sysusersdir ?= /usr/lib/sysusers.d
tmpfilesdir ?= /usr/lib/tmpfiles.d
bashcompletiondir ?= $(datadir)/bash-completion/completions
zshcompletiondir ?= $(datadir)/zsh/site-functions
fishcompletiondir ?= $(datadir)/fish/vendor_completions.d

install:
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(sbindir)/conbool-milter
	install -D -m 644 -t $(DESTDIR)$(sysconfdir)/conbool-milter packaging/conbool-milter.toml
	install -D -m 644 -t $(DESTDIR)$(mandir)/man5 man/*.5
	install -D -m 644 -t $(DESTDIR)$(mandir)/man8 man/*.8
	install -D -m 644 -t $(DESTDIR)$(unitdir) packaging/systemd/*
	install -D -m 644 -t $(DESTDIR)$(sysusersdir) packaging/sysusers.d/*
	install -D -m 644 -t $(DESTDIR)$(tmpfilesdir) packaging/tmpfiles.d/*
	for provider in sieve/*; do \
	    install -D -m 644 -t $(DESTDIR)$(datadir)/conbool-milter/$$provider $$provider/* || exit; \
	done
	install -D -m 644 -t $(DESTDIR)$(docdir)/examples packaging/grafana/conbool-milter.json packaging/prometheus/conbool-milter.rules.yml
	CARGO='$(CARGO)' packaging/third-party-licences >$(DESTDIR)$(docdir)/third-party-licences
	gzip -9nf $(DESTDIR)$(docdir)/third-party-licences
	install -d $(DESTDIR)$(bashcompletiondir) $(DESTDIR)$(zshcompletiondir) $(DESTDIR)$(fishcompletiondir)
	$(PROGRAM) completion bash >$(DESTDIR)$(bashcompletiondir)/conbool-milter
	$(PROGRAM) completion zsh >$(DESTDIR)$(zshcompletiondir)/_conbool-milter
	$(PROGRAM) completion fish >$(DESTDIR)$(fishcompletiondir)/conbool-milter.fish
	chmod 644 $(DESTDIR)$(bashcompletiondir)/conbool-milter $(DESTDIR)$(zshcompletiondir)/_conbool-milter \
	    $(DESTDIR)$(fishcompletiondir)/conbool-milter.fish
