//! The `tandem` binary: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    tandem::cli::main()
}
