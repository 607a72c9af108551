//! A stack's `/metrics` page as its source prints it, and an hour of events behind it whose truth is known.
//!
//! A `.prom` file is such a page with words where the values are:
//!
//! | word | value |
//! |---|---|
//! | `good.200`, `bad+not.abort` | a counter: events of these streams; `good` is every stream `good.*` |
//! | `latency of good.200 ms 5 10` | a histogram of how long the events of a stream took, with the bounds as the exporter spells them |
//! | `latency s 0.1 0.5` | the same of a stream of its own |
//! | `waiting` | a gauge of those who wait |
//! | `fresh s age 300 hold 40 63` | a gauge that freshness is read from; it stands still from scrape 40 on, until 63 |
//! | `gauge const 7` | another gauge |
//!
//! `late` after a word: the series is born with its first event. `not.*` counts for nothing, by the stack's own meaning.
//! `#! match` and `#! slo` say what a service would write.
//!
//! Deliberately absent: anything read from `rules/presets`. What is right must not come from what is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The hour begins here: on the slice grid, and on no grid of minutes or hours.
pub const START: i64 = 1_790_000_010;
/// Seconds between scrapes, which is also the length of a slice.
pub const EVERY: i64 = 30;
/// Scrapes of a pod that lives through the hour.
pub const SCRAPES: usize = 120;
/// Scrapes in which nobody gets through although somebody waits.
const STALL: std::ops::Range<usize> = 70..78;
/// How many wait then.
const STUCK: u64 = 5;
/// Scrapes in which requests are slow and fail.
const INCIDENT: std::ops::Range<usize> = 80..95;
/// What a pod had counted before anybody looked.
const BEFORE: u64 = 1_000;

/// One pod: it is scraped `offset` seconds into each slice, from scrape `born` on, and restarts at `restart`.
#[derive(Debug, Clone, Copy)]
struct Pod {
    name: &'static str,
    offset: i64,
    born: usize,
    restart: Option<usize>,
}

const PODS: [Pod; 3] = [
    Pod { name: "a", offset: 7, born: 0, restart: None },
    Pod { name: "b", offset: 19, born: 0, restart: Some(66) },
    Pod { name: "c", offset: 13, born: 45, restart: None },
];

/// One page.
#[derive(Debug)]
pub struct Stack {
    /// `knative.otel`: the preset, and which of its variants.
    pub stem: String,
    pub matches: Vec<(String, String)>,
    /// Keys of `slo:` and their values.
    pub slos: Vec<(String, f64)>,
    lines: Vec<Line>,
    /// Leaves of the streams that the lines name.
    streams: Vec<String>,
}

#[derive(Debug)]
struct Line {
    kind: String,
    name: String,
    labels: String,
    value: Value,
    late: bool,
}

#[derive(Debug)]
enum Value {
    Counter(Vec<String>),
    Times {
        kind: String,
        stream: String,
        per_second: f64,
        bounds: Vec<String>,
    },
    Waiting,
    /// `per_second` where freshness is read from it.
    Gauge {
        per_second: Option<f64>,
        shape: Vec<String>,
        changes: Vec<Change>,
    },
}

/// What happens to a gauge for some scrapes.
#[derive(Debug, Clone)]
struct Change {
    /// `hold` (stands still), `idle` (stands still, and says so elsewhere) or `set`.
    word: String,
    scrapes: std::ops::Range<usize>,
    value: f64,
}

/// What really happened, of one SLO.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Truth {
    pub total: u64,
    pub bad: u64,
}

impl Stack {
    /// Reads a page.
    pub fn parse(stem: &str, text: &str) -> Self {
        let mut stack = Stack { stem: stem.into(), matches: vec![], slos: vec![], lines: vec![], streams: vec![] };
        let mut types: BTreeMap<String, String> = BTreeMap::new();
        for line in text.lines() {
            if let Some(pair) = line.strip_prefix("#! match ").and_then(|rest| rest.split_once(": ")) {
                stack.matches.push((pair.0.into(), pair.1.into()));
            } else if let Some((key, value)) = line.strip_prefix("#! slo ").and_then(|rest| rest.split_once(": ")) {
                stack.slos.push((key.into(), value.parse().expect("a number")));
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                types.insert(name.into(), kind.into());
            } else if !line.starts_with('#') {
                stack.lines.push(Line::parse(line, &types));
            }
        }
        assert!(!stack.matches.is_empty() && !stack.slos.is_empty(), "{stem}: match and slo are needed");
        let named: BTreeSet<&String> = (stack.lines.iter())
            .flat_map(|line| match &line.value {
                Value::Counter(streams) => streams.iter().collect::<Vec<_>>(),
                Value::Times { stream, .. } => vec![stream],
                _ => vec![],
            })
            .collect();
        let is_leaf = |name: &&String| !named.iter().any(|other| other.starts_with(&format!("{name}.")));
        stack.streams = named.iter().copied().filter(is_leaf).cloned().collect();
        stack
    }

