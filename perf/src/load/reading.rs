//! An answer as it comes in, with every byte checked against what the prompt determines.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderName;
use serde::Deserialize;
use tokio::time::Instant;

use super::client::Broken;
use super::events::{EventError, EventReader};
use crate::answer::{Answer, TOKEN_BYTES};
use crate::emulator::api::Usage;
use crate::trace::TraceRequest;

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum WrongAnswer {
    /// A header that names the instance is missing or not what it should be.
    #[error("header {0}")]
    Header(HeaderName),
    /// It is no stream of events.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A chunk is not what chunks are.
    #[error("chunk: {0}")]
    Chunk(#[from] serde_json::Error),
    /// The text differs from what the prompt determines.
    #[error("text differs after {0} tokens")]
    Text(u32),
    /// The stream ended without its end, or went on after it.
    #[error("stream not ended by [DONE]")]
    NotDone,
    /// The usage is missing or contradicts the request.
    #[error("usage missing or not of this request")]
    Usage,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
}

/// An answer as it comes in.
#[derive(Debug)]
pub(super) struct Reading {
    events: EventReader,
    expected: Answer,
    input_tokens: u32,
    output_tokens: u32,
    tokens: u32,
    /// Bytes of a token that came in pieces are kept here.
    text: String,
    first_token: Option<Instant>,
    usage: Option<Usage>,
    is_done: bool,
}

impl Reading {
    /// The beginning of the answer to `request`, whose text is `prompt`.
    pub(super) fn new(request: &TraceRequest, prompt: &str) -> Self {
        Self {
            events: EventReader::default(),
            expected: Answer::to(prompt.as_bytes()),
            input_tokens: request.input_tokens,
            output_tokens: request.output_tokens,
            tokens: 0,
            text: String::new(),
            first_token: None,
            usage: None,
            is_done: false,
        }
    }

    /// Reads a body to its end.
    pub(super) async fn all(&mut self, mut body: Incoming) -> Result<(), Broken> {
        while let Some(frame) = body.frame().await {
            if let Some(bytes) = frame?.data_ref() {
                self.take(bytes)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), WrongAnswer> {
        self.events.push(bytes);
        while let Some(event) = self.events.next_event()? {
            if self.is_done {
                return Err(WrongAnswer::NotDone);
            }
            if event == "[DONE]" {
                self.is_done = true;
                continue;
            }
            let chunk: Chunk = serde_json::from_str(&event)?;
            self.usage = chunk.usage.or(self.usage);
            for choice in &chunk.choices {
                self.take_text(&choice.text)?;
            }
        }
        Ok(())
    }

    fn take_text(&mut self, text: &str) -> Result<(), WrongAnswer> {
        if text.is_empty() {
            return Ok(());
        }
        self.first_token.get_or_insert_with(Instant::now);
        self.text.push_str(text);
        let whole = (self.text.len() / TOKEN_BYTES) as u32;
        let expected = self
            .expected
            .tokens(self.tokens, self.tokens.saturating_add(whole));
        if !self.text.starts_with(&expected) {
            return Err(WrongAnswer::Text(self.tokens));
        }
        self.text.drain(..expected.len());
        self.tokens = self.tokens.saturating_add(whole);
        Ok(())
    }

    /// When the first token came, and what the request took, if the answer was whole and right.
    pub(super) fn end(self) -> Result<(Instant, Usage), WrongAnswer> {
        if !self.is_done || !self.events.is_empty() {
            return Err(WrongAnswer::NotDone);
        }
        let first_token = self.first_token.ok_or(WrongAnswer::Text(0))?;
        if self.tokens != self.output_tokens || !self.text.is_empty() {
            return Err(WrongAnswer::Text(self.tokens));
        }
        let is_of_this = |usage: &Usage| {
            usage.prompt_tokens == self.input_tokens
                && usage.completion_tokens == self.output_tokens
        };
        let usage = self.usage.filter(is_of_this).ok_or(WrongAnswer::Usage)?;
        Ok((first_token, usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "a prompt";

    fn request() -> TraceRequest {
        TraceRequest {
            arrival_ms: 0.0,
            input_tokens: 2,
            output_tokens: 3,
            hash_ids: vec![1],
            recurring_blocks: 0,
            class: 0,
        }
    }

    fn chunk(text: &str) -> String {
        format!("data: {{\"choices\": [{{\"text\": \"{text}\"}}]}}\n\n")
    }

    fn usage(prompt: u32, completion: u32) -> String {
        let usage = serde_json::to_string(&Usage::new(prompt, 0, completion)).unwrap();
        format!("data: {{\"choices\": [], \"usage\": {usage}}}\n\ndata: [DONE]\n\n")
    }

    fn read(stream: &str) -> Result<(Instant, Usage), WrongAnswer> {
        let mut reading = Reading::new(&request(), PROMPT);
        reading.take(stream.as_bytes())?;
        reading.end()
    }

    #[test]
    fn every_byte_is_checked() {
        let text = Answer::to(PROMPT.as_bytes()).tokens(0, 3);
        assert!(read(&(chunk(&text[..5]) + &chunk(&text[5..]) + &usage(2, 3))).is_ok());
        for at in 0..text.len() {
            let mut wrong = text.clone();
            wrong.replace_range(at..=at, "#");
            let error = read(&(chunk(&wrong) + &usage(2, 3))).unwrap_err();
            assert!(matches!(error, WrongAnswer::Text(_)), "byte {at}: {error}");
        }
    }

    #[test]
    fn an_answer_is_whole_or_wrong() {
        let answer = Answer::to(PROMPT.as_bytes());
        let whole = chunk(&answer.tokens(0, 3));
        for (stream, what) in [
            (chunk(&answer.tokens(0, 2)) + &usage(2, 3), "too short"),
            (chunk(&answer.tokens(0, 4)) + &usage(2, 3), "too long"),
            (whole.clone() + &usage(2, 4), "usage of another answer"),
            (whole.clone() + &usage(3, 3), "usage of another prompt"),
            (whole.clone() + "data: [DONE]\n\n", "no usage"),
            (whole.clone(), "no end"),
            (
                whole.clone() + &usage(2, 3) + &whole,
                "goes on after its end",
            ),
            (whole + &usage(2, 3) + "data", "half an event after its end"),
        ] {
            assert!(read(&stream).is_err(), "{what}");
        }
    }
}
