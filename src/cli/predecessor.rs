//! The process that serves already, where this one is to take over from it.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::control::{Request, is_nobody, want};
use crate::app::hand_over::{self, Inheritance};

/// The process that another one takes over from.
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Tells it that it may leave.
    pub fn we_serve(self) -> io::Result<()> {
        hand_over::say_that_we_serve(&self.0)
    }
}

/// Asks the process that serves from `data_dir` for what it listens on, and waits until it gives
/// it, which it does at SIGQUIT. `None` where no process serves.
pub fn take_over(data_dir: &Path) -> io::Result<Option<(Inheritance, Predecessor)>> {
    let stream = match want(data_dir, &Request::TakeOver) {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some((hand_over::receive(&stream)?, Predecessor(stream))))
}
