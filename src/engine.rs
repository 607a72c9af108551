//! The pure core: slices in, burn rates, states and alerts out.
//!
//! Everything here is a function of its arguments. Time comes in as seconds since the Unix epoch, chance does
//! not come in at all, and nothing here reads a file, a socket, a clock or the environment (`tests/tidy.rs`
//! holds that wall). Two processes with the same slices print the same numbers.
//!
//! Deliberately absent: PromQL, HTTP, storage, logging.

pub mod alert;
pub mod budget;
pub mod burn;
pub mod chance;
pub mod clustering;
pub mod duration;
pub mod exclusion;
pub mod history;
pub mod labels;
pub mod ledger;
pub mod matcher;
pub mod now;
pub mod onset;
pub mod page;
pub mod period;
pub mod severity;
pub mod slo;
pub mod snapshot;
pub mod status;
pub mod text;
pub mod ticket;
pub mod whole;
mod window;

pub use alert::{Alert, AlertKind, AlertMachine};
pub use exclusion::Exclusion;
pub use labels::Labels;
pub use ledger::{Coverage, Ledger, SeriesLedger, SliceDelta, WindowSum};
pub use now::{Now, Pace};
pub use onset::Onset;
pub use page::Page;
pub use period::{BudgetReset, Calendar, CalendarUnit, Period, Terms};
pub use slo::{AlertExtras, BurnClause, Confidence, EVERY_LABEL, RATIO_SCALE, Slo, Speed, Unit, Weigh};
pub use snapshot::{SloSnapshot, Snapshot};
pub use status::{BudgetStatus, CountingAll, DataReason, DataState, SeriesStatus, SloState};
pub use whole::Whole;

/// Seconds since the Unix epoch. Slices, windows and alert times use it; samples keep milliseconds.
pub type Seconds = i64;
