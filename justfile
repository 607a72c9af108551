# The one door. Everything here also works without just: see the commands.

# list the recipes
default:
    @just --list

# formatting, lints, unit tests
check:
    tests/run quick

# everything, with the real Prometheus and Alertmanager
test *args:
    {{ if args == "" { "tests/run" } else { "tests/run tests " + args } }}

# a simulated fleet with an incident, and the page that shows it
demo *args:
    cargo run --release -- demo {{ args }}

# the tables of the README
bench *args: parts
    cargo bench {{ args }}

# the documentation of the library
doc:
    cargo doc --no-deps --document-private-items --open

# fetch the real parts the tests and benches need
parts:
    tests/parts
