//! A history drawn: error rate above, burn of the first clause with its limit below, and what happened on the same axis of
//! time. One SVG without script or style, so that it can be an image anywhere.
//!
//! What is not known is hatched and has no line: a gap, never a zero.

use std::fmt::Write as _;

use super::{Mark, MarkKind};
use crate::engine::Seconds;
use crate::engine::history::{History, Point, PointData};
use crate::engine::onset::percent;
use crate::spec::shown;
use crate::web::page::escape;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
/// Top and height of the two fields.
const RATE: (f64, f64) = (18.0, 120.0);
const BURN: (f64, f64) = (160.0, 90.0);
const HEIGHT: f64 = 274.0;
/// Marks that are drawn; the newest ones.
const MARKS_MAX: usize = 60;

/// Colours on a light ground, and on a dark one.
struct Palette {
    text: &'static str,
    line: &'static str,
    bad: &'static str,
    short: &'static str,
    limit: &'static str,
}

const LIGHT: Palette = Palette { text: "#4d5761", line: "#d5dade", bad: "#c62828", short: "#8a5a00", limit: "#8e2320" };
const DARK: Palette = Palette { text: "#b4bec8", line: "#39414a", bad: "#ff7a70", short: "#f2c45c", limit: "#ffa8a1" };

/// The SVG of `history`, which is called `name`.
pub fn svg(name: &str, history: &History, marks: &[Mark], dark: bool) -> String {
    let palette = if dark { DARK } else { LIGHT };
    let drawing = Drawing { history, palette };
    let mut out = String::with_capacity(32 * 1024);
    let said = escape(&spoken(name, history, marks));
    write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"system-ui, sans-serif\" \
         font-size=\"11\" fill=\"{}\"><title>{said}</title><defs><pattern id=\"h\" width=\"6\" height=\"6\" \
         patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\"><rect width=\"2\" height=\"6\" fill=\"{}\"/></pattern></defs>",
        drawing.palette.text, drawing.palette.line
    )
    .expect("a String takes every write");
    drawing.ground(&mut out);
    drawing.marks(&mut out, marks);
    let ratios: Vec<Option<f64>> = history.points.iter().map(|point| point.error_ratio).collect();
    let most = ratios.iter().flatten().copied().fold(1e-6, f64::max) * 1.1;
    drawing.label(&mut out, RATE, &format!("error rate, up to {}", percent(most / 1.1)));
    drawing.curve(&mut out, RATE, &ratios, most, drawing.palette.bad, 1.6);
    drawing.burns(&mut out);
    out.push_str("</svg>\n");
    out
}

/// What it shows, for those who do not see it.
fn spoken(name: &str, history: &History, marks: &[Mark]) -> String {
    let worst = history.points.iter().filter_map(|point| Some((point.error_ratio?, point.to)));
    let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0));
    let rate = worst.map_or("nothing is known".to_owned(), |(ratio, at)| {
        format!("the error rate is highest at {} with {}", time(at), percent(ratio))
    });
    format!("{name} from {} to {}: {rate}; {} marks", time(history.from), time(history.to), marks.len())
}

fn time(at: Seconds) -> String {
    jiff::Timestamp::from_second(at).map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default()
}

struct Drawing<'a> {
    history: &'a History,
    palette: Palette,
}

