# The two commands to know: `make demo` shows what the milter does, `make test` runs every test.
# Both install the Debian packages that are missing, and run the tests as root: the lab makes networks of its own.

CARGO ?= cargo
ifneq ($(shell id -u),0)
AS_ROOT := --config "target.'cfg(all())'.runner = ['sudo', '-E']"
endif

.PHONY: demo test bench packages

demo: packages
	$(CARGO) test $(AS_ROOT) --test demo

test: packages
	$(CARGO) test $(AS_ROOT)

bench: packages
	$(CARGO) bench

packages:
	@tests/install-packages
