//! An answer as it is generated: server-sent events, one chunk for every piece of news.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use serde::Serialize;

use super::api::{Envelope, Usage};
use super::http::ReplyReports;
use super::instance::Generation;
use crate::answer::Answer;

/// The last event of every stream.
const DONE: &str = "data: [DONE]\n\n";

/// The body of a streamed answer.
#[derive(Debug)]
pub struct AnswerStream {
    generation: Generation,
    answer: Answer,
    envelope: Envelope,
    reports: ReplyReports,
    include_usage: bool,
    sent_tokens: u32,
    is_done: bool,
}

impl AnswerStream {
    /// The stream of an answer that has just been begun.
    #[must_use]
    pub const fn new(
        generation: Generation,
        answer: Answer,
        envelope: Envelope,
        reports: ReplyReports,
        include_usage: bool,
    ) -> Self {
        Self {
            generation,
            answer,
            envelope,
            reports,
            include_usage,
            sent_tokens: 0,
            is_done: false,
        }
    }

    fn events(&mut self, tokens: u32, finished: bool) -> Bytes {
        if self.sent_tokens == 0 {
            // By now the engine has stored the prompt: the first bytes of the answer bring the news.
            self.reports.update(self.generation.instance());
        }
        let text = self.answer.tokens(self.sent_tokens, tokens);
        self.sent_tokens = tokens;
        let mut events = String::with_capacity(text.len() + 256);
        append_event(&mut events, &self.envelope.chunk(&text, finished));
        if finished {
            self.is_done = true;
            if self.include_usage {
                let usage = Usage::new(
                    self.generation.prompt_tokens(),
                    self.generation.cached_tokens(),
                    tokens,
                );
                append_event(&mut events, &self.envelope.usage_chunk(usage));
            }
            events.push_str(DONE);
        }
        events.into()
    }
}

fn append_event(events: &mut String, reply: &impl Serialize) {
    // Strings and numbers always have a JSON form.
    let json = serde_json::to_string(reply).unwrap_or_default();
    events.push_str("data: ");
    events.push_str(&json);
    events.push_str("\n\n");
}

impl Body for AnswerStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        match self.generation.poll_tokens(context) {
            Poll::Ready(Some((tokens, finished))) => {
                let events = self.events(tokens, finished);
                Poll::Ready(Some(Ok(Frame::data(events))))
            }
            // The instance goes away: the client sees that there was no [DONE].
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done
    }
}
