//! Who listens where, as the kernel lists it.

use std::collections::BTreeSet;
use std::path::Path;

/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// The ports on which something listens in the network namespace of a process; none that can't be read.
pub(super) fn ports(process: &str) -> BTreeSet<u16> {
    let folder = Path::new("/proc").join(process).join("net");
    let texts = ["tcp", "tcp6"].map(|file| std::fs::read_to_string(folder.join(file)));
    texts.iter().flatten().flat_map(|text| listed(text)).collect()
}

/// The local ports of the lines whose socket listens.
fn listed(text: &str) -> BTreeSet<u16> {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        let (local, state) = (words.nth(1)?, words.nth(1)?);
        let (_, port) = local.rsplit_once(':')?;
        (state == LISTENS).then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    text.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let text =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 00000000:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0 0 1
   1: 0100007F:1F90 0100007F:08AE 01 00000000:00000000 00:00000000 00000000     0 0 1
   2: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1
";
        assert_eq!(listed(text), BTreeSet::from([2222, 443]));
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(ports("self").contains(&listener.local_addr().unwrap().port()));
    }
}