    /// The preset it is for.
    pub fn preset(&self) -> &str {
        self.stem.split('.').next().expect("a name")
    }

    /// Its service's name.
    pub fn service(&self) -> String {
        self.stem.replace('.', "-")
    }

    /// What a service writes to be judged by it.
    pub fn rules(&self) -> String {
        let matches: Vec<String> = self.matches.iter().map(|(label, value)| format!("{label}: '{value}'")).collect();
        let mut text = format!(
            "name: {}\nowner: team\ntelemetry: {{preset: {}, match: {{{}}}}}\nslo:\n",
            self.service(),
            self.preset(),
            matches.join(", ")
        );
        for (key, value) in &self.slos {
            match key.as_str() {
                "availability" => writeln!(text, "  availability: {{objective: {value}}}"),
                _ => writeln!(text, "  {key}: {{max: {value}}}"),
            }
            .expect("a String grows");
            if key.contains("_p95_") {
                writeln!(text, "  {}: {{max: {value}, method: events}}", key.replace("_p95_", "_p90_"))
                    .expect("a String grows");
            }
        }
        text
    }

    /// Names of its SLOs.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (key, _) in &self.slos {
            match key.split_once("_p95_") {
                Some((family, _)) => {
                    let family = family.replace('_', "-");
                    names.extend([format!("{family}-p95"), format!("{family}-p90")]);
                }
                None => names.push(key.trim_end_matches("_max_delay_s").replace('_', "-")),
            }
        }
        names
    }

    fn threshold(&self, kind: &str) -> f64 {
        let found = self.slos.iter().find(|(key, _)| key.starts_with(&format!("{kind}_")));
        found.map_or(1.0, |(key, value)| if key.ends_with("_ms") { value / 1000.0 } else { *value })
    }

    /// Whether it has a gauge of those who wait.
    fn waits(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.value, Value::Waiting))
    }

    fn leaves<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a String> + 'a {
        self.streams.iter().filter(move |leaf| *leaf == word || leaf.starts_with(&format!("{word}.")))
    }

    /// Events of a stream between scrape `k - 1` of a pod and scrape `k`.
    fn events(&self, pod: Pod, stream: &str, k: usize) -> u64 {
        if k <= pod.born {
            return 0;
        }
        let dice = dice(&[&self.stem, pod.name, stream], k, 0);
        let busiest =
            self.streams.iter().find(|stream| stream.starts_with("good")).is_some_and(|first| first == stream);
        match stream {
            // Who is not let in has no first token either.
            "times.gpu_queue_time" | "times.ttfb" if self.waits() && STALL.contains(&k) => 0,
            _ if busiest || stream.starts_with("times.") => 25 + dice % 20,
            _ if stream.starts_with("bad") && INCIDENT.contains(&k) => 3 + dice % 9,
            _ if stream.starts_with("bad") => dice % 5 / 4,
            _ => dice % 6,
        }
    }

    /// How long each of them took, seconds.
    fn times(&self, pod: Pod, kind: &str, stream: &str, k: usize) -> Vec<f64> {
        let threshold = self.threshold(kind);
        let slow = if INCIDENT.contains(&k) { 250 } else { 25 };
        let one = |i: u64| {
            let dice = dice(&[&self.stem, pod.name, stream, kind], k, i + 1);
            let share = (dice / 1000 % 1000) as f64 / 1000.0;
            match dice % 1000 < slow {
                true => threshold * (1.01 + 3.0 * share),
                false => threshold * (0.001 + 0.98 * share),
            }
        };
        (0..self.events(pod, stream, k)).map(one).collect()
    }

    /// What a service that is judged by this page should be told of the SLO `name` (`latency-p95`) over the hour. Counters
    /// count from their first scrape on; gauges have a value there.
    pub fn truth(&self, name: &str) -> Truth {
        let family = name.split("-p9").next().expect("a name").replace('-', "_");
        match family.as_str() {
            "availability" => self.availability(),
            "feature_freshness" => self.freshness(),
            kind if name.ends_with("-p90") => {
                // Whoever waits in a slice in which nobody was let in for longer than the bound is a slow event of it. The
                // last scrape of the stall shares its slice with the first completion after it.
                let stuck = STALL.filter(|k| *k + 1 < STALL.end && self.is_stuck(kind, *k)).count() as u64 * STUCK;
                let stuck = Truth { total: stuck, bad: stuck };
                self.slices(kind)[1..].iter().fold(stuck, |sum, of| sum.and(of.0))
            }
            kind => {
                let judged = |&(of, stuck): &(Truth, bool)| match of {
                    // Nobody got through: judged with those before it.
                    Truth { total: 0, .. } => Truth { total: 1, bad: stuck.into() },
                    // 5 % of its events may be slow.
                    Truth { total, bad } => Truth { total: 1, bad: (bad * 20 > total).into() },
                };
                let slices = self.slices(kind);
                assert!(slices.iter().all(|(of, _)| of.total == 0 || of.total >= 20), "{}: too quiet", self.stem);
                slices[1..].iter().map(judged).fold(Truth::default(), Truth::and)
            }
        }
    }

    fn availability(&self) -> Truth {
        let mut truth = Truth::default();
        for stream in &self.streams {
            let (is_good, is_bad) = (stream.starts_with("good"), stream.starts_with("bad"));
            for (pod, k) in PODS.iter().flat_map(|pod| (1..SCRAPES).map(move |k| (*pod, k))) {
                let events = if is_good || is_bad { self.events(pod, stream, k) } else { 0 };
                truth = truth.and(Truth { total: events, bad: if is_bad { events } else { 0 } });
            }
        }
        truth
    }

    /// By slice: all events of a kind and the slow ones, and whether somebody waited and nobody got through.
    fn slices(&self, kind: &str) -> Vec<(Truth, bool)> {
        let of_kind = |line: &Line| match &line.value {
            Value::Times { kind: own, stream, .. } if own == kind && !stream.starts_with("not") => Some(stream.clone()),
            _ => None,
        };
        let streams: BTreeSet<String> = self.lines.iter().filter_map(of_kind).collect();
        let threshold = self.threshold(kind);
        let of_slice = |k: usize| {
            let times = |pod: &Pod| streams.iter().flat_map(|stream| self.times(*pod, kind, stream, k)).collect();
            let times: Vec<f64> = PODS.iter().flat_map(|pod| -> Vec<f64> { times(pod) }).collect();
            let bad = times.iter().filter(|time| **time > threshold).count() as u64;
            (Truth { total: times.len() as u64, bad }, self.is_stuck(kind, k))
        };
        (0..SCRAPES).map(of_slice).collect()
    }

    /// Whether somebody waits at a scrape and nobody was let in for longer than the bound.
    fn is_stuck(&self, kind: &str, k: usize) -> bool {
        let silent_s = (k + 1).saturating_sub(STALL.start) as i64 * EVERY;
        kind == "gpu_queue_time" && self.waits() && STALL.contains(&k) && silent_s as f64 >= self.threshold(kind)
    }

    /// The worst gauge of each slice against the bound, and how many slices can be judged at all.
    fn freshness(&self) -> Truth {
        let threshold = self.threshold("feature_freshness_max_delay");
        let mut truth = Truth::default();
        for k in 0..SCRAPES {
            let ages = self.lines.iter().filter_map(|line| line.age(self, k));
            let worst = ages.fold(f64::NAN, f64::max);
            if !worst.is_nan() {
                truth = truth.and(Truth { total: 1, bad: (worst > threshold).into() });
            }
        }
        truth
    }

    /// The page over the hour, as OpenMetrics without its last line, and that its pods were scraped; and beside it another
    /// workload of the same stack, which nobody asked for.
    pub fn write(&self, out: &mut String) {
        for pod in PODS {
            let (job, host) = (self.job(), format!("{}-{}:8000", self.stem, pod.name));
            for k in pod.born..SCRAPES {
                let at = START + EVERY * k as i64 + pod.offset;
                writeln!(out, "up{{instance=\"{host}\",job=\"{job}\"}} 1 {at}").expect("a String grows");
            }
        }
        let mut typed = BTreeSet::new();
        for decoy in [false, true] {
            for line in &self.lines {
                if typed.insert(&line.name) {
                    writeln!(out, "# TYPE {} {}", line.name, line.kind).expect("a String grows");
                }
                let single = matches!(line.value, Value::Waiting | Value::Gauge { .. }) || decoy;
                for pod in &PODS[..if single { 1 } else { PODS.len() }] {
                    self.series(line, *pod, decoy, out);
                }
            }
        }
    }

    fn job(&self) -> &str {
        self.matches.iter().find(|(label, _)| label == "job").map_or(self.preset(), |(_, value)| value)
    }

    /// Labels of a line as they are scraped.
    fn labels(&self, line: &Line, pod: Pod, decoy: bool) -> String {
        let job = self.job();
        let comma = if line.labels.is_empty() { "" } else { "," };
        let host = if decoy { "elsewhere" } else { pod.name };
        let text = format!("{}{comma}instance=\"{}-{host}:8000\",job=\"{job}\"", line.labels, self.stem);
        // Generations may call the label otherwise.
        let hide = |text: String, (_, value): &(String, String)| {
            text.replace(&format!("=\"{value}\""), &format!("=\"{value}-decoy\""))
        };
        if decoy { self.matches.iter().fold(text, hide) } else { text }
    }

    fn series(&self, line: &Line, pod: Pod, decoy: bool, out: &mut String) {
        let labels = self.labels(line, pod, decoy);
        let end = if decoy { 20 } else { SCRAPES };
        let at = |k: usize| START + EVERY * k as i64 + pod.offset;
        let mut put = |name: &str, le: &str, points: &[Option<f64>]| {
            for (k, value) in points.iter().enumerate().take(end) {
                let Some(value) = value else { continue };
                writeln!(out, "{name}{{{labels}{le}}} {value} {}", at(k)).expect("a String grows");
            }
        };
        let before = if line.late || pod.born > 0 { 0 } else { BEFORE };
        let counted = |events: &dyn Fn(usize) -> u64| -> Vec<Option<f64>> {
            let mut sum = before;
            let point = |k: usize| {
                sum = if pod.restart == Some(k) { events(k) } else { sum + events(k) };
                (k >= pod.born && (sum > 0 || !line.late)).then_some(sum as f64)
            };
            (0..SCRAPES).map(point).collect()
        };
        match &line.value {
            Value::Counter(words) => {
                let leaves: Vec<&String> = words.iter().flat_map(|word| self.leaves(word)).collect();
                let events = |k: usize| leaves.iter().map(|stream| self.events(pod, stream, k)).sum();
                put(&line.name, "", &counted(&events));
            }
            Value::Times { kind, stream, per_second, bounds } => {
                let times: Vec<Vec<f64>> = (0..SCRAPES).map(|k| self.times(pod, kind, stream, k)).collect();
                let count = counted(&|k| times[k].len() as u64);
                for text in bounds {
                    let bound: f64 = text.parse().expect("a bound");
                    let within = |k: usize| times[k].iter().filter(|time| **time * per_second <= bound).count() as u64;
                    // A bucket is there as soon as its histogram is.
                    let points: Vec<Option<f64>> = match line.late {
                        false => counted(&within),
                        true => {
                            let mut sum = 0;
                            let point = |(k, whole): (usize, &Option<f64>)| {
                                sum = if pod.restart == Some(k) { within(k) } else { sum + within(k) };
                                whole.map(|_| sum as f64)
                            };
                            count.iter().enumerate().map(point).collect()
                        }
                    };
                    put(&format!("{}_bucket", line.name), &format!(",le=\"{text}\""), &points);
                }
                put(&format!("{}_bucket", line.name), ",le=\"+Inf\"", &count);
                put(&format!("{}_count", line.name), "", &count);
                let sum = |whole: &Option<f64>| whole.map(|count| count * self.threshold(kind) * per_second / 3.0);
                put(&format!("{}_sum", line.name), "", &count.iter().map(sum).collect::<Vec<_>>());
            }
            Value::Waiting => {
                let waiting =
                    |k: usize| if STALL.contains(&k) { STUCK as f64 } else { (dice(&[&self.stem], k, 0) % 3) as f64 };
                put(&line.name, "", &(0..SCRAPES).map(|k| Some(waiting(k))).collect::<Vec<_>>());
            }
            Value::Gauge { .. } => {
                put(&line.name, "", &(0..SCRAPES).map(|k| Some(line.gauge(self, k))).collect::<Vec<_>>());
            }
        }
    }
}

