//! Memory that a start took and nobody needs any more, given back to the system.
//!
//! Reading history leaves free heap behind, and a start walks through much of the program that is never run again: the
//! readers of rules, the command line, TLS. Both would stay resident for as long as the process lives.

/// Gives both back. Takes milliseconds; for the end of a start, not for a poll.
pub fn give_back() {
    trim();
    drop_program_pages();
}

/// The free part of the heap.
fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes a number, may be called at any time and by any thread, and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Pages of the program itself. What runs on is read again from the page cache at once.
fn drop_program_pages() {
    #[cfg(target_os = "linux")]
    {
        let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
        let program = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        for (start, end) in clean_mappings(&maps, &program.display().to_string()) {
            // SAFETY: the range is a mapping of this program's own file that nothing may write to and that has no page
            // of its own (`Anonymous: 0`): each page that is dropped reads the same again from the file.
            unsafe {
                libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
            }
        }
    }
}

/// The mappings of `program` in a text like `/proc/self/smaps` whose pages are those of its file: not writable, and none
/// of them changed (relocations change pages that look read-only afterwards).
#[cfg(any(target_os = "linux", test))]
fn clean_mappings(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut candidate = None;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some((start, end)) = first.split_once('-') {
            let bounds = usize::from_str_radix(start, 16).ok().zip(usize::from_str_radix(end, 16).ok());
            let reads_only = words.next().is_some_and(|flags| flags.starts_with('r') && flags.ends_with('p'))
                && !line.split_whitespace().nth(1).is_some_and(|flags| flags.contains('w'));
            let own = !program.is_empty() && line.ends_with(program);
            candidate = bounds.filter(|_| reads_only && own);
        } else if first == "Anonymous:" && words.next() == Some("0") {
            found.extend(candidate.take());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_that_are_those_of_the_file_are_dropped() {
        let maps = "\
55d0c0000000-55d0c0100000 r--p 00000000 fe:00 42 /opt/slowburn
Rss:                 400 kB
Anonymous:             0 kB
55d0c0100000-55d0c1200000 r-xp 00100000 fe:00 42 /opt/slowburn
Anonymous:             0 kB
55d0c1200000-55d0c1300000 r--p 01200000 fe:00 42 /opt/slowburn
Anonymous:           512 kB
55d0c1300000-55d0c1310000 rw-p 01300000 fe:00 42 /opt/slowburn
Anonymous:             0 kB
7f0000000000-7f0000100000 r-xp 00000000 fe:00 43 /usr/lib/libc.so.6
Anonymous:             0 kB
";
        let kept = clean_mappings(maps, "/opt/slowburn");
        assert_eq!(kept, [(0x55d0_c000_0000, 0x55d0_c010_0000), (0x55d0_c010_0000, 0x55d0_c120_0000)]);
        assert_eq!(clean_mappings(maps, ""), []);
    }

    #[test]
    fn the_program_goes_on() {
        give_back();
        assert_eq!((1..=4).product::<i32>(), 24);
    }
}
