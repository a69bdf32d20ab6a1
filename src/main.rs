//! The `nameplate` program.

use std::process::ExitCode;

/// Gives memory back to the system and keeps idle connections small; by its unprefixed symbols
/// OpenSSL allocates from it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    nameplate::cli::main::main()
}
