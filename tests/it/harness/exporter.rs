//! Something to scrape: a `/metrics` page whose counters the test moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use slowburn::clock::Clock;

use super::parts::{self, Server};

/// An exporter on a free port. Series are named as they stand on the page: `http_requests_total{code="200"}`.
#[derive(Debug)]
pub struct Exporter {
    page: Arc<Mutex<Page>>,
    server: Server,
}

#[derive(Debug)]
struct Page {
    series: BTreeMap<String, f64>,
    up: bool,
    scrapes: u64,
    started_ms: i64,
}

impl Exporter {
    pub async fn start() -> Self {
        let started_ms = Clock::wall().now_ms();
        let page = Page { series: BTreeMap::new(), up: true, scrapes: 0, started_ms };
        let page = Arc::new(Mutex::new(page));
        let app = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(&page));
        let server = parts::serve(app).await;
        Exporter { page, server }
    }

    /// `127.0.0.1:PORT`, for [`super::prometheus::PromOptions::targets`].
    pub fn address(&self) -> String {
        self.server.address.to_string()
    }

    /// Adds to a counter; one that is new is born with this value.
    pub fn add(&self, series: &str, more: f64) {
        *self.page().series.entry(series.to_owned()).or_insert(0.0) += more;
    }

    /// Sets a gauge, or a counter outright.
    pub fn set(&self, series: &str, value: f64) {
        self.page().series.insert(series.to_owned(), value);
    }

    /// Takes a series off the page.
    pub fn remove(&self, series: &str) {
        self.page().series.remove(series);
    }

    /// The process behind the page starts anew: every series is 0 again, `process_start_time_seconds` is now.
    pub fn restart(&self) {
        let mut page = self.page();
        page.started_ms = Clock::wall().now_ms();
        page.series.values_mut().for_each(|value| *value = 0.0);
    }

    /// Like [`Exporter::restart`], with an empty page: series that only appear with their first event are gone.
    pub fn restart_empty(&self) {
        let mut page = self.page();
        page.started_ms = Clock::wall().now_ms();
        page.series.clear();
    }

    /// Down: scrapes fail (500) until it is set up again.
    pub fn set_up(&self, up: bool) {
        self.page().up = up;
    }

    /// Scrapes answered so far.
    pub fn scrapes(&self) -> u64 {
        self.page().scrapes
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.page.lock().expect("no test panics while it holds the page")
    }
}

async fn metrics(State(page): State<Arc<Mutex<Page>>>) -> Result<String, StatusCode> {
    let mut page = page.lock().expect("no test panics while it holds the page");
    if !page.up {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    page.scrapes += 1;
    let mut text = format!("process_start_time_seconds {}\n", page.started_ms as f64 / 1000.0);
    for (series, value) in &page.series {
        text += &format!("{series} {value}\n");
    }
    Ok(text)
}
