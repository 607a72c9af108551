//! The chance guard: how likely so many bad events are when the service merely keeps its objective.
//!
//! One error among 60 requests burns 16x at 99.9 %, and says next to nothing. So a clause also asks for
//! `P(Binomial(n, budget) >= k)`, the exact upper tail, against the null that the error ratio is the budget itself
//! (a null of factor x budget would delay a page for 5 % errors at 1 request a minute from 16 to 167 minutes).
//!
//! The tail is one binomial probability times a falling series. The probability comes from Loader's saddle-point form
//! ("Fast and Accurate Computation of Binomial Probabilities", 2000), which keeps 14 digits where differences of
//! log-gammas have lost ten of them. Past some thousands of terms the series is an integral with the Euler-Maclaurin
//! corrections. No allocation, a bounded number of steps at any `n`.

#[cfg(test)]
mod tests;

use std::f64::consts::PI;

/// Terms that are summed one by one; a longer series is integrated.
const TERMS_MAX: f64 = 20_000.0;
/// Half the intervals of the integral (Simpson's rule).
const INTERVALS: u32 = 1_000;
/// Where a term, relative to the first, no longer counts: `ln(1e-18)`.
const NOTHING: f64 = -41.5;

/// `P(X >= k)` for `X` binomial with `n` trials of probability `p`, in 0..=1. `k > n` (bad events outnumber all)
/// is impossible and gives 0; `p` outside (0, 1) is taken as 0 or 1.
pub fn tail(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    if k > n || p.is_nan() || p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    if (k as f64) > n as f64 * p {
        upper(k, n, p, 1.0 - p)
    } else {
        // Below the mean the other tail is the small one: X < k means at least n - k + 1 of the others.
        1.0 - upper(n - k + 1, n, 1.0 - p, p)
    }
    .clamp(0.0, 1.0)
}

/// The tail from `k`, above the mean.
fn upper(k: u64, n: u64, p: f64, q: f64) -> f64 {
    let (kf, nf) = (k as f64, n as f64);
    let first = ln_mass(kf, nf, p, q).exp();
    if first == 0.0 {
        return 0.0;
    }
    let deviation = (nf * p * q).sqrt();
    // Terms fall at least as e^(-z j / deviation - j^2 / (2 deviation^2)), z deviations above the mean.
    let z = ((kf - nf * p) / deviation).max(0.0);
    let reach = deviation * (((z * z) - 2.0 * NOTHING).sqrt() - z);
    if reach <= TERMS_MAX { first * series(kf, nf, p / q) } else { first * integral(kf, nf, p, q, 1.2 * reach) }
}

/// `sum over j >= k of mass(j) / mass(k)`.
fn series(k: f64, n: f64, odds: f64) -> f64 {
    let (mut sum, mut term, mut at) = (1.0, 1.0, k);
    while at < n && term > sum * 1e-17 {
        term *= (n - at) / (at + 1.0) * odds;
        sum += term;
        at += 1.0;
    }
    sum
}

/// The same sum where it is long: the integral from `k` over `reach`, plus half the first term, less a twelfth of the
/// slope there (Euler-Maclaurin). The next correction is of order `deviation^-3`, below 1e-10 here.
fn integral(k: f64, n: f64, p: f64, q: f64, reach: f64) -> f64 {
    let reach = reach.min(n - k);
    let base = ln_mass(k, n, p, q);
    let mass = |x: f64| (ln_mass(x, n, p, q) - base).exp();
    let step = reach / f64::from(2 * INTERVALS);
    let mut sum = 1.0 + mass(k + reach);
    for i in 1..2 * INTERVALS {
        sum += mass(k + step * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 };
    }
    let slope = ((n - k) / (k + 1.0) * (p / q)).ln();
    sum * step / 3.0 + 0.5 - slope / 12.0
}

/// `ln P(X = x)`, for real `x` in 0..=n.
fn ln_mass(x: f64, n: f64, p: f64, q: f64) -> f64 {
    if x <= 0.0 {
        return n * (-p).ln_1p();
    }
    if x >= n {
        return n * p.ln();
    }
    let corrections = stirling_error(n) - stirling_error(x) - stirling_error(n - x);
    corrections - deviance(x, n * p) - deviance(n - x, n * q) + 0.5 * (n / (2.0 * PI * x * (n - x))).ln()
}

/// `ln(x!) - ln(sqrt(2 pi x) (x/e)^x)`, for x > 0.
fn stirling_error(x: f64) -> f64 {
    if x < 16.0 {
        // Up by ln(x+1) until the series holds.
        let mut gap = 0.0;
        let mut x = x;
        while x < 16.0 {
            gap += (x + 0.5) * (1.0 / x).ln_1p() - 1.0;
            x += 1.0;
        }
        return gap + stirling_error(x);
    }
    let square = x * x;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / x
}

/// `x ln(x/m) + m - x`, exact also where x is close to m.
fn deviance(x: f64, m: f64) -> f64 {
    if (x - m).abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() + m - x;
    }
    let v = (x - m) / (x + m);
    let mut sum = (x - m) * v;
    let mut power = 2.0 * x * v;
    for j in 1..1000 {
        power *= v * v;
        let next = sum + power / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}
