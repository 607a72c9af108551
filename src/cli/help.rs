//! What stands behind the flags of a command in `--help`: examples, what to know, exit codes.
//!
//! A paragraph is one line, which the printer wraps to the terminal. Lines that begin with blanks are for a shell, and narrow
//! enough never to be wrapped.

pub const DEMO: &str = "\
Examples:
  slowburn demo
  slowburn demo --speed 120 --listen 127.0.0.1:8080";

pub const RUN: &str = "\
Examples:
  slowburn run --prometheus-url http://localhost:9090 --rules rules/services
  slowburn run --prometheus-url http://prometheus:9090 \\
    --rules /etc/slowburn/rules --data-dir /var/lib/slowburn \\
    --alertmanager-url http://am-0:9093 --alertmanager-url http://am-1:9093
  slowburn run --follow https://slowburn.example:9595 --service checkout

With --follow it runs beside one service and repeats what the daemon at that URL says of it: signals and SLOs on \
    loopback, unknown when that daemon is silent for two polls. It reads no rules and no Prometheus, keeps nothing, and \
    decides nothing: docs/sidecar.md.

SIGHUP or POST /-/reload reads the rules again, --watch does so when they change; files with errors leave the old \
    ones in force.

Exit codes: 0 stopped, 1 could not start, 64 bad configuration";

pub const CHECK: &str = "\
Examples:
  slowburn check rules/services rules/policies
  slowburn check --format sarif rules > slowburn.sarif
  slowburn check rules/services --prometheus-url http://localhost:9090
  slowburn check rules/services --prometheus-url http://localhost:9090 \\
    --days 7 --format json

With --prometheus-url it also says what each SLO finds there, how it fits, and how the last 30 days would have \
    looked: docs/check.md.

What is wrong is printed first, and what the clauses come to last.

Exit codes: 0 nothing to correct, 1 errors, missing series or buckets (or warnings with --strict), 2 wrong usage, \
    4 Prometheus cannot be asked";

pub const INIT: &str = "\
Examples:
  slowburn init --prometheus-url http://localhost:9090
  slowburn init --prometheus-url http://localhost:9090 --out slo \\
    --owner team-llm
  slowburn init --prometheus-url http://localhost:9090 --preset vllm \\
    --preset istio --out slo
  slowburn init --prometheus-url http://localhost:9090 --format json \\
    | jq -r '.services[].name'

It looks for the metrics of known stacks (slowburn presets), takes objectives and bounds from what the last day \
    kept, and overwrites no file.

Exit codes: 0 written or printed, 1 nothing found, 2 wrong usage, 4 Prometheus cannot be asked";

pub const EVAL: &str = "\
Examples:
  slowburn eval --prometheus-url http://localhost:9090 --rules rules/services
  slowburn eval --prometheus-url http://localhost:9090 --rules rules/services \\
    --at 2026-11-01T12:00:00Z --format json
  slowburn eval --prometheus-url http://localhost:9090 --rules rules/services \\
    --history checkout-availability --from 2026-11-01T00:00:00Z \\
    --at 2026-11-01T12:00:00Z --step 5m

With --history it exits with 0, or 4 where nothing is known of the range.

Exit codes: 0 nothing burns, 1 something burns or is exhausted, 2 wrong usage, 4 an SLO has no data, or \
    Prometheus cannot be asked, 64 bad rules or settings";

pub const EXPLAIN: &str = "\
Examples:
  slowburn explain checkout-availability \\
    --prometheus-url http://localhost:9090 --rules rules/services
  slowburn explain checkout-availability \\
    --prometheus-url http://localhost:9090 --rules rules/services \\
    --at 2026-11-01T12:00:00Z --window 1h --samples
  slowburn explain checkout-availability \\
    --prometheus-url http://localhost:9090 --rules rules/services \\
    --format json | jq '[.series[].changes[] | select(.why != \"rose\")]'

It reads the same samples by the same rules as `run` and `eval`, and says of each raw series what it counted and \
    why.
What a change of something needs to be allowed says `slowburn ask --explain`. Rules: docs/numbers.md.

Exit codes: 0 the samples sum up to what was counted, 1 some slices differ (they are named), 2 wrong usage, 4 \
    Prometheus cannot be asked, or there are no samples; 64 bad rules or settings";

pub const INCIDENTS: &str = "\
Examples:
  slowburn incidents --service checkout
  slowburn incidents checkout-20261101T0207Z
  slowburn incidents checkout-20261101T0207Z \\
    --mitigation 'revert config and flush cache' --helped true
  slowburn incidents checkout-20261101T0207Z --format markdown > postmortem.md
  slowburn incidents --format jsonl > incidents.jsonl

What people say needs a token of theirs (SLOWBURN_TOKEN or --token-file) and goes to the audit log: \
    docs/incidents.md.

