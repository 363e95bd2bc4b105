//! The lexers of both Caddys, the parser and the choice between the two.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::proxy::invariants::lexing;

fuzz_target!(|text: &str| {
    if let Err(broken) = lexing(text) {
        panic!("{broken}");
    }
});
