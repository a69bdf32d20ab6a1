//! Who may use what of an authority's limits, and who is next.

use std::time::Duration;

use super::clock::UnixTime;

/// What an order is placed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A name without a valid certificate: somebody waits for it.
    NewName,
    /// A certificate that is due, and still valid for long.
    Renewal,
    /// A certificate that is late: half of the time that was left when it was due is over.
    LateRenewal,
}

/// Failures in a row from which on an authority is left alone for a time. Where there were fewer, it is left
/// alone as it asked for that.
pub const PATIENCE: u32 = 3;
/// Longer than any authority asks to be left alone: a time beyond was noted by a clock that was ahead.
pub const LONGEST_LIMIT: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// One order in so many is left to new names.
const RESERVE: u32 = 4;

impl Purpose {
    /// How many orders there may be within a limit of `count` for this purpose to place one more: renewals
    /// leave a part of it to new names, until they are late.
    pub fn share(self, count: u32) -> u32 {
        match self {
            Self::NewName | Self::LateRenewal => count,
            Self::Renewal => (count - count / RESERVE).max(1),
        }
    }
}

/// When a certificate's renewal is due, and when it is late.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Due {
    /// It may be renewed from then on.
    pub at: UnixTime,
    /// Half of the time until its end is over then.
    pub late_at: UnixTime,
}

impl Due {
    /// Its place among all that are due at `now`; the smallest comes first. Those that are late come
    /// before all others, the longest late first; the others by when they became due.
    pub fn place(self, now: UnixTime) -> (bool, UnixTime) {
        if self.late_at <= now { (false, self.late_at) } else { (true, self.at) }
    }

    /// What an order for it at `now` is.
    pub fn purpose(self, now: UnixTime) -> Purpose {
        if self.late_at <= now { Purpose::LateRenewal } else { Purpose::Renewal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_leave_a_part_to_new_names_until_they_are_late() {
        assert_eq!(Purpose::Renewal.share(300), 225);
        assert_eq!(Purpose::Renewal.share(1), 1, "else there would never be any");
        assert_eq!((Purpose::NewName.share(300), Purpose::LateRenewal.share(300)), (300, 300));
    }

    #[test]
    fn the_late_come_first_whatever_became_due_before_them() {
        let due = |at, late_at| Due { at: UnixTime(at), late_at: UnixTime(late_at) };
        let mut waiting = [due(10, 90), due(20, 40), due(5, 200), due(30, 35)];
        let now = UnixTime(50);
        waiting.sort_by_key(|due| due.place(now));
        assert_eq!(waiting, [due(30, 35), due(20, 40), due(5, 200), due(10, 90)]);
        assert_eq!(due(20, 40).purpose(now), Purpose::LateRenewal);
        assert_eq!(due(10, 90).purpose(now), Purpose::Renewal);
    }
}
