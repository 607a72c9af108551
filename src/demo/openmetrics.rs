//! A scenario as OpenMetrics text: what `promtool tsdb create-blocks-from openmetrics` reads.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::scenario::Scenario;

/// Length of the longest block that promtool makes (`--max-block-duration=54h`), seconds.
const BLOCK_S: i64 = 54 * 3600;

/// [from, to) cut where blocks of 54 h begin. promtool reads its input once for each block it makes: thirty days of
/// many series take a file for each of these spans, read twice, instead of one file, read fourteen times.
pub fn blocks(from: i64, to: i64) -> Vec<(i64, i64)> {
    let mut spans = Vec::new();
    let mut start = from;
    while start < to {
        let end = ((start.div_euclid(BLOCK_S) + 1) * BLOCK_S).min(to);
        spans.push((start, end));
        start = end;
    }
    spans
}

impl Scenario {
    /// Writes all samples within [from, to) (seconds) grouped by metric family, series in label order, oldest first.
    /// Returns how many there were.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_openmetrics(&self, from: i64, to: i64, out: &mut impl Write) -> io::Result<u64> {
        let mut order: Vec<usize> = (0..self.series().len()).collect();
        order.sort_by_key(|&i| &self.series()[i].labels);
        let mut families: BTreeMap<(String, &str), Vec<usize>> = BTreeMap::new();
        for index in order {
            families.entry(self.family(index)).or_default().push(index);
        }
        let (mut written, mut samples, mut line) = (0, Vec::new(), Vec::new());
        for ((name, kind), members) in families {
            writeln!(out, "# TYPE {name} {kind}")?;
            for index in members {
                let series = selector(self, index);
                samples.clear();
                self.samples(index, from * 1000, to * 1000 - 1, &mut samples);
                written += samples.len() as u64;
                for sample in &samples {
                    line.clear();
                    line.extend_from_slice(series.as_bytes());
                    let (s, ms) = (sample.at_ms.div_euclid(1000), sample.at_ms.rem_euclid(1000));
                    let value = sample.value;
                    // Most values are whole, and whole numbers are written several times as fast.
                    match value as u64 {
                        whole if whole as f64 == value => writeln!(line, " {whole} {s}.{ms:03}")?,
                        _ => writeln!(line, " {value} {s}.{ms:03}")?,
                    }
                    out.write_all(&line)?;
                }
            }
        }
        writeln!(out, "# EOF")?;
        Ok(written)
    }

    /// Family name and type. A counter's family is its name without `_total`; one whose name does not end so is of
    /// unknown type, as OpenMetrics wants it.
    fn family(&self, index: usize) -> (String, &'static str) {
        let series = &self.series()[index];
        let name = series.labels.get("__name__").unwrap_or_default();
        let histogram = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        match (series.is_counter(), histogram, name.strip_suffix("_total")) {
            (false, ..) => (name.to_owned(), "gauge"),
            (true, Some(family), _) if self.is_histogram(family) => (family.to_owned(), "histogram"),
            (true, _, Some(family)) => (family.to_owned(), "counter"),
            (true, _, None) => (name.to_owned(), "unknown"),
        }
    }

    fn is_histogram(&self, family: &str) -> bool {
        let is_bucket = |name: &str| name.strip_suffix("_bucket") == Some(family);
        self.series().iter().any(|series| series.labels.get("__name__").is_some_and(is_bucket))
    }
}

fn selector(scenario: &Scenario, index: usize) -> String {
    let labels = &scenario.series()[index].labels;
    let mut text = labels.get("__name__").unwrap_or_default().to_owned();
    let mut open = '{';
    for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        text.push_str(&format!("{open}{name}=\"{value}\""));
        open = ',';
    }
    if open == ',' {
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::count::{Count, Shape, Traffic};
    use crate::demo::scenario::{Gauge, Pod};

    fn scenario() -> Scenario {
        let mut scenario = Scenario::new();
        let pod = scenario.pod(Pod::new("api", "a:1", 500, 0));
        let all = Count::of(Traffic { rate: 1.0, shape: Shape::Flat, wobble: None, origin: 0 });
        scenario.counter(pod, "requests_total", &[("path", "a\"b\\c")], &all);
        scenario.counter(pod, "tgi_request_count", &[], &all);
        scenario.counter(pod, "wait_seconds_bucket", &[("le", "+Inf")], &all);
        scenario.gauge(pod, "age_seconds", &[], Gauge::Age { period_s: 40, stalls: vec![] });
        scenario
    }

    fn text(from: i64, to: i64) -> String {
        let mut out = Vec::new();
        scenario().write_openmetrics(from, to, &mut out).expect("memory can be written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn families_have_types_and_lines_have_times() {
        let lines = text(30, 61);
        let lines: Vec<&str> = lines.lines().filter(|line| !line.contains("process") && !line.contains("up")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE age_seconds gauge",
                r#"age_seconds{instance="a:1",job="api"} 30 30.500"#,
                r#"age_seconds{instance="a:1",job="api"} 20 60.500"#,
                "# TYPE requests counter",
                r#"requests_total{instance="a:1",job="api",path="a\"b\\c"} 31 30.500"#,
                r#"requests_total{instance="a:1",job="api",path="a\"b\\c"} 61 60.500"#,
                "# TYPE tgi_request_count unknown",
                r#"tgi_request_count{instance="a:1",job="api"} 31 30.500"#,
                r#"tgi_request_count{instance="a:1",job="api"} 61 60.500"#,
                "# TYPE wait_seconds histogram",
                r#"wait_seconds_bucket{instance="a:1",job="api",le="+Inf"} 31 30.500"#,
                r#"wait_seconds_bucket{instance="a:1",job="api",le="+Inf"} 61 60.500"#,
                "# EOF",
            ]
        );
    }

    #[test]
    fn spans_touch_and_share_no_sample() {
        let spans = blocks(1_000_000, 1_500_000);
        assert_eq!((spans[0].0, spans[spans.len() - 1].1), (1_000_000, 1_500_000));
        assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].1 % BLOCK_S == 0));
        assert_eq!(blocks(5, 5), []);
        let count = |from, to| text(from, to).lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(count(0, 600) + count(600, 1200), count(0, 1200));
    }
}