Exit codes: 0 printed, 2 wrong usage, no such incident, or not allowed, 5 the daemon cannot be reached";

pub const REPORT: &str = "\
Examples:
  slowburn report --period 2026-10
  slowburn report --period 2026-Q4 --time-zone Europe/Paris --format csv \\
    > q4.csv

It asks a running daemon; what its ledger no longer holds is unknown, and how much is known stands in each row.

Exit codes: 0 every objective that is known was met, 1 one was missed, 2 wrong usage, 5 the daemon cannot be \
    reached";

pub const COMPARE: &str = "\
Examples:
  slowburn compare --prometheus-url http://localhost:9090 --rules sloth/ \\
    --owner team-pay
  slowburn compare --prometheus-url http://localhost:9090 \\
    --rules rules/services --tolerance 5 --at 2026-11-01T12:00:00Z \\
    --format json | jq '.slos[] | select(.verdict == \"differ\")'

What is compared, and how causes are measured: docs/compare.md.

Exit codes: 0 they agree within the tolerance, 1 some differ, 2 wrong usage, 4 Prometheus cannot be asked, or none \
    differs and some have no data on one side, 64 bad rules or settings";

pub const PRESETS: &str = "\
Examples:
  slowburn presets
  slowburn presets vllm
  slowburn presets --format json | jq -r '.[].name'
  slowburn presets our-gateway --presets rules/presets

Exit codes: 0 shown, 2 no such preset, 64 a preset of your own has errors";

pub const SCHEMA: &str = "\
Examples:
  slowburn schema service > service.schema.json
  slowburn schema policy --format markdown

An editor uses it where the first line of a file is
  # yaml-language-server: $schema=service.schema.json

Exit codes: 0 printed, 2 wrong usage";

pub const CRDS: &str = "\
Examples:
  slowburn crds | kubectl apply --server-side -f -
  slowburn crds --to deploy/kubernetes/crds

How rules are kept in a cluster: docs/kubernetes.md.

Exit codes: 0 printed or written, 1 cannot be written, 2 wrong usage";

pub const IMPORT: &str = "\
Examples:
  slowburn import slos/sloth.yaml
  slowburn import slos/ --owner team-checkout --out rules/services
  slowburn import slos/ alert-windows.yaml --slo-period 28d --format json
  helm template charts/slos | slowburn import - --keep-going \\
    --out rules/services

The same files can be given to check, run and eval as they are. What each key becomes, and what is refused: \
    docs/import.md.

Exit codes: 0 imported, 1 something was refused (and nothing written, but for --keep-going), 2 wrong usage";

pub const ASK: &str = "\
Examples:
  slowburn ask --service checkout --action deploy \\
    --resource deployment/checkout-service --from-version v42 \\
    --to-version v43 --token-file pipeline.token
  slowburn ask --service checkout --action rollback \\
    --resource deployment/checkout-service --from-version v42 \\
    --to-version v41 --reason slo_burn_rate_exceeded --wait 10m --redeem
  slowburn ask --explain --service checkout --action scale \\
    --resource deployment/checkout-service --replicas 8

What the counts behind a decision are made of says `slowburn explain SLO`.

Exit codes: 0 allow, 2 deny (or wrong usage), 3 needs approval, 4 no usable data, 5 not reachable.
Only 0 means yes";

pub const WHY: &str = "\
Examples:
  slowburn why deployment/checkout-service
  slowburn why deployment/checkout-service --service checkout --last 5
  slowburn why dec_01JD --format json

Exit codes: 0 shown, 1 no such decision among the newest records, 2 wrong usage, 5 the daemon does not answer";

pub const PLUGIN_ASK: &str = "\
Examples:
  kubectl slowburn ask --service checkout --action rollback \\
    --resource deployment/checkout-service --from-version v42 \\
    --to-version v41 --wait 10m --redeem --token-file ada.token

Exit codes: 0 allow, 2 deny (or wrong usage), 3 needs approval, 4 no usable data, 5 not reachable.
Only 0 means yes";

pub const PLUGIN_EXPLAIN: &str = "\
Examples:
  kubectl slowburn explain --service checkout --action scale \\
    --resource deployment/checkout-service --replicas 8

Exit codes: as of `kubectl slowburn ask`; here 0 means that it would be allowed";

pub const PLUGIN_WHY: &str = "\
Examples:
  kubectl slowburn why deployment/checkout-service
  kubectl slowburn why deployment/checkout-service --last 5

Exit codes: 0 shown, 1 no such decision among the newest records, 2 wrong usage, 5 the daemon does not answer";

pub const REDEEM: &str = "\
Example:
  slowburn redeem prm_01JD && kubectl rollout undo deployment/checkout-service

