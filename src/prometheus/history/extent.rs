//! How much history there is of an SLO, and so how it is read: raw where that is possible, by remote read or of small SLOs
//! by instant queries; and where it is not by range queries over five minutes and an hour, which are approximate. Each SLO is
//! measured by its own live series: neither pods that came and went nor a large neighbour make the history of a small one
//! coarse.
//!
//! Deliberately absent: reading (`backfill`), and who waits (`app`).

/// The history of one SLO with more raw samples than this comes by range queries.
const RAW_SAMPLES_MAX: i64 = 200_000_000;
/// Raw samples that are read together: others join on to the polls before all of them have come.
const TOGETHER_SAMPLES_MAX: i64 = 400_000_000;

/// Raw samples that are read by queries in one go, some hundred megabytes of text.
pub const QUERIED_TOGETHER_MAX: i64 = 5_000_000;
/// Raw samples that one process reads by queries: a few minutes of work for the server and for us.
const QUERIED_ALL_MAX: i64 = 50_000_000;

/// An SLO of which nothing is seen counts as so many.
const UNSEEN_SAMPLES: i64 = 100_000;

/// How history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Raw, by remote read.
    RemoteRead,
    /// Raw, by instant queries of range vectors.
    Queries,
    /// Raw for the last hours, coarse range queries before.
    Ranges,
}

/// How many raw samples may be read by queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queried {
    /// Of one SLO.
    each_max: i64,
    /// Of all of them, from now on.
    left: i64,
}

impl Queried {
    /// None were read yet.
    pub fn new(each_max: i64) -> Self {
        Queried { each_max, left: QUERIED_ALL_MAX }
    }

    /// So many were read.
    pub fn spend(&mut self, samples: i64) {
        self.left = self.left.saturating_sub(samples.max(0));
    }

    /// Whether SLOs of these extents may be read together.
    pub fn lets_all(self, extents: &[Extent], span_s: i64) -> bool {
        let sum = extents.iter().fold(0i64, |sum, extent| sum.saturating_add(extent.queried(span_s)));
        sum <= QUERIED_TOGETHER_MAX.min(self.left) && extents.iter().all(|&extent| self.lets(extent, span_s))
    }

    fn lets(self, extent: Extent, span_s: i64) -> bool {
        extent.queried(span_s) <= self.each_max.min(self.left)
    }
}

/// What is known of the raw series of one SLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Raw series that answered lately.
    pub series: usize,
    /// Scrape interval, seconds.
    pub scrape_s: i64,
}

impl Extent {
    /// Raw samples of `span_s` seconds.
    pub fn samples(self, span_s: i64) -> i64 {
        (self.series as i64).saturating_mul(span_s.max(0)) / self.scrape_s.max(1)
    }

    /// Raw samples that queries for `span_s` seconds of it are expected to bring. One that was never seen may be small; it is
    /// looked for day by day all the same.
    pub fn queried(self, span_s: i64) -> i64 {
        if self.series == 0 { UNSEEN_SAMPLES } else { self.samples(span_s) }
    }

    /// Whether `span_s` seconds of it can be read raw.
    pub fn is_small(self, span_s: i64) -> bool {
        self.samples(span_s) <= RAW_SAMPLES_MAX
    }

    /// All of these together.
    pub fn sum(extents: impl IntoIterator<Item = Extent>) -> Extent {
        let all = Extent { series: 0, scrape_s: 30 };
        let mut intervals = Vec::new();
        let sum = extents.into_iter().fold(all, |sum, one| {
            intervals.push(one.scrape_s);
            Extent { series: sum.series.saturating_add(one.series), ..sum }
        });
        intervals.sort_unstable();
        Extent { scrape_s: intervals.get(intervals.len() / 2).copied().unwrap_or(sum.scrape_s).max(1), ..sum }
    }
}

