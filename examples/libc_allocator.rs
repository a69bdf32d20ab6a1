//! The program with libc's own allocator: for tools that put themselves in the place of functions of
//! libc, such as libfaketime, libfiu and heap profilers, which jemalloc calls before they are ready.

use std::process::ExitCode;

fn main() -> ExitCode {
    nameplate::cli::main::main()
}
