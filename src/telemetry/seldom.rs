//! Log lines that a flood must not multiply.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one line through in a while and counts those in between.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Seldom {
    /// One line in `every` at most.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new((None, 0)) }
    }

    /// `Some` where a line may be written now: with how many were kept back since the last one.
    pub fn permit(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let (last, kept_back) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < self.every) {
            *kept_back += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_and_the_next_tells_how_many_did_not() {
        let seldom = Seldom::new(Duration::from_secs(3600));
        assert_eq!(seldom.permit(), Some(0));
        assert_eq!((seldom.permit(), seldom.permit()), (None, None));
        let always = Seldom::new(Duration::ZERO);
        assert_eq!((always.permit(), always.permit()), (Some(0), Some(0)));
    }
}