/// Which of several SLOs are read together, and how, on a server that lets history be read in this `way`: the small ones raw,
/// smallest first, as many as come to a reading of bearable length; where it offers no remote read by queries, as far as these
/// may be. Where there is no small one, all of them by range queries. By their places, in order.
pub fn together(way: Way, extents: &[Extent], span_s: i64, queried: Queried) -> (Vec<usize>, Way) {
    let (raw, most) = match way {
        Way::RemoteRead => (Way::RemoteRead, TOGETHER_SAMPLES_MAX),
        Way::Queries | Way::Ranges => (Way::Queries, QUERIED_TOGETHER_MAX.min(queried.left)),
    };
    let is_small = |extent: Extent| match raw {
        Way::RemoteRead => extent.is_small(span_s),
        _ => queried.lets(extent, span_s),
    };
    let mut small: Vec<usize> = (0..extents.len()).filter(|&place| is_small(extents[place])).collect();
    if small.is_empty() {
        return ((0..extents.len()).collect(), Way::Ranges);
    }
    let samples_of = |place: usize| match raw {
        Way::RemoteRead => extents[place].samples(span_s),
        _ => extents[place].queried(span_s),
    };
    small.sort_by_key(|&place| (samples_of(place), place));
    let mut samples = 0i64;
    let fits = small.iter().take_while(|&&place| {
        samples = samples.saturating_add(samples_of(place));
        samples <= most
    });
    let fits = fits.count().max(1);
    small.truncate(fits);
    small.sort_unstable();
    (small, raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH_S: i64 = 30 * 86_400;

    fn of(series: usize) -> Extent {
        Extent { series, scrape_s: 15 }
    }

    #[test]
    fn a_large_neighbour_makes_no_small_history_coarse() {
        // 20,000 series are 3.5e9 samples.
        let raw = |extents: &[Extent]| together(Way::RemoteRead, extents, MONTH_S, Queried::new(0));
        assert_eq!(raw(&[of(6), of(20_000), of(1000)]), (vec![0, 2], Way::RemoteRead));
        assert_eq!(raw(&[of(20_000)]), (vec![0], Way::Ranges));
        assert_eq!(raw(&[of(0), of(20_000)]), (vec![0], Way::RemoteRead), "what was never seen is small");
        assert_eq!(raw(&[]), (vec![], Way::Ranges));
    }

    #[test]
    fn without_remote_read_small_histories_are_read_by_queries_as_far_as_they_may() {
        // 11 series scraped each 15 s are 1.9 million samples in a month.
        let (mut queried, mut waiting) = (Queried::new(2_000_000), vec![of(11); 40]);
        waiting.push(of(12));
        let next = |waiting: &[Extent], queried| together(Way::Ranges, waiting, MONTH_S, queried);
        let mut read = 0;
        while let (places, Way::Queries) = next(&waiting, queried) {
            assert_eq!(places, [0, 1], "some megabytes at a time");
            places.iter().for_each(|&place| queried.spend(waiting[place].queried(MONTH_S)));
            waiting.drain(..places.len());
            read += places.len();
        }
        assert_eq!(read, 26, "50 million samples, and no more");
        assert_eq!(next(&waiting, queried), ((0..15).collect(), Way::Ranges), "what is large, and the rest");
        assert_eq!(next(&[of(11), of(0)], queried), (vec![1], Way::Queries), "what was never seen may be small");
        assert!(queried.lets_all(&[of(0)], MONTH_S) && !queried.lets_all(&[of(0); 6], MONTH_S));
        assert_eq!(next(&[of(11), of(1)], Queried::new(0)), (vec![0, 1], Way::Ranges));
    }

    #[test]
    fn a_large_fleet_is_read_raw_in_turns() {
        let mut waiting: Vec<Extent> = vec![of(2); 10_000];
        let mut turns = 0;
        while !waiting.is_empty() {
            let (places, way) = together(Way::RemoteRead, &waiting, MONTH_S, Queried::new(0));
            let samples: i64 = places.iter().map(|&place| waiting[place].samples(MONTH_S)).sum();
            assert!(way == Way::RemoteRead && !places.is_empty() && samples <= TOGETHER_SAMPLES_MAX, "{samples}");
            waiting.truncate(waiting.len() - places.len());
            turns += 1;
        }
        assert_eq!(turns, 9, "3.5e9 samples");
    }

    #[test]
    fn several_are_as_many_series_at_their_usual_interval() {
        let extents = [of(3), of(4), Extent { series: 5, scrape_s: 60 }];
        assert_eq!(Extent::sum(extents), Extent { series: 12, scrape_s: 15 });
        assert_eq!(Extent::sum([]), Extent { series: 0, scrape_s: 30 });
    }
}
