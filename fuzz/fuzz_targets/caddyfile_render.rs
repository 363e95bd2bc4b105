//! A CADDYFILE of an app to what its node's Caddy is given.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::proxy::invariants::caddyfile;

fuzz_target!(|text: &str| {
    if let Err(broken) = caddyfile(text) {
        panic!("{broken}");
    }
});
