# The one door. Everything here also works without just: see the commands.

# list the recipes
default:
    @just --list

# formatting, lints, unit tests
check:
    tests/run quick

# everything with the real Prometheus, Alertmanager and browser, or only the tests whose name contains a word
test *name:
    tests/run {{ if name == "" { "all" } else { "tests " + name } }}

# a simulated fleet with an incident, and the page that shows it
demo *args:
    cargo run --locked -- demo {{ args }}

# play many random stories of counters against the rules of what may be booked
stories count="1000000":
    PROPTEST_CASES={{ count }} PROPTEST_RNG_SEED=$(date +%s) cargo test --release --locked --lib increment::proof

# the tables of docs/measurements.md
bench *args: parts
    cargo bench --locked {{ args }}

# the documentation of the source, private items included
doc:
    cargo doc --locked --no-deps --document-private-items --open

# the pictures of README and docs, made from the running demo (needs node and chromium)
pictures:
    cargo build --locked
    node release/pictures.mjs target/debug/slowburn

# the pages of docs/ as a book in target/book (needs mdbook 0.4)
book:
    release/book

# licences, advisories, sources and doubles of the dependencies (needs cargo-deny)
deny:
    cargo deny check

# fetch the real programs that tests and benches need
parts:
    tests/parts

# one static file of the profile `dist`, as deploy/Dockerfile makes it; its size must not be over 22 MB
dist:
    #!/usr/bin/env sh
    set -eu
    file=$(release/build)
    bytes=$(wc -c < "$file")
    echo "$file: $bytes bytes"
    test "$bytes" -le 22000000

# everything a release is made of, into a folder: static binary, .deb, checksums, list of parts (RELEASE.md)
release version out="target/release-files":
    release/make {{ version }} {{ out }}
