use super::*;

fn traffic(shape: Shape, wobble: Option<u64>) -> Count {
    Count::of(Traffic { rate: 7.3, shape, wobble, origin: 0 })
}

const SHAPES: [Shape; 4] = [
    Shape::Flat,
    Shape::Cosine { ratio: 20.0, peak_s: 14 * 3600 },
    Shape::Square { ratio: 0.0, from_s: 22 * 3600, length_s: 8 * 3600 },
    Shape::Square { ratio: 0.25, from_s: 3600, length_s: 5 * 3600 },
];

#[test]
fn counts_only_rise_and_parts_stay_within_them() {
    for shape in SHAPES {
        for wobble in [None, Some(7)] {
            let total = traffic(shape, wobble);
            let ratio = Timeline::new(0.0002).during(9_000, 12_000, 0.5).bursts(0, DAY, 60, 25, 1, 1.0);
            let bad = total.part(&ratio);
            let good = total.without(&bad);
            for s in 100..DAY {
                let (t, b, g) = (total.between(s, s + 1), bad.between(s, s + 1), good.between(s, s + 1));
                assert_eq!(t, b + g, "{shape:?} at {s}");
            }
        }
    }
}

#[test]
fn a_day_holds_the_rate_it_was_given() {
    for (shape, hours) in SHAPES.into_iter().zip([24.0, 24.0, 16.0, 19.0 + 0.25 * 5.0]) {
        let events = traffic(shape, None).between(3 * DAY, 4 * DAY);
        assert!((events as f64 - 7.3 * hours * 3600.0).abs() <= 1.0, "{shape:?}: {events}");
    }
}

#[test]
fn the_idle_night_is_idle_across_midnight() {
    let count = traffic(SHAPES[2], None);
    assert_eq!(count.between(DAY + 22 * 3600, 2 * DAY + 6 * 3600), 0);
    assert!(count.between(2 * DAY + 6 * 3600, 2 * DAY + 6 * 3600 + 10) > 70);
    assert!(count.between(DAY + 22 * 3600 - 10, DAY + 22 * 3600) > 70);
}

#[test]
fn the_cosine_has_its_ratio() {
    let count = traffic(SHAPES[1], None);
    let top = count.between(DAY + 14 * 3600 - 900, DAY + 14 * 3600 + 900) as f64;
    let bottom = count.between(DAY + 2 * 3600 - 900, DAY + 2 * 3600 + 900) as f64;
    assert!((top / bottom - 20.0).abs() < 0.5, "{top} / {bottom}");
}

#[test]
fn a_part_is_exact_over_its_steps() {
    let total = Count::of(Traffic { rate: 10.0, shape: Shape::Flat, wobble: None, origin: 0 });
    let bad = total.part(&Timeline::new(0.0).during(1000, 2800, 0.5).during(5000, 5001, 1.0));
    assert_eq!(bad.between(0, 1000), 0);
    assert_eq!(bad.between(1000, 2800), 9000);
    assert_eq!(bad.between(2800, 9000), 10);
    assert_eq!(bad.between(5000, 5001), 10);
}

#[test]
fn later_settings_of_a_timeline_win() {
    let line = Timeline::new(1.0).during(10, 30, 2.0).during(20, 40, 3.0).during(15, 16, 4.0);
    let values: Vec<f64> = [9, 10, 15, 16, 20, 39, 40].into_iter().map(|s| line.at(s)).collect();
    assert_eq!(values, [1.0, 2.0, 4.0, 2.0, 3.0, 3.0, 1.0]);
}

#[test]
fn bursts_fall_on_their_second() {
    let line = Timeline::new(0.0).bursts(1_000_007, 1_000_400, 60, 25, 5, 1.0);
    for s in 1_000_007..1_000_400 {
        let inside = (s % 60 - 25) >= 0 && (s % 60 - 25) < 5;
        assert_eq!(line.at(s), f64::from(u8::from(inside)), "{s}");
    }
}

#[test]
fn poisson_has_its_mean_and_its_variance() {
    let count = Count::poisson(42, 0, 200 * DAY / 10, |_| 0.5);
    let minutes = 200 * DAY / 10 / 60;
    let draws: Vec<f64> = (0..minutes).map(|m| count.between(m * 60, m * 60 + 60) as f64).collect();
    let mean = draws.iter().sum::<f64>() / minutes as f64;
    let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / minutes as f64;
    assert!((mean - 30.0).abs() < 0.2, "{mean}");
    assert!((variance - 30.0).abs() < 1.5, "{variance}");
    let by_second: u64 = (0..6000).map(|s| count.between(s, s + 1)).sum();
    assert_eq!(by_second, count.between(0, 6000));
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_seed_others() {
    let draw = |seed| Count::poisson(seed, 0, DAY, |_| 0.1).before(DAY / 2);
    assert_eq!(draw(1), draw(1));
    assert_ne!((draw(1), draw(2)), (draw(3), draw(4)));
}
