//! The lexers of both Caddys, the parser and the choice between the two.

#![no_main]

use caddyfile::invariants::lexing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(broken) = lexing(text) {
        panic!("{broken}");
    }
});