Exit codes: as of `slowburn ask`";

pub const RELEASE: &str = "\
Example:
  slowburn release prm_01JD

Exit codes: 0 released, 1 no such permit, or it was used; 5 the daemon does not answer";

pub const OUTCOME: &str = "\
Example:
  slowburn outcome prm_01JD --note 'rolled back to v41'";

pub const APPROVE: &str = "\
Examples:
  slowburn approve apr_01JD --token-file ada.token
  slowburn approve apr_01JD --reject --reason 'the database is the cause'

Exit codes: 0 done, 2 refused, 5 not reachable";

pub const APPROVALS: &str = "\
Examples:
  slowburn approvals
  slowburn approvals apr_01JD --format json";

pub const HALT: &str = "\
Examples:
  slowburn halt --service checkout --reason 'INC-2025-042' --for 2h
  slowburn halt --actor ai-operator/orca-ops \\
    --reason 'rolled back a healthy service'
  slowburn halt --global --people --reason 'data centre move'";

pub const RESUME: &str = "\
Example:
  slowburn resume hlt_01JD --reason 'the incident is over'";

pub const HALTS: &str = "\
Example:
  slowburn halts --format json";

pub const WITNESS: &str = "\
Examples:
  slowburn audit key --data-dir /var/lib/slowburn \\
    > checkout.pub   # beside the daemon
  slowburn witness --data-dir /var/lib/slowburn-witness --log checkout.pub \\
    --listen 0.0.0.0:9596
  slowburn witness --data-dir /var/lib/slowburn-witness \\
    --forget checkout.prod.example/slowburn

It prints its line for the daemon's policy of witnesses: docs/audit.md.

Exit codes: 0 stopped, or forgotten; 1 it cannot start";

pub const REPLAY: &str = "\
Examples:
  slowburn replay --data-dir /var/lib/slowburn --policy rules/policies \\
    --since 90d
  slowburn replay --dir audit-copy

Exit codes: 0 no flips, 1 flips (or decisions that this version decides otherwise), 2 wrong usage, 64 bad policies";

pub const BACKTEST: &str = "\
Examples:
  slowburn backtest --prometheus-url http://localhost:9090 \\
    --rules rules/services --since 30d
  slowburn backtest --prometheus-url http://localhost:9090 --rules main/rules \\
    --policy rules --policy branch/rules --format markdown --max-pages 5 \\
    --must-page slo=checkout-availability@2026-11-03T10:20:00Z
  slowburn backtest --events events.csv --labels incidents.csv --policy rules \\
    --policy workbook --format svg

What the files hold, and how to read a report: docs/backtest.md.

Exit codes: 0 done, 1 --max-pages or --must-page is broken, 2 wrong usage, 4 Prometheus cannot be asked, 64 bad \
    rules";

pub const COMPLETIONS: &str = "\
Example:
  slowburn completions bash > /etc/bash_completion.d/slowburn";

pub const AUDIT_LIST: &str = "\
Examples:
  slowburn audit list --data-dir /var/lib/slowburn --service checkout
  slowburn audit list --data-dir /var/lib/slowburn \\
    --actor ai-operator/orca-ops --since 24h --decision deny
  slowburn audit list --data-dir /var/lib/slowburn --incident INC-2025-042 \\
    --format json

Exit codes: 0 listed (also when nothing is found), 1 the log cannot be read, 2 wrong usage";

pub const AUDIT_SHOW: &str = "\
Examples:
  slowburn audit show --data-dir /var/lib/slowburn 1842
  slowburn audit show --data-dir /var/lib/slowburn dec_01J9ZK3T
  slowburn audit show --data-dir /var/lib/slowburn 1842 --proof

Exit codes: 0 shown, 1 not there or the log cannot be read, 2 wrong usage";

pub const AUDIT_VERIFY: &str = "\
Examples:
  slowburn audit verify --data-dir /var/lib/slowburn
  slowburn audit verify --dir ./audit-copy --key slowburn.pub \\
    --anchor anchors.txt --anchor daemon.log

Exit codes: 0 nothing wrong (half a record at the end is named, and is no fault), 1 faults, 2 wrong usage, or the \
    log or key cannot be read";

pub const AUDIT_KEY: &str = "\
Example:
  slowburn audit key --data-dir /var/lib/slowburn > slowburn.pub

Keep it where whoever may write the log cannot change it.";

pub const AUDIT_RECEIPT: &str = "\
Example:
  slowburn audit receipt --data-dir /var/lib/slowburn 1842 \\
    --policy witnesses.policy > 1842.tlog-proof

The form is C2SP tlog-proof; the leaf is SHA-256 of a zero byte and the record as canonical JSON (docs/audit.md).

Exit codes: 0 printed, 1 no cosigned checkpoint covers the record yet, 2 wrong usage";

