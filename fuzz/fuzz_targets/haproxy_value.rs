//! A HAPROXY variable, YAML or JSON, to what the nodes' HAProxys are given.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tandem::proxy::invariants::haproxy_text;

fuzz_target!(|text: &str| {
    if let Err(broken) = haproxy_text(text) {
        panic!("{broken}");
    }
});
