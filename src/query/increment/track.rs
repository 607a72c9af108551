//! What is walked with one cursor: a raw series, or the count of a histogram together with one of its buckets.
//!
//! The two are walked as one, at the moments both have: a bucket that came late, was hidden or is no number can then
//! never make the events between look slow.

use crate::query::samples::RawSeries;

/// The largest value at which a counter still counts single events; what is beyond it, negative or no number is no
/// count.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a cursor's series say at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Count {
    pub whole: f64,
    /// The bucket's count; 0 of a series by itself.
    pub part: f64,
}

/// One moment of a track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub at_ms: i64,
    /// `None` where a value is no count.
    pub count: Option<Count>,
}

/// Samples to walk with one cursor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Track<'a> {
    /// Index of its cursor.
    pub id: u32,
    pub whole: &'a RawSeries,
    pub part: Option<&'a RawSeries>,
}

impl<'a> Track<'a> {
    /// Its moments up to `until_ms`, in time order.
    pub fn points(&self, until_ms: i64) -> impl Iterator<Item = Point> + use<'a> {
        let mut parts = self.part.map(|raw| raw.samples.as_slice().iter().peekable());
        let moments = self.whole.samples.as_slice().iter().take_while(move |&&(at, _)| at <= until_ms);
        moments.filter_map(move |&(at_ms, whole)| {
            let part = match &mut parts {
                None => 0.0,
                Some(parts) => {
                    while parts.next_if(|&&(at, _)| at < at_ms).is_some() {}
                    parts.next_if(|&&(at, _)| at == at_ms)?.1
                }
            };
            let counts = |value: f64| (0.0..=COUNT_MAX).contains(&value);
            Some(Point { at_ms, count: (counts(whole) && counts(part)).then_some(Count { whole, part }) })
        })
    }
}
