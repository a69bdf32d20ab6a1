//! Keys of session tickets (RFC 5077 §4, RFC 8446 §4.6.1): which of them encrypts, and which decrypt.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::clock::UnixTime;

/// Octets of a key's name, which stands in the clear in each of its tickets.
pub const NAME_OCTETS: usize = 16;
/// Octets of each of its two secrets: for AES-256 and for HMAC-SHA256.
pub const SECRET_OCTETS: usize = 32;
/// Octets that are drawn at random for a key: its name and its secrets.
pub const DRAWN_OCTETS: usize = NAME_OCTETS + 2 * SECRET_OCTETS;
/// Octets of a whole key as it is kept.
pub const OCTETS: usize = DRAWN_OCTETS + 3 * 8 + 1;

/// The name of a key; no secret.
pub type KeyName = [u8; NAME_OCTETS];

/// When a key is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Life {
    /// When it was made: later than every key that its maker knew, where it stands alone.
    pub made: UnixTime,
    /// It encrypts from then on, for half of the time to its end.
    pub begins: UnixTime,
    /// It decrypts until then, from the moment it is known.
    pub ends: UnixTime,
}

impl Life {
    /// That of a key which encrypts for `period` from `begins`, and decrypts for one more.
    pub fn new(made: UnixTime, begins: UnixTime, period: Duration) -> Self {
        Self { made, begins, ends: begins.plus(period * 2) }
    }

    /// It encrypts until then.
    pub fn encrypts_until(&self) -> UnixTime {
        self.begins.plus(self.begins.until(self.ends) / 2)
    }

    fn encrypts(&self, now: UnixTime) -> bool {
        self.begins <= now && now < self.encrypts_until()
    }
}

/// A key of session tickets. `Debug` shows none of its secrets, and they are wiped with it.
#[derive(Clone, Eq, PartialEq)]
pub struct TicketKey {
    drawn: Zeroizing<[u8; DRAWN_OCTETS]>,
    /// When it is used.
    pub life: Life,
    /// No key that was made before it is used any more, as one of them may be known to strangers.
    pub alone: bool,
}

impl TicketKey {
    /// - `drawn`: random
    pub fn new(drawn: Zeroizing<[u8; DRAWN_OCTETS]>, life: Life, alone: bool) -> Self {
        Self { drawn, life, alone }
    }

    /// What its tickets begin with.
    pub fn name(&self) -> &KeyName {
        self.part::<0, NAME_OCTETS>()
    }

    /// The key for AES-256.
    pub fn cipher(&self) -> &[u8; SECRET_OCTETS] {
        self.part::<NAME_OCTETS, SECRET_OCTETS>()
    }

    /// The key for HMAC-SHA256.
    pub fn mac(&self) -> &[u8; SECRET_OCTETS] {
        self.part::<{ NAME_OCTETS + SECRET_OCTETS }, SECRET_OCTETS>()
    }

    fn part<const FROM: usize, const LENGTH: usize>(&self) -> &[u8; LENGTH] {
        self.drawn[FROM..].first_chunk().expect("the parts lie within what is drawn")
    }

    /// The whole key, secrets included, to be sealed.
    pub fn octets(&self) -> Zeroizing<[u8; OCTETS]> {
        let mut octets = Zeroizing::new([0; OCTETS]);
        let (drawn, rest) = octets.split_at_mut(DRAWN_OCTETS);
        drawn.copy_from_slice(self.drawn.as_slice());
        let Life { made, begins, ends } = self.life;
        for (place, time) in rest.chunks_exact_mut(8).zip([made, begins, ends]) {
            place.copy_from_slice(&time.0.to_be_bytes());
        }
        octets[OCTETS - 1] = u8::from(self.alone);
        octets
    }

    /// Reads what [`TicketKey::octets`] gave; `None` for anything else.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let (drawn, rest) = octets.split_first_chunk::<DRAWN_OCTETS>()?;
        let (made, rest) = rest.split_first_chunk()?;
        let (begins, rest) = rest.split_first_chunk()?;
        let (ends, rest) = rest.split_first_chunk()?;
        let time = |octets: &[u8; 8]| UnixTime(i64::from_be_bytes(*octets));
        let life = Life { made: time(made), begins: time(begins), ends: time(ends) };
        match rest {
            [alone @ (0 | 1)] => Some(Self::new(Zeroizing::new(*drawn), life, *alone == 1)),
            _ => None,
        }
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey")
            .field("life", &self.life)
            .field("alone", &self.alone)
            .finish_non_exhaustive()
    }
}

/// A key that a machine has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The key.
    pub key: Arc<TicketKey>,
    /// Whether the whole fleet has it or is about to: it was in the store at the last look.
    pub shared: bool,
}

/// The keys that a machine has; those that may not be used any more are not among them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ring {
    held: Vec<Held>,
}

