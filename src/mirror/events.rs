//! Server-sent events (HTML, section 9.2.6) from bytes, within bounds: an event is at most so long, and nothing else is kept.

use super::Unknown;
use super::wire::EVENT_BYTES_MAX;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// `message` where it has no name.
    pub name: String,
    /// Its data, lines joined by `\n`.
    pub data: String,
}

/// What is not a whole event yet.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    name: String,
    data: String,
}

impl Decoder {
    /// The events that end in `bytes`.
    ///
    /// # Errors
    /// An event is too long, or is no text.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Unknown> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.extend(&rest[..end])?;
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = std::str::from_utf8(&line).map_err(|_| Unknown::NotUnderstood)?;
            events.extend(self.take(line.strip_suffix('\r').unwrap_or(line))?);
        }
        self.extend(rest)?;
        Ok(events)
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), Unknown> {
        if self.line.len() + part.len() + self.data.len() > EVENT_BYTES_MAX {
            return Err(Unknown::TooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn take(&mut self, line: &str) -> Result<Option<Event>, Unknown> {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            let name = if name.is_empty() { "message".to_owned() } else { name };
            return Ok((!data.is_empty()).then_some(Event { name, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments, ids, times to wait: nothing that is needed here.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    #[test]
    fn events_come_whole_however_they_are_cut() {
        let text = ": hello\n\nevent: state\ndata: {\"a\":\ndata: 1}\nid: 7\n\nretry: 3\r\ndata: x\r\n\r\nevent: clock\n\ndata";
        let expected = [event("state", "{\"a\":\n1}"), event("message", "x")];
        for piece in 1..=text.len() {
            let mut decoder = Decoder::default();
            let found: Vec<_> =
                text.as_bytes().chunks(piece).flat_map(|bytes| decoder.push(bytes).expect("short")).collect();
            assert_eq!(found, expected, "{piece}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_not_kept() {
        let mut decoder = Decoder::default();
        let line = vec![b'x'; 64 * 1024];
        let refused = (0..100).find_map(|n| decoder.push(&line).err().map(|why| (n, why)));
        assert_eq!(refused, Some((EVENT_BYTES_MAX / line.len(), Unknown::TooLarge)), "a line without end");
        let mut decoder = Decoder::default();
        let line = [b"data: ".as_slice(), &line, b"\n"].concat();
        let refused = (0..100).find_map(|_| decoder.push(&line).err());
        assert_eq!(refused, Some(Unknown::TooLarge), "an event without end");
        assert_eq!(Decoder::default().push(b"data: \xff\xfe\n\n"), Err(Unknown::NotUnderstood));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40)) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                if decoder.push(&piece).is_err() { break }
            }
        }
    }
}
