//! Stories side by side: each is a function of its seed alone, so the order in which they are lived through says nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `run` makes of each, in order, on as many cores as there are.
pub fn each<T: Sync, R: Send>(of: &[T], run: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, made) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(of.len())));
    std::thread::scope(|scope| {
        for _ in 0..cores.min(of.len()) {
            scope.spawn(|| {
                while let Some((nth, one)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|nth| Some((nth, of.get(nth)?)))
                {
                    let result = run(one);
                    made.lock().expect("nobody panics while adding").push((nth, result));
                }
            });
        }
    });
    let mut made = made.into_inner().expect("nobody panics while adding");
    made.sort_by_key(|(nth, _)| *nth);
    made.into_iter().map(|(_, result)| result).collect()
}
