//! The `nameplate` program.

use std::process::ExitCode;

/// Gives memory back to the system and keeps idle connections small; by its unprefixed symbols
/// OpenSSL allocates from it too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's settings. A request allocates a little over 64 KiB, after which each thread's cache
/// would be looked through and emptied in part; that is done after 4 MiB instead.
// SAFETY: jemalloc reads this symbol as a pointer to a text that ends with NUL, which it is.
#[used]
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 29] = b"tcache_gc_incr_bytes:4194304\0";

fn main() -> ExitCode {
    nameplate::cli::main::main()
}
