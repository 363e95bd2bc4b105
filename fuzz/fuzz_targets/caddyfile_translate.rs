//! A CADDYFILE of an app to sites of Caddy 2.

#![no_main]

use caddyfile::invariants::translation;
use libfuzzer_sys::fuzz_target;

/// What the golden files call `$CONTAINER`: the only one that the app has.
const CONTAINER: &str = "appmain12345_web_1";

fuzz_target!(|text: &str| {
    let text = text.replace("$CONTAINER", CONTAINER);
    if let Err(broken) = translation(&text, &|host| host == CONTAINER) {
        panic!("{broken}");
    }
});
