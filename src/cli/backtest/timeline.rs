//! A report as a picture: one band for each policy, a row for each SLO that alerted; pages red, tickets amber, true
//! incidents grey behind them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::report::Report;
use super::source::shown;
use crate::engine::alert::AlertKind;

const LEFT: f64 = 260.0;
const WIDTH: f64 = 900.0;
const ROW: f64 = 16.0;
/// SLOs with rows of their own at most; the others share one.
const ROWS_MAX: usize = 30;

/// The picture.
pub fn svg(report: &Report) -> String {
    let mut slos: BTreeSet<&str> = BTreeSet::new();
    let alerts = report.lived.iter().flat_map(|lived| &lived.episodes);
    slos.extend(alerts.filter(|of| is_shown(of.kind)).map(|of| of.slo.as_str()));
    let rows: Vec<&str> = slos.iter().copied().take(ROWS_MAX).collect();
    let height = 40.0 + report.lived.len() as f64 * (rows.len() as f64 + 1.5) * ROW;
    let span = (report.to - report.from).max(1) as f64;
    let x = |at: i64| LEFT + WIDTH * ((at - report.from) as f64 / span).clamp(0.0, 1.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        LEFT + WIDTH + 20.0
    );
    for label in &report.incidents {
        let (from, to) = (x(label.from), x(label.to));
        let width = (to - from).max(1.0);
        let _ = writeln!(
            text,
            "<rect x=\"{from:.1}\" y=\"20\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"#ddd\"/>",
            height - 40.0
        );
    }
    let mut y = 24.0;
    for lived in &report.lived {
        let title = format!("{}: {} pages, {} tickets", lived.name, lived.pages, lived.tickets);
        let _ = writeln!(text, "<text x=\"8\" y=\"{:.1}\" font-weight=\"bold\">{}</text>", y + 8.0, escaped(&title));
        y += ROW;
        for (nth, slo) in rows.iter().enumerate() {
            let rest = nth + 1 == ROWS_MAX && slos.len() > ROWS_MAX;
            let name = if rest { format!("{} others", slos.len() + 1 - ROWS_MAX) } else { (*slo).to_owned() };
            let _ = writeln!(text, "<text x=\"16\" y=\"{:.1}\">{}</text>", y + 8.0, escaped(&name));
            let of = |other: &str| other == *slo || rest && !rows[..nth].contains(&other);
            for episode in lived.episodes.iter().filter(|of_any| of(&of_any.slo) && is_shown(of_any.kind)) {
                let (from, to) = (x(episode.from), x(episode.to.unwrap_or(report.to)));
                let colour = if episode.kind == AlertKind::FastBurn { "#c0392b" } else { "#e0a030" };
                let width = (to - from).max(1.5);
                let _ = writeln!(
                    text,
                    "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"10\" fill=\"{colour}\"><title>{} {} {}</title></rect>",
                    y - 1.0,
                    escaped(&episode.slo),
                    episode.kind.as_str(),
                    shown(episode.from)
                );
            }
            y += ROW;
        }
        y += ROW / 2.0;
    }
    let _ = writeln!(
        text,
        "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n</svg>",
        height - 6.0,
        shown(report.from),
        LEFT + WIDTH,
        height - 6.0,
        shown(report.to)
    );
    text
}

fn is_shown(kind: AlertKind) -> bool {
    matches!(kind, AlertKind::FastBurn | AlertKind::SlowBurn)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
