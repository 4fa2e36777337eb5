//! Reading server-sent events, as far as completions use them (WHATWG HTML §9.2): `data:` lines, blank lines between.

/// Collects what has arrived, and gives out whole events.
#[derive(Debug, Default)]
pub struct EventReader {
    pending: Vec<u8>,
}

/// Longest event that is waited for.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// What arrived is no event stream.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// An event has no end.
    #[error("an event of more than {MAX_EVENT_BYTES} bytes")]
    TooLong,
    /// An event is not a line of data in UTF-8.
    #[error("not an event with data")]
    NoData,
}

impl EventReader {
    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The data of the next event, if it is there in whole.
    ///
    /// # Errors
    ///
    /// [`EventError`]; what is pending is lost then.
    pub fn next_event(&mut self) -> Result<Option<String>, EventError> {
        let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") else {
            if self.pending.len() > MAX_EVENT_BYTES {
                self.pending.clear();
                return Err(EventError::TooLong);
            }
            return Ok(None);
        };
        let event: Vec<u8> = self.pending.drain(..end + 2).collect();
        let text = event
            .get(..end)
            .and_then(|event| str::from_utf8(event).ok());
        let data = text.and_then(|text| text.strip_prefix("data: "));
        match data {
            Some(data) if !data.contains('\n') => Ok(Some(data.to_owned())),
            _ => Err(EventError::NoData),
        }
    }

    /// Whether nothing is pending.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_arrive() {
        let stream = b"data: {\"a\": 1}\n\ndata: [DONE]\n\n";
        for piece in 1..stream.len() {
            let mut reader = EventReader::default();
            let mut events = Vec::new();
            for bytes in stream.chunks(piece) {
                reader.push(bytes);
                while let Some(event) = reader.next_event().unwrap() {
                    events.push(event);
                }
            }
            assert_eq!(events, ["{\"a\": 1}", "[DONE]"], "in pieces of {piece}");
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let read = |bytes: &[u8]| {
            let mut reader = EventReader::default();
            reader.push(bytes);
            reader.next_event()
        };
        for wrong in [&b"id: 1\n\n"[..], b"data: a\nb\n\n", b"data: \xff\n\n"] {
            assert_eq!(read(wrong), Err(EventError::NoData));
        }
        assert_eq!(
            read(&vec![b'x'; MAX_EVENT_BYTES + 1]),
            Err(EventError::TooLong)
        );
        assert_eq!(read(b"data: a\n"), Ok(None));
    }
}