impl Drawing<'_> {
    fn x(&self, at: Seconds) -> f64 {
        let (from, to) = (self.history.from as f64, self.history.to as f64);
        LEFT + (WIDTH - LEFT - RIGHT) * ((at as f64 - from) / (to - from).max(1.0)).clamp(0.0, 1.0)
    }

    /// Frames, the axis of time, and what is not known.
    fn ground(&self, out: &mut String) {
        for (top, height) in [RATE, BURN] {
            write!(
                out,
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{height}\" fill=\"none\" stroke=\"{}\"/>",
                WIDTH - LEFT - RIGHT,
                self.palette.line
            )
            .expect("a String takes every write");
        }
        let unknown = |point: &&Point| matches!(point.data, PointData::Unknown | PointData::Excluded);
        for point in self.history.points.iter().filter(unknown) {
            let (x, to) = (self.x(point.from), self.x(point.to));
            for (top, height) in [RATE, BURN] {
                write!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{height}\" fill=\"url(#h)\"/>",
                    to - x
                )
                .expect("a String takes every write");
            }
        }
        let long = self.history.to - self.history.from > 2 * 86_400;
        for i in 0..=4 {
            let at = self.history.from + (self.history.to - self.history.from) * i / 4;
            let format = if long { "%m-%d %H:%M" } else { "%H:%M" };
            let text = jiff::Timestamp::from_second(at).map(|at| at.strftime(format).to_string()).unwrap_or_default();
            let anchor = ["start", "middle", "middle", "middle", "end"][i as usize];
            let utc = if i == 4 { " UTC" } else { "" };
            write!(
                out,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{text}{utc}</text>",
                self.x(at),
                HEIGHT - 8.0
            )
            .expect("a String takes every write");
        }
    }

    fn marks(&self, out: &mut String, marks: &[Mark]) {
        for mark in &marks[marks.len().saturating_sub(MARKS_MAX)..] {
            let (colour, dash) = match mark.kind {
                MarkKind::Change => ("#4a6fa5", ""),
                MarkKind::Alert => (self.palette.bad, "4 3"),
                MarkKind::Verdict => ("#2e8b57", ""),
                MarkKind::Exclusion | MarkKind::Reset => (self.palette.text, "2 3"),
            };
            let x = self.x(mark.at);
            write!(
                out,
                "<g><title>{} {}</title><path d=\"M{x:.1} {} V{}\" stroke=\"{colour}\" stroke-width=\"1.5\" stroke-dasharray=\"{dash}\"/>\
                 <circle cx=\"{x:.1}\" cy=\"{}\" r=\"3.5\" fill=\"{colour}\"/></g>",
                time(mark.at),
                escape(&mark.text),
                RATE.0,
                BURN.0 + BURN.1,
                RATE.0
            )
            .expect("a String takes every write");
        }
    }

    fn label(&self, out: &mut String, (top, _): (f64, f64), text: &str) {
        write!(out, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top - 5.0, escape(text))
            .expect("a String takes every write");
    }

    /// A line through what is known; it ends where nothing is.
    fn curve(
        &self,
        out: &mut String,
        (top, height): (f64, f64),
        values: &[Option<f64>],
        most: f64,
        colour: &str,
        width: f64,
    ) {
        let mut path = String::new();
        let mut pen_down = false;
        for (point, value) in self.history.points.iter().zip(values) {
            let Some(value) = value else {
                pen_down = false;
                continue;
            };
            let y = top + height * (1.0 - (value / most).clamp(0.0, 1.0));
            let (from, to) = (self.x(point.from), self.x(point.to));
            let step = if pen_down { 'L' } else { 'M' };
            write!(path, "{step}{from:.1} {y:.1}L{to:.1} {y:.1}").expect("a String takes every write");
            pen_down = true;
        }
        if !path.is_empty() {
            write!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"/>")
                .expect("a String takes every write");
        }
    }

    /// Burn over the longest window of the tightest page, and over its short one, with the limit.
    fn burns(&self, out: &mut String) {
        let limit =
            self.history.windows.iter().flat_map(|window| &window.limits).max_by(|a, b| a.factor.total_cmp(&b.factor));
        let Some(limit) = limit else { return };
        let of: Vec<usize> = (0..self.history.windows.len())
            .filter(|&place| self.history.windows[place].limits.contains(limit))
            .collect();
        let burns = |place: usize| -> Vec<Option<f64>> {
            self.history.points.iter().map(|point| point.burn.get(place).copied().flatten()).collect()
        };
        let highest = of.iter().flat_map(|&place| burns(place)).flatten().fold(0.0, f64::max);
        // A burn far over the limit would press the limit flat.
        let most = (limit.factor * 1.25).max(highest.min(limit.factor * 5.0) * 1.1);
        let words: Vec<String> =
            of.iter().map(|&place| crate::engine::duration::exact(self.history.windows[place].window_s)).collect();
        let text =
            format!("burn rate over {} (limit {}x; up to {highest:.1}x)", words.join(" and "), shown(limit.factor));
        self.label(out, BURN, &text);
        let y = BURN.0 + BURN.1 * (1.0 - limit.factor / most);
        write!(
            out,
            "<path d=\"M{LEFT} {y:.1} H{}\" stroke=\"{}\" stroke-dasharray=\"5 4\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}x</text>",
            WIDTH - RIGHT,
            self.palette.limit,
            LEFT - 6.0,
            y + 4.0,
            shown(limit.factor)
        )
        .expect("a String takes every write");
        for (nth, &place) in of.iter().enumerate() {
            let colour = if nth == 0 { self.palette.short } else { self.palette.bad };
            self.curve(out, BURN, &burns(place), most, colour, if nth == 0 { 1.0 } else { 1.8 });
        }
    }
}