impl Line {
    fn parse(line: &str, types: &BTreeMap<String, String>) -> Self {
        let (series, words) = match line.split_once("} ") {
            Some((series, words)) => (series, words),
            None => line.split_once(' ').expect("a series and a word"),
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let late = words.iter().position(|word| word == "late").map(|place| words.remove(place)).is_some();
        let value = match words[0].as_str() {
            "waiting" => Value::Waiting,
            "fresh" => Value::gauge(Some(per_second(&words[1])), &words[2..]),
            "gauge" => Value::gauge(None, &words[1..]),
            "latency" | "ttfb" | "gpu_queue_time" => Value::times(&words),
            sum => Value::Counter(sum.split('+').map(str::to_owned).collect()),
        };
        let kind = types.get(name).unwrap_or_else(|| panic!("no # TYPE of {name}")).clone();
        Line { kind, name: name.into(), labels: labels.into(), value, late }
    }

    /// The gauge at a scrape. Held at scrape `k`, it shows what it showed at the first held one.
    fn gauge(&self, stack: &Stack, k: usize) -> f64 {
        let Value::Gauge { shape, changes, .. } = &self.value else { panic!("no gauge") };
        let k = match changes.iter().find(|change| change.scrapes.contains(&k)) {
            Some(change) if change.word == "set" => return change.value,
            Some(change) => change.scrapes.start,
            None => k,
        };
        let at = START + EVERY * k as i64 + PODS[0].offset;
        let number = |place: usize| -> f64 { shape[place].parse().expect("a number") };
        match shape[0].as_str() {
            "const" => number(1),
            "age" => at.rem_euclid(number(1) as i64) as f64,
            "stamp" => (at - at.rem_euclid(number(1) as i64)) as f64,
            "lag" => {
                let share = (dice(&[&stack.stem, &self.name], k, 9) % 1000) as f64 / 1000.0;
                (number(1) + (number(2) - number(1)) * share).round()
            }
            other => panic!("there is no gauge {other}"),
        }
    }

    /// Seconds that it says at the end of a slice, if that can be relied on.
    fn age(&self, stack: &Stack, k: usize) -> Option<f64> {
        let Value::Gauge { per_second: Some(per_second), shape, changes } = &self.value else { return None };
        for change in changes.iter().filter(|change| change.scrapes.contains(&k)) {
            // Whoever stands still is believed for three slices, the first one included.
            let believed = change.word == "hold" && k < change.scrapes.start + 3;
            if !believed {
                return None;
            }
        }
        let seconds = self.gauge(stack, k) / per_second;
        let end = START + EVERY * (k as i64 + 1);
        Some(if shape[0] == "stamp" { end as f64 - seconds } else { seconds })
    }
}

impl Value {
    fn times(words: &[String]) -> Self {
        let kind = words[0].clone();
        let (stream, rest) = match words[1].as_str() {
            "of" => (words[2].clone(), &words[3..]),
            _ => (format!("times.{kind}"), &words[1..]),
        };
        Value::Times { kind, stream, per_second: per_second(&rest[0]), bounds: rest[1..].to_vec() }
    }

