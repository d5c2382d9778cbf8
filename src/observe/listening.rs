//! Which processes of this machine listen on a port.

use std::collections::HashSet;
use std::fs;

use super::procfs;

/// The state of a socket that listens, as `/proc/net/tcp` writes it.
const LISTENS: &str = "0A";

/// `None` where there is none, or where it belongs to somebody whose files may not be read.
pub fn process_on(port: u16) -> Option<u32> {
    // Of a server that has forked, the parent: whatever its children do is the target's too.
    processes_on(port).into_iter().min()
}

/// Every process that has a socket open which listens on the port, as far as their files may be read.
pub fn processes_on(port: u16) -> Vec<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets: HashSet<String> = tables.iter().flat_map(|table| listening(table, port)).collect();
    if sockets.is_empty() {
        return Vec::new();
    }
    procfs::pids().filter(|pid| holds(*pid, &sockets)).collect()
}

/// The inodes of the sockets that listen on it.
fn listening(table: &str, port: u16) -> Vec<String> {
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let ours = u16::from_str_radix(local_port, 16).ok()? == port && *fields.get(3)? == LISTENS;
        ours.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    };
    table.lines().skip(1).filter_map(of).collect()
}

fn holds(pid: u32, sockets: &HashSet<String>) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.to_str().is_some_and(|to| sockets.contains(to))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0\n   1: 0100007F:1388 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n";
        assert_eq!(listening(table, 5000), ["socket:[4711]"]);
        assert!(listening(table, 5001).is_empty() && listening("", 5000).is_empty());
    }

    #[test]
    fn a_socket_of_our_own_is_ours() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        if std::path::Path::new("/proc/net/tcp").exists() {
            assert_eq!(process_on(port), Some(std::process::id()));
        }
    }
}
