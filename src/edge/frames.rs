//! HTTP/2's frames as they come in: whether a client floods, and whether it owes us a header.
//!
//! The h2 crate bounds what it keeps of streams, headers and data, not how many frames that carry
//! nothing it answers. Here they are counted on their way to it: reading nine octets of each is all
//! it costs.

use std::time::Instant;

/// RFC 9113 §3.4: 24 octets before the first frame.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;

/// Frames that carry nothing which may come at once, and how many of them a second after that. A
/// browser that leaves a page cancels up to a hundred streams; a client that measures the line
/// sends a PING for each round trip.
pub const BURST: u32 = 2_000;
const A_SECOND: f64 = 200.0;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Which frames a client sent too many of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flood {
    /// RST_STREAM: rapid reset (CVE-2023-44487).
    Resets,
    /// SETTINGS.
    Settings,
    /// PING.
    Pings,
    /// DATA, HEADERS or CONTINUATION with nothing in them.
    Empty,
    /// WINDOW_UPDATE, of which each octet that was taken is worth one.
    Windows,
    /// PRIORITY, and frames of kinds that nobody knows.
    Other,
}

impl Flood {
    /// What one frame costs: a stream that was reset may have reached an origin.
    fn cost(self) -> f64 {
        if self == Self::Resets { 4.0 } else { 1.0 }
    }

    /// The value of the metrics' label `frames`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Resets => "reset",
            Self::Settings => "settings",
            Self::Pings => "ping",
            Self::Empty => "empty",
            Self::Windows => "window_update",
            Self::Other => "other",
        }
    }
}

/// Reads along.
#[derive(Debug)]
pub struct Frames {
    at: At,
    /// A header block without its end.
    open_block: bool,
    left: f64,
    counted: Instant,
    /// WINDOW_UPDATEs that the answers sent since have paid for.
    windows: u64,
}

#[derive(Debug)]
enum At {
    /// So many octets of the preface are to come.
    Preface(usize),
    /// So many octets of a frame's header are there.
    Header([u8; FRAME_HEADER], usize),
    /// So many octets of a frame are to come; whether they are a header block's.
    Payload(usize, bool),
}

impl Frames {
    /// A connection that begins at the moment `now`.
    pub fn new(now: Instant) -> Self {
        Self { at: At::Preface(PREFACE), open_block: false, left: BURST.into(), counted: now, windows: 0 }
    }

    /// Whether something was begun that has a deadline: the preface, a frame's header, a header
    /// block.
    pub fn owes(&self) -> bool {
        self.open_block || matches!(self.at, At::Preface(_) | At::Header(_, 1..) | At::Payload(_, true))
    }

    /// Notes octets that the client was sent: it may tell us that it took them.
    pub fn sent(&mut self, octets: usize) {
        // Clients tell by the frame at the most, and frames seldom hold less than this.
        self.windows = self.windows.saturating_add(1 + octets as u64 / 256).min(1 << 20);
    }

    /// Takes what was read.
    pub fn read(&mut self, mut octets: &[u8]) -> Result<(), Flood> {
        while !octets.is_empty() {
            let taken = match &mut self.at {
                At::Preface(left) => {
                    let taken = octets.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.at = At::Header([0; FRAME_HEADER], 0);
                    }
                    taken
                }
                At::Header(header, have) => {
                    let taken = octets.len().min(FRAME_HEADER - *have);
                    header[*have..*have + taken].copy_from_slice(&octets[..taken]);
                    *have += taken;
                    if *have == FRAME_HEADER {
                        let header = *header;
                        self.begin(&header)?;
                    }
                    taken
                }
                At::Payload(left, _) => {
                    let taken = octets.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.at = At::Header([0; FRAME_HEADER], 0);
                    }
                    taken
                }
            };
            octets = &octets[taken..];
        }
        Ok(())
    }

    /// A frame's header (RFC 9113 §4.1) is whole.
    fn begin(&mut self, header: &[u8; FRAME_HEADER]) -> Result<(), Flood> {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let (kind, flags) = (header[3], header[4]);
        let block = matches!(kind, HEADERS | CONTINUATION);
        if block {
            self.open_block = flags & END_HEADERS == 0;
        }
        self.at = match length {
            0 => At::Header([0; FRAME_HEADER], 0),
            length => At::Payload(length, block),
        };
        match kind {
            DATA if length == 0 && flags & END_STREAM == 0 => self.count(Flood::Empty),
            HEADERS | CONTINUATION if length == 0 => self.count(Flood::Empty),
            DATA | HEADERS | CONTINUATION => Ok(()),
            RST_STREAM => self.count(Flood::Resets),
            SETTINGS => self.count(Flood::Settings),
            PING => self.count(Flood::Pings),
            WINDOW_UPDATE if self.windows > 0 => {
                self.windows -= 1;
                Ok(())
            }
            WINDOW_UPDATE => self.count(Flood::Windows),
            _ => self.count(Flood::Other),
        }
    }

    fn count(&mut self, flood: Flood) -> Result<(), Flood> {
        if self.left < 1.0 {
            let now = Instant::now();
            let back = now.duration_since(self.counted).as_secs_f64() * A_SECOND;
            self.left = (self.left + back).min(BURST.into());
            self.counted = now;
            if self.left < 1.0 {
                return Err(flood);
            }
        }
        self.left -= flood.cost();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn begun() -> Frames {
        let mut frames = Frames::new(Instant::now());
        assert!(frames.owes());
        frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        assert!(!frames.owes());
        frames
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut frames = begun();
        let all =
            [frame(HEADERS, 0, b"abc"), frame(CONTINUATION, END_HEADERS, b""), frame(DATA, 0, &[6; 300])];
        for octet in all.concat() {
            frames.read(&[octet]).unwrap();
        }
        assert!(!frames.owes());
        frames.read(&frame(HEADERS, 0, b"abc")).unwrap();
        assert!(frames.owes(), "a header block without its end");
        frames.read(&frame(CONTINUATION, END_HEADERS, b"abc")[..10]).unwrap();
        assert!(frames.owes(), "part of its end");
        frames.read(b"bc").unwrap();
        assert!(!frames.owes());
    }

    #[test]
    fn floods_of_frames_that_carry_nothing_are_named() {
        for (kind, flood) in [
            (RST_STREAM, Flood::Resets),
            (SETTINGS, Flood::Settings),
            (PING, Flood::Pings),
            (DATA, Flood::Empty),
            (WINDOW_UPDATE, Flood::Windows),
            (2, Flood::Other),
        ] {
            let payload: &[u8] = if kind == DATA { &[] } else { &[0; 8] };
            let many = frame(kind, 0, payload).repeat(4 * BURST as usize);
            assert_eq!(begun().read(&many), Err(flood));
        }
    }

    #[test]
    fn data_and_windows_that_were_paid_for_are_no_flood() {
        let mut frames = begun();
        frames.read(&frame(DATA, 0, &[0; 10]).repeat(10_000)).unwrap();
        frames.read(&frame(HEADERS, END_HEADERS, &[0; 10]).repeat(10_000)).unwrap();
        frames.sent(256 * 10_000);
        frames.read(&frame(WINDOW_UPDATE, 0, &[0; 4]).repeat(10_000)).unwrap();
    }
}
