//! What systemd is told of this process (sd_notify(3)); nothing where it did not start it.

use sd_notify::NotifyState;

/// It serves, by the configuration as it is now.
pub fn serves() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration again.
pub fn reloads() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
}

/// It ends.
pub fn stops() {
    tell(&[NotifyState::Stopping]);
}

/// The process `pid` serves in its place.
pub fn is_followed_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told how this process is; see NOTIFY_SOCKET");
    }
}