impl Ring {
    /// One of these keys, without those that have ended at `now`, and those that were made before one
    /// that stands alone.
    pub fn new(mut held: Vec<Held>, now: UnixTime) -> Self {
        let alone = held.iter().filter(|one| one.key.alone).map(|one| one.key.life.made).max();
        held.retain(|one| now < one.key.life.ends && Some(one.key.life.made) >= alone);
        Self { held }
    }

    /// All of them.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// The key that encrypts at `now`: of the fleet's, where one does, the one that began last; else of
    /// this machine's own.
    pub fn encrypting(&self, now: UnixTime) -> Option<&Held> {
        let encrypts = self.held.iter().filter(|one| one.key.life.encrypts(now));
        encrypts.max_by_key(|one| (one.shared, one.key.life.begins, one.key.life.made, one.key.name()))
    }

    /// The key of this name, where it decrypts at `now`.
    pub fn decrypting(&self, name: &KeyName, now: UnixTime) -> Option<&TicketKey> {
        let found = self.held.iter().find(|one| one.key.name() == name)?;
        (now < found.key.life.ends).then_some(&*found.key)
    }

    /// These keys and `key`.
    pub fn with(&self, key: TicketKey, shared: bool, now: UnixTime) -> Self {
        let mut held = self.held.clone();
        held.push(Held { key: Arc::new(key), shared });
        Self::new(held, now)
    }

    /// These keys, of which the fleet has `stored` and no others. The others go on as this machine's own:
    /// a store that was begun anew ends no session.
    pub fn agreed(&self, stored: Vec<TicketKey>, now: UnixTime) -> Self {
        let known = |name: &KeyName| self.held.iter().find(|one| one.key.name() == name);
        let own = self.held.iter().filter(|one| stored.iter().all(|key| key.name() != one.key.name()));
        let own: Vec<Held> = own.map(|one| Held { key: one.key.clone(), shared: false }).collect();
        let shared = stored.into_iter().map(|key| {
            let key = known(key.name()).map_or_else(|| Arc::new(key.clone()), |one| one.key.clone());
            Held { key, shared: true }
        });
        Self::new(shared.chain(own).collect(), now)
    }

    /// When the fleet's next key has to begin, where it is time to make it: half of `period` before that,
    /// so that all machines have it before the first one encrypts with it.
    pub fn wanted(&self, now: UnixTime, period: Duration) -> Option<UnixTime> {
        let horizon = now.plus(period / 2);
        let mut covered = now;
        while covered <= horizon {
            let encrypt = self.held.iter().filter(|one| one.shared && one.key.life.encrypts(covered));
            match encrypt.map(|one| one.key.life.encrypts_until()).max() {
                Some(until) => covered = until,
                None => return Some(covered),
            }
        }
        None
    }

