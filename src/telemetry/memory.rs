//! How much memory the process holds, against the most it may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::metrics::Metrics;

/// How often it is measured: a flood of connections takes longer to fill a machine.
const PACE: Duration = Duration::from_millis(250);

/// The memory ceiling, `limits.memory`: what comes new is refused near it, so that what runs can
/// go on. New names go first, from nine tenths of it on; new connections at the ceiling itself.
#[derive(Debug)]
pub struct Memory {
    /// In octets; 0: none.
    ceiling: AtomicU64,
    /// Octets that the system holds for us, as last measured.
    resident: AtomicU64,
}

impl Memory {
    /// With a ceiling in octets; 0 for none.
    pub fn new(ceiling: u64) -> Arc<Self> {
        Arc::new(Self { ceiling: AtomicU64::new(ceiling), resident: AtomicU64::new(0) })
    }

    /// Whether names that are not known yet are refused now.
    pub fn sheds_new_names(&self) -> bool {
        self.is_over(|ceiling| ceiling - ceiling / 10)
    }

    /// Whether new connections are refused now.
    pub fn sheds_connections(&self) -> bool {
        self.is_over(|ceiling| ceiling)
    }

    /// Sets another ceiling.
    pub fn set_ceiling(&self, ceiling: u64) {
        self.ceiling.store(ceiling, Ordering::Relaxed);
    }

    fn is_over(&self, mark: impl Fn(u64) -> u64) -> bool {
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        ceiling != 0 && self.resident.load(Ordering::Relaxed) >= mark(ceiling)
    }

    /// Measures again and again. Never ends.
    pub async fn follow(&self, metrics: &Metrics) {
        let mut pace = tokio::time::interval(PACE);
        let mut sheds = false;
        loop {
            pace.tick().await;
            // A file of the kernel's: reading it waits for no disk.
            let Some(octets) = std::fs::read_to_string("/proc/self/status").ok().and_then(|s| resident(&s))
            else {
                tracing::warn!(
                    "the memory in use cannot be read from /proc/self/status; limits.memory has no effect"
                );
                return;
            };
            self.measured(octets);
            metrics.memory_resident_bytes.set(i64::try_from(octets).unwrap_or(i64::MAX));
            if self.sheds_new_names() != sheds {
                sheds = !sheds;
                let (resident, ceiling) = (octets, self.ceiling.load(Ordering::Relaxed));
                if sheds {
                    tracing::warn!(
                        resident,
                        ceiling,
                        "memory is near limits.memory: new hostnames are refused, then new connections; \
                         give the process more, or lower limits.connections and limits.hot_certificates"
                    );
                } else {
                    tracing::info!(resident, ceiling, "memory is well below limits.memory again");
                }
            }
        }
    }

    fn measured(&self, octets: u64) {
        self.resident.store(octets, Ordering::Relaxed);
    }
}

/// The line `VmRSS:     1234 kB` of proc_pid_status(5), in octets.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_are_shed_before_new_connections() {
        let memory = Memory::new(1000);
        let sheds = |octets| {
            memory.measured(octets);
            (memory.sheds_new_names(), memory.sheds_connections())
        };
        assert_eq!(sheds(899), (false, false));
        assert_eq!(sheds(900), (true, false));
        assert_eq!(sheds(1000), (true, true));
        assert_eq!(sheds(100), (false, false));
        let without = Memory::new(0);
        without.measured(u64::MAX);
        assert!(!without.sheds_new_names() && !without.sheds_connections());
    }

    #[test]
    fn the_systems_figure_is_read_in_octets() {
        assert_eq!(resident("VmSize:\t  10 kB\nVmRSS:\t    2048 kB\nThreads:\t2\n"), Some(2_097_152));
        assert_eq!(resident("Threads:\t2\n"), None);
    }
}
