//! How much history there is of an SLO, and so how it is read: raw where that is possible, and by range queries over five
//! minutes and an hour, which are approximate, where it is not. Each SLO is measured by its own live series: neither pods
//! that came and went nor a large neighbour make the history of a small one coarse.
//!
//! Deliberately absent: reading (`backfill`), and who waits (`app`).

/// The history of one SLO with more raw samples than this comes by range queries.
const RAW_SAMPLES_MAX: i64 = 200_000_000;
/// Raw samples that are read together: others join on to the polls before all of them have come.
const TOGETHER_SAMPLES_MAX: i64 = 400_000_000;

/// How history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Raw, by remote read.
    RemoteRead,
    /// Raw for the last hours, coarse range queries before.
    Ranges,
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
/// smallest first, as many as come to a reading of bearable length. Where there is no small one, all of them by range queries.
/// By their places, in order.
pub fn together(way: Way, extents: &[Extent], span_s: i64) -> (Vec<usize>, Way) {
    let mut small: Vec<usize> = (0..extents.len()).filter(|&place| extents[place].is_small(span_s)).collect();
    if small.is_empty() || way == Way::Ranges {
        return ((0..extents.len()).collect(), Way::Ranges);
    }
    small.sort_by_key(|&place| (extents[place].samples(span_s), place));
    let mut samples = 0i64;
    let fits = small.iter().take_while(|&&place| {
        samples = samples.saturating_add(extents[place].samples(span_s));
        samples <= TOGETHER_SAMPLES_MAX
    });
    let fits = fits.count().max(1);
    small.truncate(fits);
    small.sort_unstable();
    (small, Way::RemoteRead)
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
        let raw = |extents: &[Extent]| together(Way::RemoteRead, extents, MONTH_S);
        assert_eq!(raw(&[of(6), of(20_000), of(1000)]), (vec![0, 2], Way::RemoteRead));
        assert_eq!(raw(&[of(20_000)]), (vec![0], Way::Ranges));
        assert_eq!(raw(&[of(0), of(20_000)]), (vec![0], Way::RemoteRead), "what was never seen is small");
        assert_eq!(raw(&[]), (vec![], Way::Ranges));
        assert_eq!(together(Way::Ranges, &[of(6), of(20_000)], MONTH_S), (vec![0, 1], Way::Ranges));
    }

    #[test]
    fn a_large_fleet_is_read_raw_in_turns() {
        let mut waiting: Vec<Extent> = vec![of(2); 10_000];
        let mut turns = 0;
        while !waiting.is_empty() {
            let (places, way) = together(Way::RemoteRead, &waiting, MONTH_S);
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
