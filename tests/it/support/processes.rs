//! Who is whose child, as /proc tells it.

use std::fs;

/// All descendants of a process, whatever they are called.
pub fn descendants(pid: u32) -> Vec<u32> {
    let children = children_of(pid);
    let below = children.iter().flat_map(|child| descendants(*child));
    let below: Vec<_> = below.collect();
    [children, below].concat()
}

pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The most memory that the process has held so far, in KiB; `None` once it has ended.
pub fn peak_rss(pid: u32) -> Option<u64> {
    let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    // Until it has become its program, a child is this one, and has its memory.
    if program(&pid.to_string()) == program("self") {
        return Some(0);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn children_of(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").expect("a Linux machine");
    let pids = pids.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, ppid)| ppid == parent)).collect()
}

/// State and parent; the name before them may contain anything but ends with the last parenthesis.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
