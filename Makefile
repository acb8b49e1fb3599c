# What people type. Longer than a line of shell: see scripts/.
CARGO ?= cargo

.PHONY: run test check bench profile instructions anomaly chaos conformance fuzz package lab audit-bench setup demo client-soak client-soak-rust client-faults client-node e2e worlds faults soak docs help

help: ## shows this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: demo ## builds what is needed and starts the development server with its demo page
	$(CARGO) run --release -p wsguard-cli -- serve --dev

demo: ## builds the demo page anew where its sources changed
	scripts/demo.sh

setup: ## installs what the tests need and this machine lacks
	scripts/setup.sh

test: setup ## runs every test
	scripts/test.sh

check: ## formatting, lints, documents, generated files, dependency edges
	scripts/check.sh

docs: ## builds the book into target/book and follows its links
	scripts/docs.sh

profile: setup ## where the instructions of a secured chat go, by control, after `cargo build --release -p wsguard-cli -p testkit`
	scripts/profile.py $(ARGS)

instructions: setup ## counts the instructions of the message path and compares them with the last that were written down
	scripts/instructions.py $(ARGS)

bench: ## measures against the raw driver and the Node stack, as ratios in one run
	$(CARGO) run --release -p testkit --bin bench --

anomaly: ## evaluates the anomaly scores on seeds that nobody tuned on; writes docs/anomaly.md and its plot
	$(CARGO) run --release -p testkit --bin anomaly --

chaos: ## floods and faults on the real server while honest clients chat; writes docs/resilience.md: SCENARIOS="slow kill" for some
	$(CARGO) run --release -p testkit --bin chaos -- $(SCENARIOS) $(ARGS)

conformance: ## Autobahn|Testsuite against the driver; writes docs/conformance.md
	testkit/conformance/run.py

fuzz: ## searches for inputs that break a promise, a minute a target: SECONDS=600 TARGETS="frame scan" for more or less
	fuzz/run.sh $(SECONDS) $(TARGETS)

package: ## builds every crate that is published from its package, and packs the client; minutes
	CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$(CURDIR)/target}" $(CARGO) package --workspace --locked --exclude testkit --exclude xtask
	npm pack --dry-run --prefix packages/client ./packages/client

lab: ## holds the written truth of every real server in testkit/lab against the independent probes; half an hour
	testkit/lab/lab.py prove

audit-bench: ## runs `wsguard audit` on every real server in testkit/lab; writes docs/audit-accuracy.md
	$(CARGO) build -p wsguard-cli
	testkit/lab/lab.py bench --binary "$${CARGO_TARGET_DIR:-target}/debug/wsguard" --report docs/audit-accuracy.md

e2e: ## `wsguard setup` for each kind of project, installed, built, started and used; minutes, and downloads
	$(CARGO) build -p wsguard-cli
	testkit/setup/install.sh
	node --test --test-force-exit testkit/setup/e2e.mjs

client-soak: ## ten minutes of a bad network for the TypeScript client: nothing lost, nothing twice, memory flat
	$(CARGO) build -p wsguard-cli
	npm run soak --prefix packages/client

client-faults: ## shows that the tests of both clients fail where these are broken
	npm run faults --prefix packages/client
	node testkit/client/faults.mjs

client-node: ## the tests of the TypeScript client under Node 22 and its own WebSocket: VERSION=24 for another
	$(CARGO) build -p wsguard-cli
	npm run test:node --prefix packages/client -- $(or $(VERSION),22)

worlds: ## 200 simulated worlds, each run twice: WORLDS=1000 for more, WSGUARD_WORLD=SEED for one with its trace
	simulation/run.sh worlds

faults: ## shows that every checker of the simulation finds the faults that it is meant to find
	simulation/run.sh faults

soak: ## thousands of simulated worlds, half an hour at most: SECONDS_MAX=7200 for longer
	simulation/run.sh soak

client-soak-rust: ## ten minutes of the Rust client over a network that keeps failing: SECONDS=60 for less
	$(CARGO) run -p testkit --bin client-soak -- $(or $(SECONDS),600)
