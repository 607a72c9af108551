//! A scenario as OpenMetrics text: what `promtool tsdb create-blocks-from openmetrics` reads.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::scenario::Scenario;

impl Scenario {
    /// Writes all samples within [from, to] (seconds) grouped by metric family, series in label order, oldest first.
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
                self.samples(index, from * 1000, to * 1000, &mut samples);
                written += samples.len() as u64;
                for sample in &samples {
                    line.clear();
                    line.extend_from_slice(series.as_bytes());
                    let (s, ms) = (sample.at_ms.div_euclid(1000), sample.at_ms.rem_euclid(1000));
                    writeln!(line, " {} {s}.{ms:03}", sample.value)?;
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
            (true, Some(family), _) => (family.to_owned(), "histogram"),
            (true, None, Some(family)) => (family.to_owned(), "counter"),
            (true, None, None) => (name.to_owned(), "unknown"),
        }
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