pub const AUDIT_ACCEPT: &str = "\
Examples:
  slowburn audit accept --reason 'restored from the backup of 02:00, INC-7' \\
    --token-file ada.token

Asks the running daemon. `slowburn audit verify` says what is wrong with the log; look first.

Exit codes: 0 accepted, 2 refused, 5 the daemon does not answer";

pub const AUDIT_EXPORT: &str = "\
Examples:
  slowburn audit export --data-dir /var/lib/slowburn --format opa \\
    > decisions.json
  slowburn audit export --data-dir /var/lib/slowburn --format opa-lines \\
    --since 7d | gzip > decisions.jsonl.gz
  slowburn audit export --data-dir /var/lib/slowburn --format records \\
    --service checkout";

pub const EXPORT_PROMETHEUS: &str = "\
Examples:
  slowburn export prometheus --rules rules/services > slowburn-slos.yaml
  slowburn export prometheus --rules rules/services \\
    --out /etc/prometheus/rules/slos.yaml

The alerts carry watcher=\"prometheus\". What they cannot know is said in the file.

Exit codes: 0 written, 1 some SLO could not be written (the file says which), 2 the file cannot be written, 64 bad \
    rules";

pub const EXPORT_GRAFANA: &str = "\
Examples:
  slowburn export grafana --out /var/lib/grafana/dashboards
  slowburn export grafana fleet.json > fleet.json

Exit codes: 0 written, 2 wrong usage, or a file cannot be written";

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use crate::cli::Cli;

    /// What the terminal of the narrowest kind shows.
    const NARROW: usize = 80;

    /// What is wrong with the end of a command's help, as a terminal of this width shows it.
    fn faults(command: &Command, width: usize) -> Vec<String> {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let shown = command.clone().term_width(width).render_long_help().to_string();
        let Some(first) = text.lines().next() else { return Vec::new() };
        let shown: Vec<&str> = shown.lines().skip_while(|line| *line != first).collect();
        let mut faults = Vec::new();
        for line in text.lines().filter(|line| line.starts_with(' ')) {
            if !shown.contains(&line) {
                faults.push(format!("is wrapped, and cannot be copied: {line}"));
            }
        }
        for pair in shown.windows(2).filter(|pair| pair.iter().all(|line| !line.is_empty() && !line.starts_with(' '))) {
            let [line, next] = pair else { continue };
            let word = next.split(' ').next().map_or(0, str::len);
            if !line.ends_with(['.', ':']) && line.len() + 1 + word <= width {
                faults.push(format!("ends in the middle of a line: {line}"));
            }
        }
        faults.extend(shown.iter().filter(|line| line.len() > width).map(|line| format!("too long: {line}")));
        faults
    }

    #[test]
    fn no_help_text_breaks_in_the_middle_of_a_line() {
        let cli = Cli::command();
        let (mut all, mut seen) = (vec![&cli], 0);
        while let Some(command) = all.pop() {
            all.extend(command.get_subcommands());
            seen += usize::from(command.get_after_help().is_some());
            for width in [NARROW, 100, 110] {
                let faults = faults(command, width);
                assert!(faults.is_empty(), "{} at {width}:\n{}", command.get_name(), faults.join("\n"));
            }
        }
        assert!(seen > 25, "only {seen} commands have examples");
    }

    #[test]
    fn a_break_in_the_middle_of_a_line_is_seen() {
        let of = |text: &'static str| faults(&Command::new("a").after_help(text), NARROW);
        let broken = "Example:\n  a\n\nExit codes: 0 nothing to correct, 1 errors,\n2 wrong usage";
        assert_eq!(of(broken), ["ends in the middle of a line: Exit codes: 0 nothing to correct, 1 errors,"]);
        let long = "Example:\n  a --with-a-long-flag and-its-value --with-another-long-flag and-its-value --and-more";
        assert_eq!(of(long).len(), 1, "{:?}", of(long));
        assert!(of("Example:\n  a\n\nOne sentence.\nAnother one.").is_empty());
    }

    #[test]
    fn who_asks_prometheus_says_the_one_code_for_no_answer() {
        for (command, text) in [
            ("check", super::CHECK),
            ("init", super::INIT),
            ("eval", super::EVAL),
            ("explain", super::EXPLAIN),
            ("compare", super::COMPARE),
            ("backtest", super::BACKTEST),
        ] {
            let codes = text.split_once("Exit codes: ").map_or("", |(_, codes)| codes);
            let of_four = codes.split_once(", 4 ").map_or("", |(_, after)| after);
            let of_four = of_four.split_once(" 64 ").map_or(of_four, |(of_four, _)| of_four);
            assert!(of_four.contains("Prometheus cannot be asked"), "{command}: {codes}");
        }
    }
}
