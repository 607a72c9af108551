//! The tail against statrs, against a plain sum, and against itself where both forms hold.

use proptest::prelude::*;
use statrs::distribution::{Binomial, DiscreteCDF};

use super::*;

fn close(ours: f64, theirs: f64, relative: f64) -> bool {
    (ours - theirs).abs() <= relative * theirs.abs().max(1e-280)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_statrs(n in 1..100_000_u64, p in prop_oneof![1e-5..0.1_f64, 0.1..0.99], z in -6.0..9.0_f64) {
        let mean = n as f64 * p;
        let k = (mean + z * (mean * (1.0 - p)).sqrt()).round().clamp(1.0, n as f64) as u64;
        let theirs = Binomial::new(p, n).expect("p is a probability").sf(k - 1);
        let ours = tail(k, n, p);
        prop_assert!(close(ours, theirs, 1e-7) || (ours - theirs).abs() < 1e-14, "k={k} n={n} p={p}: {ours} {theirs}");
    }

    #[test]
    fn equals_a_plain_sum(n in 1..60_u64, k in 0..61_u64, p in 0.001..0.999_f64) {
        let mass = |j: u64| {
            let ways: f64 = (0..j).map(|i| (n - i) as f64 / (i + 1) as f64).product();
            ways * p.powi(j as i32) * (1.0 - p).powi((n - j) as i32)
        };
        let plain: f64 = (k..=n).map(mass).sum();
        prop_assert!(close(tail(k, n, p), plain, 1e-11), "k={k} n={n} p={p}: {} {plain}", tail(k, n, p));
    }

    #[test]
    fn falls_with_every_further_error(n in 1..10_000_000_000_u64, p in 1e-6..0.5_f64, z in -5.0..8.0_f64) {
        let mean = n as f64 * p;
        let k = (mean + z * mean.sqrt()).round().clamp(0.0, n as f64 - 1.0) as u64;
        let (here, next) = (tail(k, n, p), tail(k + 1, n, p));
        prop_assert!((0.0..=1.0).contains(&here) && next <= here * (1.0 + 1e-9), "k={k} n={n} p={p}: {here} {next}");
    }
}

#[test]
fn the_integral_is_the_sum() {
    for (n, p) in [(400_000_000_u64, 0.5), (10_000_000_000, 0.001), (3_000_000_000, 0.05), (10_000_000_000, 0.2)] {
        let (mean, q) = (n as f64 * p, 1.0 - p);
        let deviation = (mean * q).sqrt();
        for z in [0.0, 0.1, 1.0, 3.0, 6.0] {
            let k = (mean + z * deviation).ceil();
            let reach = deviation * ((z * z - 2.0 * NOTHING).sqrt() - z) * 1.2;
            let (summed, integrated) = (series(k, n as f64, p / q), integral(k, n as f64, p, q, reach));
            assert!(close(integrated, summed, 1e-9), "n={n} p={p} z={z}: {integrated} {summed}");
        }
    }
}

#[test]
fn edges_are_certain_or_impossible() {
    assert_eq!(tail(0, 0, 0.5), 1.0);
    assert_eq!(tail(0, 100, 0.5), 1.0);
    assert_eq!(tail(1, 0, 0.5), 0.0);
    assert_eq!(tail(5, 4, 0.5), 0.0);
    assert_eq!(tail(5, 10, 0.0), 0.0);
    assert_eq!(tail(5, 10, 1.0), 1.0);
    assert_eq!(tail(5, 10, f64::NAN), 0.0);
    assert!(close(tail(10, 10, 0.5), 0.5_f64.powi(10), 1e-12));
    assert!(close(tail(1, 10, 0.001), 1.0 - 0.999_f64.powi(10), 1e-12));
    assert_eq!(tail(1_000_000, 1_000_000, 1e-9), 0.0);
    assert!(tail(u64::MAX / 2, u64::MAX, 0.4999) < 1e-9);
}

#[test]
fn one_error_in_an_hour_of_sixty_requests_is_chance() {
    // The page of the plain policy at 1 request a minute: 1 of 60 burns 16.7x.
    assert!(tail(1, 60, 0.001) > 0.05);
    assert!(tail(2, 60, 0.001) > 0.001);
    assert!(tail(3, 60, 0.001) < 0.001);
}
