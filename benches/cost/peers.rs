//! What generators of recording rules would load into the server for the same promises: files of the shape that Sloth
//! and Pyrra write, made here. Shapes and intervals are theirs (Sloth's groups carry none, so they take the server's;
//! 30 s here); the service names are ours.

use serde_json::{Map, Value, json};

/// One SLO as its rules see it.
pub struct Promise {
    /// `<service>-<slo>`.
    pub id: String,
    pub service: String,
    pub slo: &'static str,
    /// 0 to 1.
    pub objective: &'static str,
    /// `1 - objective` as a number.
    pub budget: &'static str,
    /// Selector of all events.
    pub total: String,
    /// Selector of the bad ones, or of the good ones.
    pub part: Part,
    /// Prefix of what Pyrra records.
    metric: &'static str,
}

/// What is counted beside the total.
pub enum Part {
    Bad(String),
    Good(String),
}

/// Windows that Sloth records.
const SLOTH_WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];
/// Windows that Pyrra records for a period of 30 days.
const PYRRA_WINDOWS: [&str; 7] = ["5m", "32m", "1h4m", "2h9m", "6h26m", "1d1h43m", "4d6h51m"];
/// Short window, long window, `for`, factor, severity.
const PYRRA_ALERTS: [(&str, &str, &str, &str, &str); 4] = [
    ("5m", "1h4m", "2m", "14", "critical"),
    ("32m", "6h26m", "16m", "7", "critical"),
    ("2h9m", "1d1h43m", "1h4m", "2", "warning"),
    ("6h26m", "4d6h51m", "3h13m", "1", "warning"),
];

/// Both promises of each service.
pub fn promises(services: usize) -> Vec<Promise> {
    let of = |number: usize| {
        let service = format!("svc{number:03}");
        let (requests, seconds) = ("http_requests_total", "http_request_duration_seconds");
        let on = |name: &str, more: &str| format!("{name}{{service=\"{service}\"{more}}}");
        let availability = Promise {
            id: format!("{service}-availability"),
            service: service.clone(),
            slo: "availability",
            objective: "0.999",
            budget: "0.001",
            total: on(requests, ""),
            part: Part::Bad(on(requests, ",code=~\"5..\"")),
            metric: "http_requests",
        };
        let latency = Promise {
            id: format!("{service}-latency"),
            service: service.clone(),
            slo: "latency",
            objective: "0.99",
            budget: "0.01",
            total: on(&format!("{seconds}_count"), ""),
            part: Part::Good(on(&format!("{seconds}_bucket"), ",le=\"0.25\"")),
            metric: "http_request_duration_seconds",
        };
        [availability, latency]
    };
    (0..services).flat_map(of).collect()
}

impl Promise {
    /// Bad events a second over `window`.
    fn bad(&self, window: &str) -> String {
        match &self.part {
            Part::Bad(bad) => format!("sum(rate({bad}[{window}]))"),
            Part::Good(good) => format!("sum(rate({}[{window}])) - sum(rate({good}[{window}]))", self.total),
        }
    }

    fn all(&self, window: &str) -> String {
        format!("sum(rate({}[{window}]))", self.total)
    }

    /// The labels Sloth puts on every series.
    pub fn sloth_labels(&self) -> Vec<(&'static str, &str)> {
        vec![("sloth_id", &self.id), ("sloth_service", &self.service), ("sloth_slo", self.slo)]
    }

    fn sloth(&self) -> [Value; 3] {
        let pairs: Vec<String> =
            self.sloth_labels().iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let own = format!("{{{}}}", pairs.join(", "));
        let (five, month) = (ratio("5m"), ratio("30d"));
        let recording = |record: &str, expr: String, more: &[(&str, &str)]| {
            rule(record, expr, self.sloth_labels().into_iter().chain(more.iter().copied()))
        };
        let mut sli: Vec<Value> = SLOTH_WINDOWS
            .iter()
            .map(|w| recording(&ratio(w), format!("({})\n/\n({})", self.bad(w), self.all(w)), &[("sloth_window", w)]))
            .collect();
        let mean =
            format!("sum_over_time({five}{own}[30d])\n/ ignoring (sloth_window)\ncount_over_time({five}{own}[30d])");
        sli.push(recording(&month, mean, &[("sloth_window", "30d")]));
        let over_budget = |of: &str| {
            format!("{of}{own}\n/ on(sloth_id, sloth_slo, sloth_service) group_left\nslo:error_budget:ratio{own}")
        };
        let meta = vec![
            recording("slo:objective:ratio", format!("vector({})", self.objective), &[]),
            recording("slo:error_budget:ratio", format!("vector(1-{})", self.objective), &[]),
            recording("slo:time_period:days", "vector(30)".into(), &[]),
            recording("slo:current_burn_rate:ratio", over_budget(&five), &[]),
            recording("slo:period_burn_rate:ratio", over_budget(&month), &[]),
            recording("slo:period_error_budget_remaining:ratio", format!("1 - slo:period_burn_rate:ratio{own}"), &[]),
            recording(
                "sloth_slo_info",
                "vector(1)".into(),
                &[("sloth_mode", "cli-gen-prom"), ("sloth_spec", "prometheus/v1")],
            ),
        ];
        let over = |window: &str, factor: &str| {
            format!("max({}{own} > ({factor} * {})) without (sloth_window)", ratio(window), self.budget)
        };
        let both = |(a, b, first): (&str, &str, &str), (c, d, second): (&str, &str, &str)| {
            format!(
                "(\n{}\nand\n{}\n)\nor\n(\n{}\nand\n{}\n)",
                over(a, first),
                over(b, first),
                over(c, second),
                over(d, second)
            )
        };
        let alert = |severity: &str, expr: String| {
            json!({"alert": "ErrorBudgetBurn", "expr": expr, "labels": {"sloth_severity": severity},
                   "annotations": {"summary": "{{$labels.sloth_service}} {{$labels.sloth_slo}} burns its error budget too fast.",
                                   "title": "({{$labels.sloth_service}} {{$labels.sloth_slo}})"}})
        };
        let alerts = vec![
            alert("page", both(("5m", "1h", "14.4"), ("30m", "6h", "6"))),
            alert("ticket", both(("2h", "1d", "3"), ("6h", "3d", "1"))),
        ];
        [
            group(format!("sloth-slo-sli-recordings-{}", self.id), "30s", sli),
            group(format!("sloth-slo-meta-recordings-{}", self.id), "30s", meta),
            group(format!("sloth-slo-alerts-{}", self.id), "30s", alerts),
        ]
    }

