//! PURE: from SLIs to PromQL, and from raw samples back to the counts of each SLI.
//!
//! Two halves that meet in the raw sample. [`plan`] decides what is asked (a [`fetch::Plan`]): selectors that differ only
//! in label values become one request, and [`promql`] writes it. [`increment`] takes whatever came back, sends each raw series to the SLIs whose own matchers it
//! satisfies, and turns samples into exact increments. Asking for more than needed is therefore never wrong, only
//! dearer: an SLI counts a series if and only if its own selector matches it.
//!
//! Deliberately absent: clocks, sockets, retries. Those are `prometheus`.

pub mod bucket;
pub mod fanout;
pub mod fetch;
pub mod grid;
pub mod increment;
pub mod plan;
pub mod promql;
pub mod queue;
pub mod samples;
pub mod selector;

pub use fanout::Fanout;
pub use fetch::{Fetch, Plan, Role};
pub use increment::{ReadDeltas, Tracker};
pub use samples::{LabelSets, RawLabels, RawSeries, Samples};
pub use selector::Selector;