    fn gauge(per_second: Option<f64>, words: &[String]) -> Self {
        let is_change = |word: &String| ["hold", "idle", "set"].contains(&word.as_str());
        let first = words.iter().position(is_change).unwrap_or(words.len());
        let mut changes = Vec::new();
        let mut rest = &words[first..];
        while let [word, from, to, more @ ..] = rest {
            let scrapes = from.parse().expect("a scrape")..to.parse().expect("a scrape");
            let taken = usize::from(word == "set");
            let value = if taken == 1 { more[0].parse().expect("a value") } else { 0.0 };
            changes.push(Change { word: word.clone(), scrapes, value });
            rest = &more[taken..];
        }
        Value::Gauge { per_second, shape: words[..first].to_vec(), changes }
    }
}

impl Truth {
    fn and(self, other: Truth) -> Truth {
        Truth { total: self.total + other.total, bad: self.bad + other.bad }
    }
}

fn per_second(unit: &str) -> f64 {
    match unit {
        "s" => 1.0,
        "ms" => 1000.0,
        _ => panic!("there is no unit {unit}"),
    }
}

/// Numbers that look like chance and are always the same.
fn dice(words: &[&str], k: usize, i: u64) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    for byte in bytes.chain((k as u64).to_le_bytes()).chain(i.to_le_bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state ^= state >> 31;
    state.wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}