    fn pyrra(&self) -> [Value; 2] {
        let name = format!("{}-errors", self.id);
        let labels = || [("slo", name.as_str()), ("service", self.service.as_str())];
        let burn = |window: &str| format!("{}:burnrate{window}", self.metric);
        let mut rules: Vec<Value> = PYRRA_WINDOWS
            .iter()
            .map(|w| {
                let bad = self.bad(w);
                let bad = if matches!(self.part, Part::Good(_)) { format!("({bad})") } else { bad };
                rule(&burn(w), format!("{bad}\n/\n{}", self.all(w)), labels())
            })
            .collect();
        for (short, long, wait, factor, severity) in PYRRA_ALERTS {
            let over = |w| {
                let burn = burn(w);
                format!("{burn}{{service=\"{}\",slo=\"{name}\"}} > ({factor} * (1-{}))", self.service, self.objective)
            };
            rules.push(json!({
                "alert": "ErrorBudgetBurn", "expr": format!("{} and {}", over(short), over(long)), "for": wait,
                "labels": {"service": self.service, "slo": name, "short": short, "long": long, "severity": severity},
            }));
        }
        let increase = |selector: &str, by: &str| format!("sum{by}(increase({selector}[30d]))");
        let record = format!("{}:increase30d", self.metric);
        let absent = |selector: &str| {
            json!({"alert": "SLOMetricAbsent", "expr": format!("absent({selector}) == 1"), "for": "3m",
                   "labels": {"service": self.service, "slo": name, "severity": "critical"}})
        };
        let slow = match &self.part {
            Part::Bad(_) => vec![rule(&record, increase(&self.total, " by (code) "), labels()), absent(&self.total)],
            Part::Good(good) => vec![
                rule(&record, increase(&self.total, ""), labels()),
                rule(&record, increase(good, ""), labels().into_iter().chain([("le", "0.25")])),
                absent(&self.total),
                absent(good),
            ],
        };
        [group(name.clone(), "30s", rules), group(format!("{name}-increase"), "2m30s", slow)]
    }
}

/// What Sloth calls the error ratio of a window.
pub fn ratio(window: &str) -> String {
    format!("slo:sli_error:ratio_rate{window}")
}

fn rule<'a>(record: &str, expr: String, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let labels: Map<String, Value> =
        labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned().into())).collect();
    json!({"record": record, "expr": expr, "labels": labels})
}

fn group(name: String, interval: &str, rules: Vec<Value>) -> Value {
    json!({"name": name, "interval": interval, "rules": rules})
}

/// Rules of one shape for all promises. A rule file may be JSON: that is YAML too.
pub struct RuleFile {
    groups: Vec<Value>,
}

impl RuleFile {
    pub fn sloth(promises: &[Promise]) -> Self {
        RuleFile { groups: promises.iter().flat_map(Promise::sloth).collect() }
    }

    pub fn pyrra(promises: &[Promise]) -> Self {
        RuleFile { groups: promises.iter().flat_map(Promise::pyrra).collect() }
    }

    pub fn text(&self) -> String {
        json!({"groups": self.groups}).to_string()
    }

    /// Each expression, and how often it is evaluated in an hour.
    pub fn expressions(&self) -> Vec<(String, f64)> {
        let mut all = Vec::new();
        for group in &self.groups {
            let an_hour = if group["interval"] == "30s" { 120.0 } else { 24.0 };
            for rule in group["rules"].as_array().expect("a list of rules") {
                all.push((rule["expr"].as_str().expect("an expression").to_owned(), an_hour));
            }
        }
        all
    }

    /// What its rules record, with labels: (name, labels).
    pub fn recorded(&self) -> Vec<(String, Map<String, Value>)> {
        let rules = self.groups.iter().flat_map(|group| group["rules"].as_array().expect("a list of rules"));
        rules
            .filter_map(|rule| {
                let labels = rule["labels"].as_object().expect("labels").clone();
                Some((rule["record"].as_str()?.to_owned(), labels))
            })
            .collect()
    }
}
