//! What this process asks of the system for itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Lets no core file be written and no other process of this user read our memory, both of which
/// would show private keys.
///
/// What the system refuses is left as it is: none of it keeps anybody from being served.
pub fn keep_memory_to_itself() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        eprintln!("core files cannot be turned off: {error}; see ulimit -c");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("other processes of this user may read this one's memory: {error}");
    }
}

/// Lets as many files be open as the system allows: each proxied connection takes two.
pub fn open_many_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, ?current, "no more open files are allowed; connections may be refused beyond that");
    }
}
