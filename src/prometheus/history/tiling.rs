//! How `increase` over a span is asked so that neighbouring spans tile: nothing between them is lost or counted twice.
//!
//! Prometheus sees only what lies inside a window, so the window reaches back to the scrape before the span, and what it
//! extrapolates is scaled down again: `increase[W + scrape] × W/(W + scrape)`. Up to 2.x a window is closed at both ends,
//! and a sample exactly on its border would stand in two of them; there the window is a millisecond shorter, which holds
//! the same samples as the left-open windows of 3.x. MetricsQL looks at the sample before the window by itself.

use crate::prometheus::client::Client;
use crate::query::promql::request;

/// How a server's windows tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// How far a window reaches back behind its span, milliseconds.
    overlap_ms: i64,
}

impl Tiling {
    /// Finds out by two queries; `scrape_s` is the time between scrapes, seconds.
    pub async fn of(client: &Client, at_s: i64, scrape_s: i64) -> Self {
        if client.query(request::KNOWN_TO_METRICSQL, at_s).await.is_ok() {
            return Tiling { overlap_ms: 0 };
        }
        let points = client.query(request::POINTS_OF_A_MINUTE, at_s.div_euclid(60) * 60).await;
        let points = points.ok().and_then(|answer| answer.series.first()?.samples.iter().last());
        let closed = points.is_some_and(|(_, points)| points > 1.5);
        Tiling { overlap_ms: scrape_s * 1000 - i64::from(closed) }
    }

    /// The window of a span of `span_s` seconds, milliseconds.
    pub fn window_ms(self, span_s: i64) -> i64 {
        span_s * 1000 + self.overlap_ms
    }

    /// What the increase over that window is multiplied by.
    pub fn scale(self, span_s: i64) -> f64 {
        (span_s * 1000) as f64 / self.window_ms(span_s) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_and_its_scale_belong_together() {
        for overlap_ms in [0, 30_000, 29_999] {
            let tiling = Tiling { overlap_ms };
            assert_eq!(tiling.window_ms(300), 300_000 + overlap_ms);
            let extrapolated = tiling.window_ms(300) as f64 / 300_000.0;
            assert!((tiling.scale(300) * extrapolated - 1.0).abs() < 1e-12);
        }
    }
}