    /// When a key that is made at `now` counts as made: not before any other.
    ///
    /// - `alone`: after all others
    pub fn made(&self, now: UnixTime, alone: bool) -> UnixTime {
        let newest = self.held.iter().map(|one| one.key.life.made).max();
        newest.map_or(now, |newest| now.max(UnixTime(newest.0.saturating_add(i64::from(alone)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);
    const PERIOD: Duration = Duration::from_secs(12 * 60 * 60);
    const BEGIN: UnixTime = UnixTime(1_800_000_000);

    fn hour(count: u32) -> UnixTime {
        BEGIN.plus(HOUR * count)
    }

    fn key(number: u8, made: UnixTime, begins: UnixTime) -> TicketKey {
        TicketKey::new(Zeroizing::new([number; DRAWN_OCTETS]), Life::new(made, begins, PERIOD), false)
    }

    fn encrypts(ring: &Ring, now: UnixTime) -> Option<u8> {
        ring.encrypting(now).map(|one| one.key.name()[0])
    }

    fn decrypts(ring: &Ring, now: UnixTime) -> Vec<u8> {
        (0..=9).filter(|number| ring.decrypting(&[*number; NAME_OCTETS], now).is_some()).collect()
    }

    #[test]
    fn a_key_comes_out_as_it_went_in_and_shows_no_secret() {
        let mut drawn = Zeroizing::new([0; DRAWN_OCTETS]);
        drawn.iter_mut().zip(100..).for_each(|(octet, number)| *octet = number);
        let one = TicketKey::new(drawn, Life::new(BEGIN, hour(1), PERIOD), true);
        assert_eq!((one.name()[0], one.cipher()[0], one.mac()[0], one.mac()[31]), (100, 116, 148, 179));
        let octets = one.octets();
        assert_eq!(TicketKey::read(octets.as_slice()), Some(one.clone()));
        for wrong in [&octets[1..], &[octets.as_slice(), &[0]].concat(), &[]] {
            assert_eq!(TicketKey::read(wrong), None);
        }
        let mut neither = octets.clone();
        neither[OCTETS - 1] = 2;
        assert_eq!(TicketKey::read(neither.as_slice()), None);
        let shown = format!("{one:?} {:?}", Ring::default().with(one.clone(), true, BEGIN));
        assert!(!shown.contains("116") && !shown.contains("148, 149"), "{shown}");
    }

    #[test]
    fn a_key_encrypts_for_a_period_and_decrypts_for_one_more() {
        let ring = Ring::default().with(key(1, BEGIN, BEGIN), true, BEGIN);
        let ring = ring.with(key(2, hour(6), hour(12)), true, hour(6));
        assert_eq!((encrypts(&ring, UnixTime(BEGIN.0 - 1)), decrypts(&ring, BEGIN)), (None, vec![1, 2]));
        let one_less = |time: UnixTime| UnixTime(time.0 - 1);
        for (now, number) in [(BEGIN, 1), (one_less(hour(12)), 1), (hour(12), 2), (one_less(hour(24)), 2)] {
            assert_eq!(encrypts(&ring, now), Some(number), "{now}");
        }
        assert_eq!(encrypts(&ring, hour(24)), None);
        for (now, numbers) in [
            (one_less(hour(24)), vec![1, 2]),
            (hour(24), vec![2]),
            (one_less(hour(36)), vec![2]),
            (hour(36), vec![]),
        ] {
            assert_eq!(decrypts(&ring, now), numbers, "{now}");
            assert_eq!(decrypts(&Ring::new(ring.held().to_vec(), now), now), numbers, "{now}");
        }
    }

    #[test]
    fn the_next_key_is_wanted_half_a_period_before_it_begins() {
        let ring = Ring::default();
        assert_eq!(ring.wanted(BEGIN, PERIOD), Some(BEGIN), "the first one is wanted at once");
        let ring = ring.with(key(1, BEGIN, BEGIN), true, BEGIN);
        assert_eq!(ring.wanted(UnixTime(hour(6).0 - 1), PERIOD), None);
        assert_eq!(ring.wanted(hour(6), PERIOD), Some(hour(12)));
        assert_eq!(ring.wanted(hour(13), PERIOD), Some(hour(13)), "nobody made it in time");
        let ring = ring.with(key(2, hour(6), hour(12)), true, hour(6));
        assert_eq!(ring.wanted(hour(17), PERIOD), None);
        assert_eq!(ring.wanted(hour(18), PERIOD), Some(hour(24)));
        // One whose maker's clock was years ahead stands in nobody's way.
        let ring = ring.with(key(3, hour(6), hour(9_000)), true, hour(6));
        assert_eq!(ring.wanted(hour(18), PERIOD), Some(hour(24)));
    }

    #[test]
    fn a_key_of_ones_own_encrypts_only_while_the_fleet_has_none() {
        let ring = Ring::default().with(key(1, BEGIN, BEGIN), true, BEGIN);
        let ring = ring.with(key(2, hour(12), hour(12)), false, hour(12));
        assert_eq!(encrypts(&ring, hour(11)), Some(1));
        assert_eq!(encrypts(&ring, hour(12)), Some(2));
        assert_eq!(ring.wanted(hour(13), PERIOD), Some(hour(13)), "it is not the fleet's");
        let ring = ring.with(key(3, hour(13), hour(13)), true, hour(13));
        assert_eq!((encrypts(&ring, hour(13)), decrypts(&ring, hour(13))), (Some(3), vec![1, 2, 3]));
    }

    #[test]
    fn what_the_store_has_no_more_goes_on_as_ones_own() {
        let ring = Ring::default().with(key(1, BEGIN, BEGIN), true, BEGIN);
        let ring = ring.agreed(vec![key(2, BEGIN, BEGIN)], BEGIN);
        let shared: Vec<_> = ring.held().iter().map(|one| (one.key.name()[0], one.shared)).collect();
        assert_eq!(shared, [(2, true), (1, false)]);
        let back = ring.agreed(vec![key(1, BEGIN, BEGIN), key(2, BEGIN, BEGIN)], BEGIN);
        assert!(back.held().iter().all(|one| one.shared) && back.held().len() == 2);
    }

    #[test]
    fn one_that_stands_alone_ends_all_that_were_made_before_it() {
        let ring = Ring::default().with(key(1, BEGIN, BEGIN), true, BEGIN);
        let ring = ring.with(key(2, BEGIN, hour(12)), true, BEGIN).with(key(3, BEGIN, BEGIN), false, BEGIN);
        let made = ring.made(BEGIN, true);
        assert_eq!(made, UnixTime(BEGIN.0 + 1), "in the same second too");
        let alone = TicketKey { alone: true, ..key(4, made, BEGIN) };
        let ring = ring.with(alone, true, BEGIN);
        assert_eq!((encrypts(&ring, BEGIN), decrypts(&ring, BEGIN)), (Some(4), vec![4]));
        // As they come from a backup of the store.
        let ring = ring.agreed(vec![key(1, BEGIN, BEGIN), key(2, BEGIN, hour(12))], BEGIN);
        assert_eq!(decrypts(&ring, BEGIN), [4]);
        let ring = ring.with(key(5, ring.made(BEGIN, false), BEGIN), true, BEGIN);
        assert_eq!(decrypts(&ring, BEGIN), [4, 5], "those after it are good");
    }
}
