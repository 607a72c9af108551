//! Counters that an exporter forgets for want of events and begins anew, and what only looks like them.

use super::placed::{STEPS, booked_by, grows, labelled, same_however_read, up};
use super::*;

#[test]
fn a_counter_that_its_exporter_forgot_begins_at_nothing() {
    let plan = availability(&[]);
    let total = labelled("200", &[], &grows(0, 200, 5e5, 60.0));
    let errors = |from: i64, values: &[f64]| -> Vec<(i64, f64)> {
        values.iter().zip(from..).map(|(&value, i)| (7 + i * 30, value)).collect()
    };
    let booked = |later: &[f64], more: &[RawSeries]| {
        let errors = labelled("500", &[], &[errors(10, &[4_000.0, 4_030.0]), errors(30, later)].concat());
        same_however_read(&plan, &[&[total.clone(), errors], more].concat(), &[]).1
    };
    assert_eq!(booked(&[12.0, 12.0, 15.0], &[]), 30 + 15);
    assert_eq!(booked(&[0.0, 0.0, 15.0], &[]), 30 + 15);
    // Forgotten again and again: that is no flicker.
    let again =
        [errors(50, &[40.0, 60.0]), errors(70, &[20.0, 25.0]), errors(90, &[7.0, 7.0]), errors(110, &[3.0, 4.0])];
    let again = labelled("500", &[], &[errors(10, &[4_000.0, 4_030.0]), again.concat()].concat());
    let said = [up(&[], 0, 200), raw(PROCESS_START, &[], &grows(0, 200, 1.0, 0.0))];
    for witnesses in [&[][..], &said] {
        let bad = same_however_read(&plan, &[total.clone(), again.clone()], witnesses).1;
        assert_eq!(bad, 30 + 60 + 25 + 7 + 4);
    }
    // ... nor where it is seen only when it stands still.
    let still = [errors(50, &[200.0; 9]), errors(70, &[60.0, 61.0]), errors(90, &[300.0; 9]), errors(110, &[80.0; 9])];
    let still = labelled("500", &[], &[errors(10, &[4_000.0, 4_030.0]), still.concat()].concat());
    assert_eq!(same_however_read(&plan, &[total.clone(), still], &[]).1, 30 + 200 + 61 + 239 + 80);
    // It was only hidden, and read too low once.
    assert_eq!(booked(&[4_029.0, 4_032.0], &[]), 32);
    assert_eq!(booked(&[12.0, 4_032.0, 4_032.0], &[]), 32);
    // More than can have happened since the scrape before: a counter that was set.
    assert_eq!(booked(&[2_000.0, 2_001.0, 2_001.0, 2_001.0, 2_003.0], &[]), 30 + 3);
    // Left out of a scrape or two: many of an exporter's are.
    let short = |at: i64| {
        let errors = [errors(10, &[4_000.0, 4_030.0]), errors(at, &[12.0, 12.0])].concat();
        same_however_read(&plan, &[total.clone(), labelled("500", &[], &errors)], &[]).1
    };
    assert_eq!([short(13), short(14), short(15)], [30, 30, 30 + 12]);
    // Three that were forgotten together come back together: that is no restart of their process.
    let of = |code: &str| {
        labelled(code, &[], &[errors(10, &[90.0; 11]), errors(60, &[20.0; 9]), errors(90, &[10.0; 9])].concat())
    };
    let slow = labelled("200", &[], &grows(0, 200, 5e5, 4.0));
    let together = [slow, of("500"), of("502"), of("503")];
    for step in STEPS {
        let (sum, all) = booked_by(&mut Tracker::new(RES), &plan, &together, &said, step);
        assert_eq!(sum.1, 3 * 30, "{step} s");
        assert!(all.series.iter().all(|deltas| deltas.fault.is_none()));
    }
}
